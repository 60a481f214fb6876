package regress

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"nidus/images/builder"
)

func schedCase() Case {
	return Case{Name: "sched-shares", What: "four CPU-bound guests on two CPUs: weights, caps and affinity hold within 5 % over 10 s", Long: true,
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 6 * time.Minute, Run: schedShares}
}

// schedShares changes what four busy guests of one vcpu have of two CPUs, and
// compares the time that each has run with what it should have had.
func schedShares(t *T) error {
	const n = 4
	configs := map[string][]byte{}
	for i := range n {
		configs[fmt.Sprintf("g%d.cfg", i)] = linux(fmt.Sprintf("g%d", i), builder.Vmlinux, 1, "busy")
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 2048}, []string{builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := h.mustDo("xl create g%d.cfg", i); err != nil {
			return err
		}
	}
	for i := range n {
		if err := h.alive(fmt.Sprintf("g%d", i)); err != nil {
			return err
		}
	}
	for _, phase := range []struct {
		name   string
		before string  // commands, by ;
		cap    float64 // of g0
		want   [n]float64
	}{
		{"equal weights", "", 0, [n]float64{.5, .5, .5, .5}},
		{"weights 1:1:2:2", "sched-credit2 -d g2 -w 512; sched-credit2 -d g3 -w 512", 0, [n]float64{1. / 3, 1. / 3, 2. / 3, 2. / 3}},
		{"cap of 25 %", "sched-credit2 -d g0 -c 25", .25, [n]float64{.25, .35, .7, .7}},
		{"three on CPU 1", "sched-credit2 -d g0 -c 0; sched-credit2 -d g2 -w 256; sched-credit2 -d g3 -w 256; vcpu-pin g0 0 1; vcpu-pin g1 0 1; vcpu-pin g2 0 1; vcpu-pin g3 0 2",
			0, [n]float64{1. / 3, 1. / 3, 1. / 3, 1}},
	} {
		for cmd := range strings.SplitSeq(phase.before, ";") {
			if cmd = strings.TrimSpace(cmd); cmd == "" {
				continue
			}
			if _, err := h.mustDo("xl %s", cmd); err != nil {
				return err
			}
		}
		got, err := h.busy(10 * time.Second)
		if err != nil {
			return err
		}
		total := 0.0
		for _, g := range got {
			total += g
		}
		for i, w := range phase.want {
			// A cap is of the time that passes; the rest goes by weight, without
			// what the host itself used.
			if i != 0 || phase.cap == 0 {
				w *= (total - phase.cap) / (2 - phase.cap)
			}
			g := got[fmt.Sprintf("g%d", i)]
			fmt.Fprintf(h.t.Say, "%s: g%d ran %.1f %% of a CPU, %.1f %% are its share\n", phase.name, i, 100*g, 100*w)
			if math.Abs(g-w) > .05*w {
				return fmt.Errorf("%s: g%d ran %.1f %% of a CPU, its share is %.1f %%", phase.name, i, 100*g, 100*w)
			}
		}
	}
	return h.powerOff()
}

// busy returns how much of a CPU each domain used over d.
func (h *Host) busy(d time.Duration) (map[string]float64, error) {
	type usage struct {
		Name   string `json:"name"`
		CPU    int64  `json:"cpu_time_ns"`
		Uptime int64  `json:"uptime_ns"`
	}
	look := func() (map[string]usage, error) {
		out, err := h.mustDo("xl list --json")
		if err != nil {
			return nil, err
		}
		var all []usage
		if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '['):strings.LastIndexByte(out, ']')+1]), &all); err != nil {
			return nil, fmt.Errorf("xl list --json: %w: %q", err, out)
		}
		m := map[string]usage{}
		for _, u := range all {
			if u.Name != "Domain-0" {
				m[u.Name] = u
			}
		}
		return m, nil
	}
	a, err := look()
	if err != nil {
		return nil, err
	}
	time.Sleep(d)
	b, err := look()
	if err != nil {
		return nil, err
	}
	shares := map[string]float64{}
	for n, u := range b {
		shares[n] = float64(u.CPU-a[n].CPU) / float64(u.Uptime-a[n].Uptime)
	}
	return shares, nil
}
