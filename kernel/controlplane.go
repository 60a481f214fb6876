//go:build tamago

package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
	"nidus/kernel/cpu"
	"nidus/kernel/plane"
	"nidus/mm"
	"nidus/rpc/control"
	"nidus/xltool/shell"
	"nidus/xltool/xlcfg"
)

// runPlane runs one control plane until it is killed: the shell, the consoles on
// the line, the programs that attach, and the first time the domains named at boot.
func (h *host) runPlane(ctx context.Context, first bool) {
	p := plane.New(ctx, h.core, h)
	var wg sync.WaitGroup
	wg.Go(func() { h.showDomains(ctx, p) })
	if h.shared != nil {
		wg.Go(func() { h.serveShared(ctx, p) })
	}
	if h.tls != nil {
		wg.Go(func() { h.serveTLS(ctx, p) })
	}
	if h.scrapes != nil {
		wg.Go(func() { h.serveMetrics(ctx, p) })
	}
	if first {
		wg.Go(func() {
			p.Autostart(ctx, plane.AutostartNames(h.Options.XenDomains, h.core.Modules), func(ctx context.Context, name string) error { return h.autostart(ctx, p, name) })
		})
	}
	for ctx.Err() == nil {
		if err := shell.Run(ctx, &shellTTY{t: h.tty}, p); err != nil && ctx.Err() == nil {
			h.log.Printf(console.LevelError, "shell: %v", err)
		}
	}
	wg.Wait()
}

// autostart creates the domain of a configuration among the boot modules.
func (h *host) autostart(ctx context.Context, p *plane.Plane, name string) error {
	m, err := h.core.Module(name)
	if err != nil {
		return err
	}
	cfg, warnings, err := xlcfg.Load(name, m.Data)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		h.log.Printf(console.LevelWarning, "%v", w)
	}
	id, err := p.Create(ctx, *cfg, control.CreateOptions{})
	if err != nil {
		return err
	}
	if e, err := h.core.Domain(mm.DomID(id)); err == nil {
		h.tty.add(e.ID, e.Console, !h.Options.StayOnShell)
	}
	return nil
}

// showDomains keeps the line's circle of consoles as the domains are.
func (h *host) showDomains(ctx context.Context, p *plane.Plane) {
	events, err := p.Events(ctx)
	if err != nil {
		return
	}
	defer events.Close()
	shown := map[mm.DomID]bool{}
	for {
		alive := map[mm.DomID]bool{}
		for _, e := range h.core.Domains() {
			alive[e.ID] = true
			h.tty.add(e.ID, e.Console, false)
		}
		for id := range shown {
			if !alive[id] {
				h.tty.remove(id)
			}
		}
		shown = alive
		if _, err := events.Next(ctx); err != nil {
			return
		}
	}
}

// The control plane can be made to die at its named points (core.Core's Point), by
// debug key k: at the next point the first time, one point later each time after.
var (
	killMu    sync.Mutex
	killPlane context.CancelFunc
	killed    int          // times
	diedAt    string       // where, last
	fuse      atomic.Int32 // points to pass before the next death
)

func (h *host) setKill(kill context.CancelFunc) {
	killMu.Lock()
	defer killMu.Unlock()
	killPlane = kill
}

// deathPoint is core.Core's Point.
func (h *host) deathPoint(name string) {
	if fuse.Load() == 0 || fuse.Add(-1) != 0 {
		return
	}
	killMu.Lock()
	defer killMu.Unlock()
	diedAt = name
	killPlane()
}

// renewPlane lets the control plane die.
func renewPlane(why string) {
	killMu.Lock()
	defer killMu.Unlock()
	diedAt = why
	killPlane()
}

// lightFuse makes the control plane die at a later point than the time before.
func lightFuse() {
	killMu.Lock()
	defer killMu.Unlock()
	killed++
	fuse.Store(int32(killed))
}

// lastDeath describes the death for the log.
func lastDeath() (n int, where string) {
	killMu.Lock()
	defer killMu.Unlock()
	return killed, diedAt
}

