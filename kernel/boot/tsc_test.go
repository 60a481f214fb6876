package boot

import "testing"

// clock returns samples of 10 ms each at the given frequencies.
func clock(hz ...uint64) ClockSamples {
	var c ClockSamples
	for _, f := range hz {
		c.Add(f/100, 10_000_000)
	}
	return c
}

func TestChooseTSC(t *testing.T) {
	const g = 2_000_000_000
	steady := clock(g, g+1000, g-1000)
	leaf := func(ev TSCEvidence, den, num, crystal uint32) TSCEvidence {
		ev.CPUID15.Denominator, ev.CPUID15.Numerator, ev.CPUID15.CrystalHz = den, num, crystal
		return ev
	}
	type rej map[ClockSource]Rejection
	for _, c := range []struct {
		name   string
		ev     TSCEvidence
		hz     uint64
		source ClockSource
		agree  int
		reject rej
	}{
		{"nothing", TSCEvidence{}, 0, ClockNone, 0, nil},
		{"all agree", TSCEvidence{HPET: steady, PM: steady, PIT: steady}, g, ClockHPET, 3, nil},
		{"no HPET", TSCEvidence{PM: clock(g + 5000), PIT: steady}, g + 5000, ClockPM, 2, nil},
		{"HPET lies", TSCEvidence{HPET: clock(g * 2), PM: steady, PIT: steady}, g, ClockPM, 2, rej{ClockHPET: RejectDisagrees}},
		{"PM lies", TSCEvidence{HPET: steady, PM: clock(g + g/50), PIT: steady}, g, ClockHPET, 2, rej{ClockPM: RejectDisagrees}},
		{"PIT lies", TSCEvidence{HPET: steady, PM: steady, PIT: clock(g / 3)}, g, ClockHPET, 2, rej{ClockPIT: RejectDisagrees}},
		{"under 1 %", TSCEvidence{HPET: steady, PM: clock(g + g/101)}, g, ClockHPET, 2, nil},
		{"over 1 %", TSCEvidence{HPET: steady, PM: clock(g + g/99)}, g, ClockHPET, 1, rej{ClockPM: RejectUnconfirmed}},
		{"HPET stands still", TSCEvidence{HPET: ClockSamples{N: 1, Samples: [MaxSamples]Sample{{g, 0}}}, PIT: steady}, g, ClockPIT, 1, rej{ClockHPET: RejectImplausible}},
		{"TSC stands still", TSCEvidence{HPET: clock(0), PIT: clock(0)}, 0, ClockNone, 0, rej{ClockHPET: RejectImplausible, ClockPIT: RejectImplausible}},
		{"one outlier", TSCEvidence{PIT: clock(g, g*3, g+1000)}, g + 1000, ClockPIT, 1, nil},
		{"noisy", TSCEvidence{HPET: clock(g, g*2, g*3, g*4), PIT: steady}, g, ClockPIT, 1, rej{ClockHPET: RejectNoisy}},
		{"only noise", TSCEvidence{HPET: clock(g, g*2, g*3)}, 0, ClockNone, 0, rej{ClockHPET: RejectNoisy}},
		{"noise, then leaf 16", TSCEvidence{HPET: clock(g, g*2, g*3), CPUID16MHz: 2000}, g, ClockCPUID16, 1, rej{ClockHPET: RejectNoisy}},
		{"exact leaf 15", leaf(TSCEvidence{HPET: clock(g + 100_000)}, 2, 160, 25_000_000), g, ClockCPUID15, 2, nil},
		{"leaf 15 near", leaf(TSCEvidence{HPET: clock(g + g/200)}, 2, 160, 25_000_000), g + g/200, ClockHPET, 2, nil},
		{"leaf 15 with the wrong crystal", leaf(TSCEvidence{HPET: steady, PM: steady}, 2, 160, 24_000_000), g, ClockHPET, 2, rej{ClockCPUID15: RejectDisagrees}},
		{"leaf 15 without crystal", leaf(TSCEvidence{HPET: steady}, 2, 160, 0), g, ClockHPET, 1, nil},
		{"leaf 15 huge", leaf(TSCEvidence{HPET: steady}, 1, ^uint32(0), ^uint32(0)), g, ClockHPET, 1, rej{ClockCPUID15: RejectImplausible}},
		{"hypervisor", TSCEvidence{PM: clock(g + 1000), HypervisorKHz: g / 1000}, g, ClockHypervisor, 2, nil},
		{"hints outvote a clock", leaf(TSCEvidence{PIT: clock(g * 2), HypervisorKHz: g / 1000}, 2, 160, 25_000_000), g, ClockHypervisor, 2, rej{ClockPIT: RejectDisagrees}},
		{"a hint settles it", TSCEvidence{HPET: clock(g * 2), PIT: steady, CPUID16MHz: 2000}, g, ClockPIT, 2, rej{ClockHPET: RejectDisagrees}},
		{"bad count", TSCEvidence{HPET: ClockSamples{N: -1}, PM: ClockSamples{N: 1 << 40}, PIT: steady}, g, ClockPIT, 1, rej{ClockPM: RejectImplausible}},
	} {
		got := ChooseTSC(&c.ev)
		if got.Hz != c.hz || got.Source != c.source || got.Agree != c.agree {
			t.Errorf("%s: %d Hz by %v, %d agree; want %d by %v, %d", c.name, got.Hz, got.Source, got.Agree, c.hz, c.source, c.agree)
		}
		for s := ClockNone; s < numClockSources; s++ {
			if got.Rejected[s] != c.reject[s] {
				t.Errorf("%s: %v: %v, want %v", c.name, s, got.Rejected[s], c.reject[s])
			}
		}
	}
}

