package shell

import (
	"context"
	"strconv"
	"time"

	"nidus/rpc/control"
)

var topCommand = &command{name: "top", aliases: []string{"xentop"}, summary: "show what domains use, again and again until q or ^C", run: top,
	options: []option{{short: "b", long: "batch", help: "don't clear the screen"}, {short: "v", long: "vcpus", help: "show the vcpus' times"}, {short: "d", long: "delay", value: "SECONDS", help: "the time between two looks, 3 is the default"},
		{short: "i", long: "iterations", value: "COUNT", help: "how often to look"}}}

func top(ctx context.Context, c *call) error {
	delay, times := 3*time.Second, -1
	if s, ok := c.optValue("d", "delay"); ok {
		var err error
		if delay, err = parseDelay(s); err != nil {
			return c.usageError("%v", err)
		}
	}
	if s, ok := c.optValue("i", "iterations"); ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return c.usageError("%q is not how often to look", s)
		}
		times = n
	}
	view := topView{delay: delay, vcpus: c.opt("v", "vcpus")}
	keys, restore, err := c.topKeys(ctx)
	if err != nil {
		return err
	}
	defer restore()
	tick := time.NewTimer(0)
	defer tick.Stop()
	<-tick.C
	last := map[control.DomID]control.DomainInfo{}
	for looked := true; ; {
		ds, err := c.Plane.ListDomains(ctx)
		if err != nil {
			return err
		}
		h, err := c.Plane.HostInfo(ctx)
		if err != nil {
			return err
		}
		if !c.opt("b", "batch") {
			c.printf("\x1b[H\x1b[J")
		}
		view.sort(ds, last)
		c.table(ds, last, h.TotalMemoryBytes, func(d control.DomainInfo) {
			if view.vcpus {
				c.vcpuTimes(ctx, d.ID)
			}
		})
		if keys != nil {
			c.printf("%s\n", view.help())
		}
		clear(last)
		for _, d := range ds {
			last[d.ID] = d
		}
		if looked { // what a key shows at once is no look of its own
			times--
		}
		if times == 0 {
			return nil
		}
		looked = false
		tick.Reset(view.delay)
		for again := false; !again; {
			select {
			case <-tick.C:
				again, looked = true, true
			case k, ok := <-keys:
				if !ok || k == ctrlC || view.quits(k) {
					return nil
				}
				again = view.key(k)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// table prints xentop's columns. The share of a CPU is that since the last
// look, by the domain's own uptime, so that a late answer doesn't change it.
// There are no virtual devices to count.
func (c *call) table(ds []control.DomainInfo, last map[control.DomID]control.DomainInfo, total uint64, below func(control.DomainInfo)) {
	c.printf("%10s  %6s %10s %6s %10s %6s %10s %9s %5s %4s %8s %8s %4s %8s %8s %8s %10s %10s %4s\n", "NAME", "STATE", "CPU(sec)", "CPU(%)", "MEM(k)", "MEM(%)", "MAXMEM(k)", "MAXMEM(%)",
		"VCPUS", "NETS", "NETTX(k)", "NETRX(k)", "VBDS", "VBD_OO", "VBD_RD", "VBD_WR", "VBD_RSECT", "VBD_WSECT", "SSID")
	percent := func(part, whole float64) float64 {
		if whole <= 0 {
			return 0
		}
		return 100 * part / whole
	}
	for _, d := range ds {
		share := 0.0
		if l, ok := last[d.ID]; ok {
			share = percent(float64(d.CPUTime-l.CPUTime), float64(d.Uptime-l.Uptime))
		}
		c.printf("%10s  %6s %10d %6.1f %10d %6.1f %10d %9.1f %5d %4d %8d %8d %4d %8d %8d %8d %10d %10d %4d\n", printable(d.Name), d.StateString(), int64(d.CPUTime.Seconds()), share,
			d.MemoryBytes>>10, percent(float64(d.MemoryBytes), float64(total)), d.MaxMemoryBytes>>10, percent(float64(d.MaxMemoryBytes), float64(total)), d.VCPUs,
			0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		below(d)
	}
}
