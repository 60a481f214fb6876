//go:build tamago

// Nidus, a Type-1 microhypervisor: the image's main package. It brings the host
// up, makes the core, and keeps a control plane running over it. docs/boot.md
// walks through it.
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"nidus/drivers/pci"
	"nidus/drivers/pci/hotplug"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/kernel/cpu"
	"nidus/kernel/domain"
	"nidus/kernel/evtchn"
	"nidus/kernel/hostnet"
	"nidus/kernel/hostnet/nat"
	"nidus/kernel/machine"
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/kernel/virt/svm"
	"nidus/kernel/virt/vmx"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/rpc/authorized"
	"nidus/rpc/server"
)

// dom0Ports bounds the event channels of all backends in the image.
const dom0Ports = 1<<16 - 1

// logSize is how much of the log xl dmesg shows, in bytes.
const logSize = 128 << 10

func main() {
	tty := newTTY()
	log := console.NewLog(console.LogConfig{
		Size: logSize, Prefix: "(NID) ", Timestamps: true,
		Now: func() time.Duration { return time.Duration(baremetal.Nanotime()) }, Out: tty,
		Host: threshold(boot.DefaultOptions().LogLevel), Guest: threshold(boot.DefaultOptions().GuestLogLevel),
	})
	host, err := bringUp(log, tty)
	if err != nil {
		log.Printf(console.LevelError, "%v", err)
		tty.openBoot(log)
		baremetal.Crash("the host can't be brought up; the line above says why")
	}
	host.supervise()
}

// host is what main has made of the machine.
type host struct {
	*machine.Machine
	log  *console.Log
	tty  *tty
	core *core.Core
	// shared is memory of programs beside QEMU, too; nil: none.
	shared []byte
	remote remote
	net    *hostnet.Network // nil: the host is in none
	nat    *nat.Network     // nil: there is none
	// Clients of the network, and who wants metrics; nil: there are none.
	tls, scrapes *server.Lasting
	// owners says which driver or domain has which PCI function.
	owners  pci.Registry
	hotplug *hotplug.Watcher
}

func bringUp(log *console.Log, tty *tty) (*host, error) {
	info := func(format string, args ...any) { log.Printf(console.LevelInfo, format, args...) }
	info("Nidus, %s, %d MiB of memory", runtime.Version(), baremetal.Frames.Stats().Total>>8)
	m, err := machine.Discover(info)
	if err != nil {
		return nil, err
	}
	log.SetThresholds(threshold(m.Options.LogLevel), threshold(m.Options.GuestLogLevel))
	tty.open(m, log)
	m.ReadACPI()
	tty.openScreen(m, log)
	hide := m.Protect()
	m.IsolatePV()
	m.UsePCID()
	cal := m.StartCalibration()
	m.MeasurePCI()
	m.StartCPUs()
	m.SetWallClock()
	m.Finish(cal)
	trusted := m.CheckTSC()
	heap := limitHeap(m.Options.Dom0Mem, info)
	pool := mm.NewPool(&baremetal.Frames, baremetal.FrameLists{}, baremetal.DirectPages{})
	pages := machine.Pages{Memory: pool}
	if m.Options.VMXHello {
		vmxHello(pages, info)
	}
	info("Speculation: %s", spec.Identify(cpu.CPUID, cpu.ReadMSR).Policy())
	v, err := virtualization(pages, info)
	if err != nil {
		log.Printf(console.LevelError, "%v; PVH domains can't be created", err)
	}
	hub := &evtchn.Hub{}
	dom0, err := hub.NewDomain(evtchn.Config{ID: 0, VCPUs: 1, MaxPorts: dom0Ports, Privileged: true})
	if err != nil {
		return nil, err
	}
	dh := &domain.Host{
		Memory: pool, Virt: v, Hub: hub, Dom0: dom0, Store: xenstore.New(xenstore.DefaultQuota), Log: log,
		Clock: machine.Clock{}, Thread: machine.Threads{}, LargestPage: largestPage(), TSCReliable: trusted,
	}
	if dh.PV, err = paravirtualization(pages, m.Options, log); err != nil {
		log.Printf(console.LevelError, "%v; PV domains can't be created", err)
	}
	files, certs, err := core.TakeCerts(modules(m.Info))
	if err != nil {
		log.Printf(console.LevelError, "%v; nobody may connect over the network until it is allowed again", err)
	}
	h := &host{Machine: m, log: log, tty: tty, core: core.New(dh, files, baremetal.NumCPU())}
	h.core.Clients = authorized.New(certs.Clients)
	// A vcpu in its guest keeps a P, as a thread in a system call does: with one
	// for each, and one for each CPU, nobody else waits for it.
	h.core.VCPUsChanged = func(n int) { runtime.GOMAXPROCS(baremetal.NumCPU() + n) }
	// Uploaded files are in the heap, beside what the collector keeps small.
	h.core.FilesChanged = func(bytes int64) { debug.SetMemoryLimit(int64(heap) + bytes) }
	h.core.NestedCPUs = machine.NestedCPUs()
	h.core.Spare = cpu.UnderTCG()
	h.core.StopLimit = time.Duration(m.Options.StopMaxWait) * time.Second
	if h.core.NestedCPUs&1 == 0 {
		info("CPUs: no PVH guest runs on CPU 0, whose nested paging QEMU's TCG can lose (docs/exit.md)")
	}
	h.core.Point = h.deathPoint
	dh.MachineCheck = h.machineCheck
	h.core.Hide7B = hide
	h.core.ParseDisk = parseDisk
	h.core.ParseVIF = parseVIF
	h.findShared()
	h.hotplug = hotplug.New(machine.PCI, func(format string, args ...any) { log.Printf(console.LevelWarning, format, args...) })
	h.findDisks(m.Devices(pool))
	h.findNICs(m.Devices(pool))
	go h.watchPCI()
	h.startNetwork(m.Devices(pool), heap)
	h.listenTLS(certs.Key)
	h.listenMetrics()
	h.listenSpeed()
	return h, nil
}

