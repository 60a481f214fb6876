package regress

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// looksApart is how long after a look at the CPUs' registers the next one is taken. Each stops QEMU's
// processors for a moment.
const looksApart = 5 * time.Millisecond

// shares measures a PVH guest's disk and network, and tells for which part of the time the guests' CPU (the second
// one: docs/exit.md, "Under QEMU") was in a guest, and what the figure would be if that part had been all: if neither
// the hypervisor nor waiting for it took any time.
func shares(t *T) ([]Figure, error) {
	fs, err := diskFigures(t, pvh, (*Host).shared, monitorArgs()...)
	t.closeAll()
	if err != nil {
		return fs, err
	}
	net, err := netFigures(t, pvh, (*Host).shared, monitorArgs()...)
	return append(fs, net...), err
}

// shared is measured, with the share and the bound of each figure.
func (h *Host) shared(cfg string) ([]Figure, error) {
	m, err := h.t.monitor()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if err := h.Send("xl create -c " + cfg + "\r"); err != nil {
		return nil, err
	}
	if _, err := h.expect("BENCH-BEGINS", 2*time.Minute); err != nil {
		return nil, err
	}
	l := looks{m: m, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { l.done <- l.take() }()
	fs, err := readBench(h)
	close(l.stop)
	if lerr := <-l.done; lerr != nil {
		return nil, lerr
	}
	var out []Figure
	from := time.Time{}
	for _, f := range fs {
		share, n := l.share(from, f.at)
		from = f.at
		bound := f.Median / share
		if f.Unit == "us" {
			bound = f.Median * share
		}
		out = append(out, f, Figure{Name: "  guests' share of their CPU", Unit: "%", Median: 100 * share, Samples: n},
			Figure{Name: "  if it were all", Unit: f.Unit, Median: bound, Samples: n})
	}
	return out, err
}

// looks are samples of where the second CPU was.
type looks struct {
	m    hmp
	stop chan struct{}
	done chan error
	all  []look
}

type look struct {
	at    time.Time
	guest bool
}

// registers is what QEMU's monitor says of a CPU.
var registers = regexp.MustCompile(`RIP=([0-9a-f]{16}) .* HLT=(\d)`)

// take looks until stop is closed.
func (l *looks) take() error {
	for {
		select {
		case <-l.stop:
			return nil
		case <-time.After(looksApart):
		}
		lines, err := l.m.ask("info registers -a")
		if err != nil {
			return err
		}
		g := registers.FindAllStringSubmatch(strings.Join(lines, "\n"), -1)
		if len(g) != deviceCPUs {
			return fmt.Errorf("QEMU's monitor told of %d CPUs, not %d", len(g), deviceCPUs)
		}
		pc, _ := strconv.ParseUint(g[1][1], 16, 64) // as the expression says
		l.all = append(l.all, look{time.Now(), g[1][2] == "0" && !ofNidus(pc)})
	}
}

// ofNidus tells whether an address is of our image (kernel/baremetal/layout.go). A Linux has nothing there.
func ofNidus(pc uint64) bool { return pc>>39 == 0xffff82d0_80000000>>39 }

// share is which part of the looks between two times found a guest, and of how many.
func (l *looks) share(from, to time.Time) (part float64, n int) {
	guest := 0
	for _, k := range l.all {
		if k.at.After(from) && !k.at.After(to) {
			n++
			if k.guest {
				guest++
			}
		}
	}
	return float64(guest) / float64(max(n, 1)), n
}
