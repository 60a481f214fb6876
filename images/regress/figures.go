package regress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"nidus/images/builder"
)

// Figure is one measured value.
type Figure struct {
	Name string
	Unit string
	// Median and P999 of Samples values; P999 is 0 where a tail has no meaning.
	Median, P999 float64
	// Mean is 0 where it was not taken.
	Mean    float64
	Samples int

	at time.Time // when a guest printed it
}

// Row is the figure without its value, to compare with another system's.
func (f Figure) Row() string { return f.Name + " [" + f.Unit + "]" }

// Bench is a measurement that gives some figures.
type Bench struct {
	Name  string
	What  string
	Needs []string
	Run   func(t *T) ([]Figure, error)
}

// repeats is how often a boot is measured.
const repeats = 3

// Benches returns all measurements.
func Benches() []Bench {
	debian := []string{builder.Vmlinux, builder.Vmlinuz, builder.Initrd}
	return append([]Bench{
		{Name: "size", What: "the image", Run: imageSize},
		{Name: "boot", What: "QEMU's start to the shell's prompt; memory that the hypervisor uses", Run: bootTime},
		{Name: "to-guest", What: "QEMU's start to the init of a guest that starts by itself", Needs: debian, Run: toGuest},
		{Name: "create", What: "create to the guest's init", Needs: debian, Run: func(t *T) ([]Figure, error) { return createTime(t, pvh) }},
		{Name: "calls", What: "hypercalls, event channels and other exits, one by one", Needs: []string{builder.Calls}, Run: callTimes},
		{Name: "guest", What: "system calls and processes of a guest", Needs: debian, Run: func(t *T) ([]Figure, error) { return insideGuest(t, pvh) }},
		{Name: "disk", What: "a guest's disk in memory, around the guest's page cache", Needs: []string{builder.Vmlinux, builder.RootInitrd}, Run: func(t *T) ([]Figure, error) { return diskSpeed(t, pvh) }},
		{Name: "net", What: "a guest's TCP with the host and with another guest", Needs: []string{builder.Vmlinux, builder.Initrd}, Run: func(t *T) ([]Figure, error) { return netSpeed(t, pvh) }},
		{Name: "shares", What: "disk and net again, and how much of the time their guests had", Needs: []string{builder.Vmlinux, builder.Initrd, builder.RootInitrd}, Run: shares},
		{Name: "loopback", What: "the guest's kernel and TCP program on QEMU alone, without a hypervisor, over its own loopback", Needs: []string{builder.Vmlinuz, builder.Initrd}, Run: loopbackSpeed},
		{Name: "memory-disk", What: "the guest's kernel and disk program on QEMU alone, with a disk of the kernel's own memory", Needs: []string{builder.Vmlinuz, builder.RootInitrd}, Run: memorySpeed},
		{Name: "busy", What: "garbage collection and interrupt latency under four busy guests on two CPUs", Needs: debian, Run: underLoad},
		{Name: "ring", What: "the control plane's ring and RPC, between goroutines on the build machine", Run: ringSpeed},
	}, pvBenches()...)
}