func threshold(l boot.LogLevels) console.Threshold {
	t, err := console.ParseThreshold(l.Always.String() + "/" + l.Limited.String())
	if err != nil {
		return console.DefaultHostThreshold
	}
	return t
}

// limitHeap makes the collector keep up before memory runs out: the embedded dom0's
// memory is Go's heap. The limit is a soft one, that live data may pass.
func limitHeap(d boot.Dom0Mem, info func(string, ...any)) (limit uint64) {
	const part, least = 4, 64 << 20
	total := baremetal.Frames.Stats().Total * mm.PageSize
	limit = d.Limit(total, total/part, least)
	if d != (boot.Dom0Mem{}) {
		info("Dom0: the control plane's heap keeps to %d MiB (dom0_mem; at least %d)", limit>>20, least>>20)
	}
	debug.SetMemoryLimit(int64(limit))
	debug.SetMaxThreads(baremetal.MaxThreads - baremetal.MaxCPUs)
	return limit
}

// vmxHello runs a guest of four instructions under VMX and says how that went.
func vmxHello(pages virt.Pages, info func(string, ...any)) {
	baremetal.OnCPU(0, func() {
		if said, err := vmx.Hello(pages); err != nil {
			info("vmx-hello: FAIL %v", err)
		} else {
			info("vmx-hello: PASS %s", said)
		}
	})
}

// virtualization makes SVM or VMX work on every CPU.
func virtualization(pages virt.Pages, info func(string, ...any)) (virt.Machine, error) {
	for i := range baremetal.NumCPU() {
		baremetal.OnCPU(i, baremetal.EnableXSAVE)
	}
	var m virt.Machine
	m, err := svm.New(pages, baremetal.NumCPU())
	if noSVM := err; errors.Is(noSVM, svm.ErrNoSVM) {
		if m, err = vmx.New(pages, baremetal.NumCPU()); errors.Is(err, vmx.ErrNoVMX) {
			err = fmt.Errorf("%w, and %w", noSVM, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("hardware virtualization: %w", err)
	}
	for i := range baremetal.NumCPU() {
		var err error
		baremetal.OnCPU(i, func() { err = m.Enable() })
		if err != nil {
			return nil, fmt.Errorf("hardware virtualization of CPU %d: %w", i, err)
		}
	}
	f := m.Features()
	info("%s with nested paging on %d CPUs, %d tags", f.Name, baremetal.NumCPU(), f.Tags)
	return m, nil
}

// largestPage is the order of the largest page of nested tables.
func largestPage() uint {
	if _, _, _, d := cpu.CPUID(0x80000001, 0); d>>26&1 != 0 {
		return 18
	}
	return 9
}

// modules names the loader's files. Their memory stays as it is.
func modules(i *boot.Info) []core.Module {
	var all []core.Module
	for n, m := range i.Modules {
		name := m.Name()
		if name == "" {
			name = fmt.Sprintf("module%d", n)
		}
		all = append(all, core.Module{Name: name, Args: m.Args(), Data: machine.Bytes(m.Start, m.End)})
	}
	return all
}

// supervise keeps a control plane alive over the core.
func (h *host) supervise() {
	go stay()
	h.tty.start(h)
	for first := true; ; first = false {
		ctx, kill := context.WithCancel(context.Background())
		h.setKill(kill)
		h.runPlane(ctx, first)
		kill()
		n, where := lastDeath()
		h.log.Printf(console.LevelWarning, "control plane: restarted after point %d (%s), over %d domains", n, where, len(h.core.Domains()))
	}
}

// stay waits for ever, in the system. Where no serial line is listened to, nothing
// else may be waiting for the world outside, and Go would take the host for dead.
func stay() {
	for word := new(uint32); ; {
		baremetal.FutexWait(word, 0, 0)
	}
}
