package ioapic

import "testing"

// model is an I/O APIC and the local APIC that it sends to: a level-triggered
// input is not sent again before the EOI of the last one (Remote IRR, 3.2.4).
type model struct {
	t    *testing.T
	sel  uint32
	pins uint32
	lo   [24]uint32
	hi   [24]uint32
	high [24]bool // lines that are asserted, whatever the polarity
	sent []uint8
}

const remoteIRR = 1 << 14

func (m *model) Load(off uint32) uint32 {
	switch {
	case off == 0:
		return m.sel
	case off != 0x10:
		m.t.Fatalf("load of register %#x", off)
	case m.sel == 1:
		return (m.pins-1)<<16 | 0x20
	}
	return *m.entry()
}

func (m *model) Store(off, v uint32) {
	switch off {
	case 0:
		m.sel = v
	case 0x10:
		e := m.entry()
		if m.sel&1 == 0 {
			v = v&^remoteIRR | *e&remoteIRR
		}
		*e = v
		m.deliver()
	default:
		m.t.Fatalf("store to register %#x", off)
	}
}

func (m *model) entry() *uint32 {
	i := m.sel - 0x10
	if m.sel < 0x10 || i >= 2*m.pins {
		m.t.Fatalf("index %#x", m.sel)
	}
	if i&1 != 0 {
		return &m.hi[i/2]
	}
	return &m.lo[i/2]
}

// deliver sends what level-triggered lines ask for.
func (m *model) deliver() {
	for i := range m.pins {
		if e := m.lo[i]; m.high[i] && e&(entryMasked|remoteIRR) == 0 && e&entryLevel != 0 {
			m.lo[i] |= remoteIRR
			m.sent = append(m.sent, uint8(e))
		}
	}
}

func (m *model) eoi(vector uint8) {
	for i := range m.pins {
		if uint8(m.lo[i]) == vector {
			m.lo[i] &^= remoteIRR
		}
	}
	m.deliver()
}

func newModel(t *testing.T) *model {
	m := &model{t: t, pins: 24}
	for i := range m.lo {
		m.lo[i] = entryMasked
	}
	return m
}

func TestRoute(t *testing.T) {
	for _, c := range []struct {
		pin    uint32
		line   Line
		lo, hi uint32
		bad    bool
	}{
		{pin: 4, line: Line{Vector: 0x30, APICID: 0}, lo: 0x30},
		{pin: 9, line: Line{Vector: 0x31, APICID: 3, Level: true}, lo: 0x8031, hi: 3 << 24},
		{pin: 16, line: Line{Vector: 0x32, APICID: 0xfe, Level: true, Low: true}, lo: 0xa032, hi: 0xfe << 24},
		{pin: 23, line: Line{Vector: 0xef, Low: true}, lo: 0x20ef},
		{pin: 24, bad: true},
		{pin: 1 << 31, bad: true},
	} {
		m := newModel(t)
		chip := Chip{m}
		if ok := chip.Route(c.pin, c.line); ok == c.bad {
			t.Fatalf("input %d: routed %v", c.pin, ok)
		}
		if c.bad {
			continue
		}
		if m.lo[c.pin] != c.lo || m.hi[c.pin] != c.hi {
			t.Errorf("input %d: %#x %#x, want %#x %#x", c.pin, m.hi[c.pin], m.lo[c.pin], c.hi, c.lo)
		}
	}
}

// A line that stays asserted until it is served interrupts once for each service,
// if it is masked before the EOI; without, each EOI raises another.
func TestLevelDoesNotStorm(t *testing.T) {
	m := newModel(t)
	chip := Chip{m}
	if !chip.Route(16, Line{Vector: 0x40, Level: true}) {
		t.Fatal("not routed")
	}
	interrupts := func(want int, what string) {
		t.Helper()
		if len(m.sent) != want {
			t.Fatalf("%s: %d interrupts, want %d", what, len(m.sent), want)
		}
	}
	m.high[16] = true
	m.deliver()
	interrupts(1, "asserted")
	m.eoi(0x40)
	interrupts(2, "EOI without a mask")

	chip.Mask(16)
	m.eoi(0x40)
	interrupts(2, "EOI of a masked input")
	chip.Unmask(16)
	interrupts(3, "unmasked while it is still asserted")
	chip.Mask(16)
	m.eoi(0x40)
	m.high[16] = false
	chip.Unmask(16)
	interrupts(3, "unmasked after its service")
	m.high[16] = true
	m.deliver()
	interrupts(4, "asserted anew")
	if m.lo[16]&entryMasked != 0 || m.lo[16]&entryLevel == 0 || m.sent[3] != 0x40 {
		t.Errorf("entry %#x, sent %#x", m.lo[16], m.sent)
	}
}