// SelectBenches returns those with the names, or all without a name.
func SelectBenches(names []string) ([]Bench, error) {
	all := Benches()
	if len(names) == 0 {
		return all, nil
	}
	var out []Bench
	for _, n := range names {
		i := slices.IndexFunc(all, func(b Bench) bool { return b.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no measurement %q; \"./build.sh bench -l\" lists them", n)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// Measure runs measurements and calls got with each one's figures. An error of
// one does not keep the others from running.
func Measure(ctx context.Context, b *builder.Builder, benches []Bench, got func(Figure)) error {
	var errs []error
	for _, m := range benches {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(b.Say, "measuring %s: %s\n", m.Name, m.What)
		c := Case{Name: "bench-" + m.Name, Needs: m.Needs, Timeout: 6 * time.Minute, Run: func(t *T) error {
			fs, err := m.Run(t)
			for _, f := range fs {
				got(f)
			}
			return err
		}}
		if err := runOne(ctx, b, c); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", m.Name, oneLine(err)))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// Print writes a figure as a line of the table.
func (f Figure) Print(out io.Writer) {
	tail := ""
	if f.P999 != 0 {
		tail = "p99.9 " + number(f.P999)
	}
	if f.Mean != 0 {
		tail += "  mean " + number(f.Mean)
	}
	fmt.Fprintf(out, "%-44s %8s %-4s %-30s n=%d\n", f.Name, number(f.Median), f.Unit, tail, f.Samples)
}

// Compare writes a figure beside another system's of the same row.
func (f Figure) Compare(other Figure, out io.Writer) {
	tails := ""
	if f.P999 != 0 && other.P999 != 0 {
		tails = fmt.Sprintf("  p99.9 %s and %s", number(f.P999), number(other.P999))
	}
	fmt.Fprintf(out, "%-44s %8s %8s %7.3f %s%s\n", f.Name, number(f.Median), number(other.Median), f.Median/other.Median, f.Unit, tails)
}

// number writes a value with at least three digits and no exponent.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// median makes a figure of values.
func median(name, unit string, values []float64) Figure {
	slices.Sort(values)
	return Figure{Name: name, Unit: unit, Median: values[len(values)/2], Samples: len(values)}
}

func imageSize(t *T) ([]Figure, error) {
	var fs []Figure
	for _, kind := range []string{"", ", gzip'd"} {
		data, err := os.ReadFile(t.Out("nidus"))
		if err == nil && kind != "" {
			data, err = builder.Gzip(data)
		}
		if err != nil {
			return fs, err
		}
		fs = append(fs, Figure{Name: "image size" + kind, Unit: "MiB", Median: float64(len(data)) / (1 << 20), Samples: 1})
	}
	return fs, nil
}

func bootTime(t *T) ([]Figure, error) {
	var times, used []float64
	for range repeats {
		const memory = 4096
		h, err := t.boot(Boot{MemoryMiB: memory, NoPrompt: true})
		if err != nil {
			return nil, err
		}
		m, err := h.Expect(prompt, h.t.within(time.Minute))
		if err != nil {
			return nil, err
		}
		times = append(times, m.At.Seconds())
		total, err := h.info("total_memory")
		if err != nil {
			return nil, err
		}
		free, err := h.info("free_memory")
		if err != nil {
			return nil, err
		}
		used = append(used, float64(total-free))
		t.closeAll()
	}
	return []Figure{median("QEMU start to the shell's prompt", "s", times), median("memory the hypervisor uses, of 4 GiB", "MiB", used)}, nil
}

func toGuest(t *T) ([]Figure, error) {
	var times []float64
	for i := range repeats {
		b := Boot{NoPrompt: true, Line: "xendomains=g.cfg", MemoryMiB: 4096}
		parts := []string{builder.Vmlinux, builder.Initrd}
		configs := map[string][]byte{"g.cfg": linux("g", builder.Vmlinux, 1, "tick")}
		if i > 0 { // the files are there
			b.Modules, parts, configs = []string{builder.Vmlinux, builder.Initrd, "g.cfg"}, nil, nil
		}
		h, err := t.bootGuests(b, parts, configs)
		if err != nil {
			return nil, err
		}
		m, err := h.guestUp(1, 2*time.Minute)
		if err != nil {
			return nil, err
		}
		times = append(times, m.At.Seconds())
		t.closeAll()
	}
	return []Figure{median("QEMU start to the guest's init", "s", times)}, nil
}

// createTime measures each kind of kernel, the first time in a boot (cold) and
// again (warm: the unpacked kernel is kept).
func createTime(t *T, p personality) ([]Figure, error) {
	kinds := []string{builder.Vmlinux, builder.Vmlinuz}
	values := map[string][]float64{}
	for i := range repeats {
		b := p.host(Boot{MemoryMiB: 4096})
		parts := []string{builder.Vmlinux, builder.Vmlinuz, builder.Initrd}
		configs := map[string][]byte{}
		for _, k := range kinds {
			configs[k+".cfg"] = p.guest(linux("g", k, 1, "tick"))
		}
		if i > 0 {
			b.Modules = append(parts, "vmlinux.cfg", "vmlinuz.cfg")
			parts, configs = nil, nil
		}
		h, err := t.bootGuests(b, parts, configs)
		if err != nil {
			return nil, err
		}
		for _, k := range kinds {
			for _, state := range []string{"cold", "warm"} {
				begin := h.Since()
				if err := h.Send("xl create -c " + k + ".cfg\r"); err != nil {
					return nil, err
				}
				m, err := h.guestUp(1, 2*time.Minute)
				if err != nil {
					return nil, err
				}
				up, err := strconv.ParseFloat(m.Groups[3], 64)
				if err != nil {
					return nil, err
				}
				all := (m.At - begin).Seconds()
				name := fmt.Sprintf("%s, %s", k, state)
				values["create to the guest's init, "+name] = append(values["create to the guest's init, "+name], all)
				values["  of it outside the guest's kernel, "+name] = append(values["  of it outside the guest's kernel, "+name], all-up)
				values["guest kernel's uptime at init"] = append(values["guest kernel's uptime at init"], up)
				if err := h.leave(); err != nil {
					return nil, err
				}
				if _, err := h.mustDo("xl destroy g"); err != nil {
					return nil, err
				}
				if err := h.gone("g", 20*time.Second); err != nil {
					return nil, err
				}
			}
		}
		t.closeAll()
	}
	var fs []Figure
	for name, v := range values {
		fs = append(fs, median(name, "s", v))
	}
	slices.SortFunc(fs, func(a, b Figure) int { return strings.Compare(strings.TrimSpace(a.Name), strings.TrimSpace(b.Name)) })
	return fs, nil
}
