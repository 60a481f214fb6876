package regress

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nidus/images/builder"
)

// benchLine is what images/guests/bench and images/guests/calls print.
// Each terminal on the way may add a carriage return.
var benchLine = regexp.MustCompile(`BENCH (.+) (\S+) ([\d.e+-]+) ([\d.e+-]+) (\d+)(?: mean (\d+))?\r*\n|NIDUS-GUEST-END|BENCH-SKIP ([^\r\n]*)`)

// calls is the configuration of the guest calls.
func calls(more ...string) []byte { return config("g", builder.Calls, 1, 64, more...) }

func callTimes(t *T) ([]Figure, error) {
	h, err := t.bootGuests(Boot{MemoryMiB: 4096}, []string{builder.Calls}, map[string][]byte{"g.cfg": calls()})
	if err != nil {
		return nil, err
	}
	return h.measured("g.cfg")
}

func insideGuest(t *T, p personality) ([]Figure, error) {
	h, err := t.bootGuests(p.host(Boot{MemoryMiB: 4096}), []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{"g.cfg": p.guest(linux("g", builder.Vmlinux, 1, "bench"))})
	if err != nil {
		return nil, err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return nil, err
	}
	if _, err := h.guestUp(1, 2*time.Minute); err != nil {
		return nil, err
	}
	return readBench(h)
}

// measuring creates the guest of a configuration and returns the figures that it prints.
type measuring func(h *Host, cfg string) ([]Figure, error)

// diskSpeed measures a disk in memory.
func diskSpeed(t *T, p personality) ([]Figure, error) { return diskFigures(t, p, (*Host).measured) }

func diskFigures(t *T, p personality, measure measuring, args ...string) ([]Figure, error) {
	h, err := t.bootGuests(p.host(Boot{CPUs: deviceCPUs, MemoryMiB: 4096, Args: args}), []string{builder.Vmlinux, builder.RootInitrd}, map[string][]byte{"g.cfg": p.guest(diskBench("ram:64M,raw,xvda,w"))})
	if err != nil {
		return nil, err
	}
	return measure(h, "g.cfg")
}

// deviceCPUs is how many CPUs the host has while a guest's devices are measured: one for
// the guest, and one for who serves it.
const deviceCPUs = 2

// diskBench is the configuration of the guest that measures its disk.
func diskBench(disk string, more ...string) []byte {
	return config("g", builder.Vmlinux, 1, 256, append(more, fmt.Sprintf("ramdisk = %q\ndisk = [ '%s' ]", builder.RootInitrd, disk), `extra = "console=hvc0 loglevel=4 panic=1 test=disk"`)...)
}

// A guest measures TCP with the host, and with another guest, on xenbr0.
const (
	speedPort = "5001"
	speedHost = "10.9.0.1"
	speedTo   = "10.9.0.2"
	speedFrom = "10.9.0.3"
	speedMiB  = 64
)

// speedGuests are the configurations of the guest that is measured, and of those that
// measure the host and it.
func speedGuests(p personality, more ...string) map[string][]byte {
	guest := func(name, address, rest string) []byte {
		return p.guest(config(name, builder.Vmlinux, 1, 128, append(more, fmt.Sprintf("ramdisk = %q\nvif = [ 'bridge=xenbr0' ]", builder.Initrd),
			fmt.Sprintf("extra = %q", "console=hvc0 loglevel=4 panic=1 net="+address+"/24 "+rest))...))
	}
	peer := func(address, who string) string {
		return fmt.Sprintf("test=tcp peer=%s:%s,%s,%d", address, speedPort, who, speedMiB)
	}
	return map[string][]byte{
		"served.cfg": guest("served", speedTo, "test=serve"), "host.cfg": guest("g1", speedFrom, peer(speedHost, "host")),
		"guest.cfg": guest("g2", speedFrom, peer(speedTo, "guest-2")),
	}
}

// netSpeed measures TCP of a guest.
func netSpeed(t *T, p personality) ([]Figure, error) { return netFigures(t, p, (*Host).measured) }

func netFigures(t *T, p personality, measure measuring, args ...string) ([]Figure, error) {
	h, err := t.bootGuests(p.host(Boot{CPUs: deviceCPUs, MemoryMiB: 4096, Line: "ip=" + speedHost + "/24 ntp=off nat=off speed=" + speedPort,
		Args: append(args, "-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0")}), []string{builder.Vmlinux, builder.Initrd}, speedGuests(p))
	if err != nil {
		return nil, err
	}
	var all []Figure
	figures := func(name string) error {
		fs, err := measure(h, name)
		all = append(all, fs...)
		return errors.Join(err, h.prompt(time.Minute))
	}
	if err := figures("host.cfg"); err != nil {
		return all, err
	}
	if err := h.Send("xl create -c served.cfg\r"); err != nil {
		return all, err
	}
	if _, err := h.expect("NIDUS-GUEST-SERVES", time.Minute); err != nil {
		return all, err
	}
	if err := h.leave(); err != nil {
		return all, err
	}
	return all, figures("guest.cfg")
}

