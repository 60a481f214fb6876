package regress

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nidus/images/builder"
)

// pvBenches are the measurements of PV guests: those of PVH ones, and what only PV has.
func pvBenches() []Bench {
	debian := []string{builder.Vmlinux, builder.Vmlinuz, builder.Initrd}
	of := func(measure func(*T, personality) ([]Figure, error)) func(*T) ([]Figure, error) {
		return func(t *T) (fs []Figure, err error) {
			all, err := measure(t, pv)
			for _, f := range all {
				ofPV(func(f Figure) { fs = append(fs, f) })(f)
			}
			return fs, err
		}
	}
	return []Bench{
		{Name: "pv-create", What: "create to a PV guest's init", Needs: debian, Run: of(createTime)},
		{Name: "pv-calls", What: "a PV guest's hypercalls, event channels and emulated instructions, one by one", Needs: []string{builder.PVCalls}, Run: of(pvCallTimes)},
		{Name: "pv-guest", What: "system calls and processes of a PV guest", Needs: debian, Run: of(insideGuest)},
		{Name: "pv-disk", What: "a PV guest's disk in memory, around the guest's page cache", Needs: []string{builder.Vmlinux, builder.RootInitrd}, Run: of(diskSpeed)},
		{Name: "pv-net", What: "a PV guest's TCP with the host and with another PV guest", Needs: []string{builder.Vmlinux, builder.Initrd}, Run: of(netSpeed)},
	}
}

// ofPV says of figures that a PV guest has them.
func ofPV(got func(Figure)) func(Figure) {
	return func(f Figure) {
		f.Name = "PV: " + f.Name
		got(f)
	}
}

// pvCalls is the configuration of the guest pv-calls.
func pvCalls(tsc string) []byte {
	return pv.guest(config("g", builder.PVCalls, 1, 32, fmt.Sprintf("tsc_mode = %q", tsc)))
}

// The TSC's modes in which pv-calls runs: only in the first one it measures the calls, in
// the other one what RDTSC costs.
const nativeTSC, emulatedTSC = "native", "always_emulate"

// pvCallTimes measures the calls, and RDTSC where it is emulated.
func pvCallTimes(t *T, p personality) ([]Figure, error) {
	h, err := t.bootGuests(p.host(Boot{MemoryMiB: 4096}), []string{builder.PVCalls}, map[string][]byte{"calls.cfg": pvCalls(nativeTSC), "tsc.cfg": pvCalls(emulatedTSC)})
	if err != nil {
		return nil, err
	}
	fs, err := h.measured("calls.cfg")
	if err != nil {
		return fs, err
	}
	if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
		return fs, err
	}
	if err := h.gone("g", 20*time.Second); err != nil {
		return fs, err
	}
	emulated, err := h.measured("tsc.cfg")
	return append(fs, emulatedRDTSC(emulated)...), err
}

// emulatedRDTSC leaves of figures in emulatedTSC what RDTSC costs.
func emulatedRDTSC(fs []Figure) []Figure {
	i := slices.IndexFunc(fs, func(f Figure) bool { return f.Name == "RDTSC" })
	if i < 0 {
		return nil
	}
	fs[i].Name += ", emulated"
	return fs[i : i+1]
}

// pvPeerFiles are the configurations of peerPV and of peerDevices with PV guests.
func pvPeerFiles(native string) map[string][]byte {
	files := map[string][]byte{
		"pv-bench.cfg": pv.guest(linux("g", builder.Vmlinux, 1, "bench", native)),
		"pv-calls.cfg": pvCalls(nativeTSC),
		"pv-tsc.cfg":   pvCalls(emulatedTSC),
		"pv-disk.cfg":  pv.guest(diskBench("phy:/dev/ram0,xvda,w", native)),
	}
	for _, k := range []string{builder.Vmlinux, builder.Vmlinuz} {
		files["pv-"+k+".cfg"] = pv.guest(linux("g", k, 1, "tick"))
	}
	for name, cfg := range speedGuests(pv, native) {
		files["pv-"+name] = cfg
	}
	return files
}

// peerPV measures Xen's PV guests as pvBenches does ours.
func peerPV(t *T, got func(Figure)) error {
	got = ofPV(got)
	var boots []float64
	var inside error
	values := map[string][]float64{}
	for i := range repeats {
		fmt.Fprintf(t.Say, "booting Xen, %d of %d\n", i+1, repeats)
		h, err := t.bootPeer(1, &boots)
		if err != nil {
			return err
		}
		for _, k := range []string{builder.Vmlinux, builder.Vmlinuz} {
			if err := h.peerCreate("pv-", k, values); err != nil {
				return err
			}
		}
		if i == repeats-1 {
			emulated := func(f Figure) {
				for _, f := range emulatedRDTSC([]Figure{f}) {
					got(f)
				}
			}
			inside = errors.Join(h.peerFigures("pv-calls.cfg", got), h.peerFigures("pv-tsc.cfg", emulated), h.peerFigures("pv-bench.cfg", got))
		}
		t.closeAll()
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		got(median(name, "s", values[name]))
	}
	return inside
}