// DebugKey implements plane.Machine.
func (h *host) DebugKey(key byte) bool {
	switch key {
	case 'h':
		h.log.Printf(console.LevelError, "debug keys: d CPUs, e event channels, grants and xenstore in use, g goroutines and heap, m memory, p pauses (5 s), t trace, k let the control plane die at one of its next steps")
	case 'd':
		for i := range baremetal.NumCPU() {
			h.log.Printf(console.LevelError, "CPU %d: %+v", i, baremetal.Stats(i))
		}
	case 'e':
		tables, used, mapped := h.core.Host.Grants.InUse()
		h.log.Printf(console.LevelError, "in use: %d event channels of domain 0; %d grant tables, %d grants used, %d of them mapped; xenstore %+v",
			h.core.Host.Dom0.PortsInUse(), tables, used, mapped, h.core.Host.Store.Totals())
	case 'm':
		s := h.core.Host.Memory.Stats()
		h.log.Printf(console.LevelError, "frames: total %d, free %d, kernel %d, guest %d, special %d, mmio %d, table %d", s.Total, s.Free,
			s.Kinds[mm.FrameKernel], s.Kinds[mm.FrameGuest], s.Kinds[mm.FrameSpecial], s.Kinds[mm.FrameMMIO], s.Kinds[mm.FrameTable])
	case 'g':
		for range 2 { // what a sync.Pool has outlives one; the rest is in use
			runtime.GC()
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		h.log.Printf(console.LevelError, "goroutines: %d, heap: %d KiB", runtime.NumGoroutine(), mem.HeapAlloc>>10)
	case 'p':
		go h.logPauses()
	case 't':
		h.logTrace()
	case 'k':
		lightFuse()
	default:
		return false
	}
	return true
}

// Used implements plane.Machine: what is neither free nor a guest's, nor a file that
// the loader brought.
func (h *host) Used() uint64 {
	s := h.core.Host.Memory.Stats()
	used := h.usable() - (s.Free+s.Kinds[mm.FrameGuest])*mm.PageSize
	for _, m := range h.core.Modules {
		used -= uint64(len(m.Data))
	}
	return used
}

// BusyTimes implements plane.Machine.
func (h *host) BusyTimes() []time.Duration {
	var all []time.Duration
	for i := range baremetal.NumCPU() {
		all = append(all, time.Duration(baremetal.BusyTime(i)))
	}
	return all
}

// CPUList implements plane.Machine.
func (h *host) CPUList() []control.CPUInfo {
	var all []control.CPUInfo
	for i := range baremetal.NumCPU() {
		all = append(all, control.CPUInfo{ID: i, Online: true, Core: i, Idle: time.Duration(baremetal.Stats(i).IdleNS)})
	}
	return all
}

// hostname is what the host calls itself.
const hostname = "nidus"

// Info implements plane.Machine.
func (h *host) Info() control.HostInfo {
	_, _, ecx, edx := cpu.CPUID(1, 0)
	_, b7, _, _ := cpu.CPUID(7, 0)
	_, _, xc, xd := cpu.CPUID(0x80000001, 0)
	return control.HostInfo{
		Hostname: hostname, Release: "Nidus", Version: "1", Machine: "x86_64",
		CPUs: baremetal.NumCPU(), MaxCPUID: baremetal.NumCPU() - 1, Nodes: 1, CoresPerSocket: baremetal.NumCPU(), ThreadsPerCore: 1,
		CPUHz: baremetal.TSCHz(), HWCaps: [8]uint32{edx, ecx, xd, xc, 0, b7},
		Compiler: runtime.Version(), PlatformParams: "virt_start=0xffff800000000000",
		TotalMemoryBytes: h.usable(), CommandLine: h.Machine.Info.CommandLine,
		Addresses: h.addresses(),
	}
}

// usable is all memory that the firmware left to us.
func (h *host) usable() (n uint64) {
	for _, r := range h.Machine.Info.Memory {
		if r.Type == boot.MemUsable {
			n += r.Size()
		}
	}
	return n
}