func TestChooseTSCDoesNotAllocate(t *testing.T) {
	ev := TSCEvidence{HPET: clock(2e9, 2e9, 2e9), PM: clock(3e9), PIT: clock(2e9), HypervisorKHz: 2e6}
	var sum uint64
	if n := testing.AllocsPerRun(100, func() { c := ChooseTSC(&ev); sum += c.Hz }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMulDiv(t *testing.T) {
	const m = ^uint64(0)
	for _, c := range []struct{ a, b, d, want uint64 }{
		{10, 3, 4, 8}, {9, 1, 4, 2}, {m, m, m, m}, {m, 2, 1, 0}, {1, 1, 0, 0}, {m, 1_000_000_000, m, 1_000_000_000},
	} {
		if got := mulDiv(c.a, c.b, c.d); got != c.want {
			t.Errorf("%d*%d/%d = %d, want %d", c.a, c.b, c.d, got, c.want)
		}
	}
}

// TestPrefer: what clocksource= names is taken, unless others that agree say otherwise.
func TestPrefer(t *testing.T) {
	const g = 2_000_000_000
	slow := clock(g / 2)
	all := []ClockSource{ClockHypervisor, ClockCPUID15, ClockCPUID16}
	for _, c := range []struct {
		name   string
		ev     TSCEvidence
		want   []ClockSource
		ok     bool
		hz     uint64
		source ClockSource
	}{
		{"one of those that agree", TSCEvidence{HPET: clock(g), PM: clock(g + 1000), PIT: clock(g + 2000)}, []ClockSource{ClockPIT}, true, g + 2000, ClockPIT},
		{"absent", TSCEvidence{HPET: clock(g)}, []ClockSource{ClockPM}, false, g, ClockHPET},
		{"it lies", TSCEvidence{HPET: clock(g), PM: clock(g), PIT: slow}, []ClockSource{ClockPIT}, false, g, ClockHPET},
		{"its word against another's", TSCEvidence{HPET: clock(g), PIT: slow}, []ClockSource{ClockPIT}, true, g / 2, ClockPIT},
		{"noisy", TSCEvidence{HPET: clock(g), PIT: clock(g, g*2, g*3, g*4)}, []ClockSource{ClockPIT}, false, g, ClockHPET},
		{"said", TSCEvidence{HPET: clock(g), PM: clock(g), CPUID16MHz: 2001}, all, true, 2001e6, ClockCPUID16},
		{"said and wrong", TSCEvidence{HPET: clock(g), PM: clock(g), HypervisorKHz: 3e6}, all, false, g, ClockHPET},
		{"nothing at all", TSCEvidence{}, all, false, 0, ClockNone},
		{"no such source", TSCEvidence{HPET: clock(g)}, []ClockSource{99}, false, g, ClockHPET},
	} {
		got := ChooseTSC(&c.ev)
		if ok := got.Prefer(c.want...); ok != c.ok || got.Hz != c.hz || got.Source != c.source {
			t.Errorf("%s: %v, %d Hz by %v", c.name, ok, got.Hz, got.Source)
		}
	}
	for word, want := range map[string]int{"": 0, "hpet": 1, "acpi": 1, "pit": 1, "tsc": 3} {
		if got := (&Options{ClockSource: word}).Clocks(); len(got) != want {
			t.Errorf("clocksource=%s: %v", word, got)
		}
	}
}