// measured creates a guest that measures, and reads its figures until its end.
func (h *Host) measured(cfg string) ([]Figure, error) {
	if err := h.Send("xl create -c " + cfg + "\r"); err != nil {
		return nil, err
	}
	return readBench(h)
}

// readBench reads the figures until the guest's end.
func readBench(h *Host) ([]Figure, error) {
	var fs []Figure
	var skipped error
	for {
		m, err := h.Expect(benchLine, h.t.within(3*time.Minute))
		if err != nil {
			return fs, err
		}
		switch g := m.Groups; {
		case g[1] != "":
			f := Figure{Name: g[1], Unit: g[2], at: time.Now()}
			f.Median, _ = strconv.ParseFloat(g[3], 64) // the pattern leaves only numbers
			f.P999, _ = strconv.ParseFloat(g[4], 64)
			f.Samples, _ = strconv.Atoi(g[5])
			f.Mean, _ = strconv.ParseFloat(g[6], 64)
			fs = append(fs, f)
		case g[7] != "":
			skipped = errors.Join(skipped, errors.New("not measured: "+g[7]))
		default:
			return fs, skipped
		}
	}
}

// pauseLine is what debug key p logs.
var pauseLine = regexp.MustCompile(`pauses: gc n=(\d+) median=(\d+)ns max=(\d+)ns; wake-up late n=(\d+) median=(\d+)ns p99\.9=(\d+)ns max=(\d+)ns`)

// underLoad reads, with four busy guests on two CPUs, how long the garbage
// collector has stopped all else, and how late a timer's interrupt wakes who
// waits for it.
func underLoad(t *T) ([]Figure, error) {
	configs := map[string][]byte{}
	for i := range 4 {
		name := fmt.Sprintf("g%d", i)
		configs[name+".cfg"] = linux(name, builder.Vmlinux, 1, "busy")
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 4096}, []string{builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return nil, err
	}
	for i := range 4 {
		if _, err := h.mustDo("xl create g%d.cfg", i); err != nil {
			return nil, err
		}
	}
	for i := range 4 {
		if err := h.alive(fmt.Sprintf("g%d", i)); err != nil {
			return nil, err
		}
	}
	if _, err := h.mustDo("xl debug-keys p"); err != nil {
		return nil, err
	}
	time.Sleep(12 * time.Second) // the key samples for some seconds
	if ds, err := h.list(); err != nil || len(ds) != 5 {
		return nil, fmt.Errorf("four busy guests and Domain-0 have become %+v: %v", ds, err)
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return nil, err
	}
	g := pauseLine.FindStringSubmatch(strings.ReplaceAll(log, "\n ", " "))
	if g == nil {
		return nil, fmt.Errorf("%w: debug key p printed no line of pauses", errNotYet)
	}
	var n [8]float64
	for i := range n[1:] {
		n[i+1], _ = strconv.ParseFloat(g[i+1], 64) // the pattern leaves only digits
	}
	const us = 1e3
	return []Figure{
		{Name: "GC pause, four busy guests", Unit: "us", Median: n[2] / us, Samples: int(n[1])},
		{Name: "  worst", Unit: "us", Median: n[3] / us, Samples: int(n[1])},
		{Name: "timer's wake-up late by, four busy guests", Unit: "us", Median: n[5] / us, P999: n[6] / us, Samples: int(n[4])},
		{Name: "  worst wake-up", Unit: "us", Median: n[7] / us, Samples: int(n[4])},
	}, nil
}

// loopbackSpeed measures the TCP of the kernel and the program of netSpeed's guests without a
// hypervisor or a device: what is left of a guest's throughput if both cost nothing.
func loopbackSpeed(t *T) ([]Figure, error) {
	return alone(t, builder.Initrd, fmt.Sprintf("test=loopback peer=127.0.0.1:%s,itself,%d", speedPort, speedMiB))
}

// memorySpeed is the same for diskSpeed: the kernel copies from and to a disk in its own memory.
func memorySpeed(t *T) ([]Figure, error) { return alone(t, builder.RootInitrd, "test=memory") }

// alone has a guest's kernel and programs measure on QEMU itself.
func alone(t *T, initrd, line string) ([]Figure, error) {
	for _, p := range []string{builder.Vmlinuz, initrd} {
		if err := t.part(p, ""); err != nil {
			return nil, err
		}
	}
	h, err := t.start(Boot{NoPrompt: true}, append(QEMUArgs(1, 256), "-serial", "stdio", "-monitor", "none", "-kernel", builder.Vmlinuz, "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=4 panic=1 "+line))
	if err != nil {
		return nil, err
	}
	return readBench(h)
}
