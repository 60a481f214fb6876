package lapic

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

type fakeClock struct{ now, tscOff uint64 }

func (c *fakeClock) Now() uint64                 { return c.now }
func (c *fakeClock) TSCDeadline(t uint64) uint64 { return t - min(t, c.tscOff) }

type event struct {
	kind   string
	vcpu   int
	vector uint8
}

type fakeVCPUs struct{ got []event }

func (f *fakeVCPUs) Kick(v int)            {}
func (f *fakeVCPUs) NMI(v int)             { f.got = append(f.got, event{"nmi", v, 0}) }
func (f *fakeVCPUs) INIT(v int)            { f.got = append(f.got, event{"init", v, 0}) }
func (f *fakeVCPUs) SIPI(v int, vec uint8) { f.got = append(f.got, event{"sipi", v, vec}) }
func (f *fakeVCPUs) EOI(v int, vec uint8)  { f.got = append(f.got, event{"eoi", v, vec}) }

func newBus(t testing.TB, n int, x2, enable bool) (*Bus, *fakeClock, *fakeVCPUs) {
	t.Helper()
	c, f := &fakeClock{now: 1000}, &fakeVCPUs{}
	var cfg []Config
	for i := range n {
		cfg = append(cfg, Config{ID: uint32(i), BSP: i == 0, X2APIC: x2, TSCDeadline: true, Clock: c})
	}
	b, err := NewBus(f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if enable {
		for i := range n {
			b.APIC(i).svr |= svrEnable
			b.APIC(i).publish()
		}
	}
	return b, c, f
}

func rd(t testing.TB, a *APIC, off uint32) uint32 {
	t.Helper()
	v, ok := a.ReadMMIO(off, 4)
	if !ok {
		t.Fatalf("read of %#x not taken", off)
	}
	return uint32(v)
}

func TestNewBusRefuses(t *testing.T) {
	c := &fakeClock{}
	for name, cfg := range map[string][]Config{
		"none": nil, "no clock": {{}}, "same ID": {{Clock: c}, {Clock: c}},
		"wide ID": {{ID: 0xff, Clock: c}}, "too many": make([]Config, MaxVCPUs+1),
	} {
		if _, err := NewBus(&fakeVCPUs{}, cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestXAPICRegisters(t *testing.T) {
	for _, tt := range []struct {
		name             string
		off, write, want uint32
	}{
		{"id", regID, 0xffffffff, 0xff000000},
		{"version is read-only", regVersion, 0, version},
		{"tpr", regTPR, 0xabc, 0xbc},
		{"ppr is read-only", regPPR, 0xff, 0},
		{"apr", regAPR, 0xff, 0},
		{"ldr", regLDR, 0xffffffff, 0xff000000},
		{"dfr", regDFR, 0, 0x0fffffff},
		{"svr", regSVR, 0xffffffff, 0x3ff},
		{"isr", regISR + 0x10, ^uint32(0), 0},
		{"tmr", regTMR + 0x10, ^uint32(0), 0},
		{"irr", regIRR + 0x10, ^uint32(0), 0},
		{"icr2", regICR2, ^uint32(0), 0xff000000},
		{"icr reserved, SMI", regICR, 0xfff33200, 0x200},
		{"timer", regTimer, ^uint32(0), 0x700ff},
		{"thermal", regThermal, ^uint32(0), 0x107ff},
		{"perf", regPerf, ^uint32(0), 0x107ff},
		{"lint0", regLINT0, ^uint32(0), 0x1a7ff},
		{"lint1", regLINT1, ^uint32(0), 0x1a7ff},
		{"error", regError, ^uint32(0), 0x100ff},
		{"initial", regInitial, 77, 77},
		{"current is read-only", regCurrent, 77, 0},
		{"divide", regDivide, 0xff, 0xb},
		{"reserved", 0x40, 1, 0},
		{"self ipi isn't xAPIC's", regSelfIPI, 0x40, 0},
	} {
		b, _, _ := newBus(t, 1, false, true)
		a := b.APIC(0)
		if !a.WriteMMIO(tt.off, 4, uint64(tt.write)) {
			t.Fatalf("%s: not taken", tt.name)
		}
		if got := rd(t, a, tt.off); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

func TestXAPICWidths(t *testing.T) {
	b, _, _ := newBus(t, 1, false, true)
	a := b.APIC(0)
	for _, tt := range []struct {
		off  uint32
		size int
		want uint64
	}{
		{regVersion, 4, version}, {regVersion, 1, 0x14}, {regVersion + 2, 1, 5}, {regVersion + 2, 2, 5},
		{regVersion, 8, 0}, {regVersion, 3, 0}, {regVersion + 1, 4, 0}, {regVersion + 4, 4, 0}, {regVersion + 15, 1, 0},
	} {
		if v, ok := a.ReadMMIO(tt.off, tt.size); !ok || v != tt.want {
			t.Errorf("read %d at %#x: %#x %v, want %#x", tt.size, tt.off, v, ok, tt.want)
		}
	}
	for _, w := range []struct {
		off  uint32
		size int
	}{{regTPR, 1}, {regTPR, 2}, {regTPR, 8}, {regTPR + 4, 4}, {regTPR + 2, 2}} {
		if !a.WriteMMIO(w.off, w.size, 0x55) || a.tpr != 0 {
			t.Errorf("write %d at %#x changed TPR to %#x", w.size, w.off, a.tpr)
		}
	}
	if _, ok := a.ReadMMIO(0x1000, 4); ok {
		t.Error("read beyond the page taken")
	}
	if a.WriteMMIO(0xffffffff, 4, 0) {
		t.Error("write beyond the page taken")
	}
}

func TestX2APICRegisters(t *testing.T) {
	const gp = ^uint64(0)
	for _, tt := range []struct {
		name  string
		reg   uint32
		write uint64
		ok    bool
		read  uint64 // after the write; gp if it faults
	}{
		{"id", regID, 0, false, 0},
		{"version", regVersion, 0, false, version},
		{"tpr", regTPR, 0xff, true, 0xff},
		{"tpr reserved", regTPR, 0x100, false, 0},
		{"apr", regAPR, 0, false, gp},
		{"ppr", regPPR, 0, false, 0},
		{"eoi", regEOI, 0, true, gp},
		{"eoi not zero", regEOI, 1, false, gp},
		{"ldr", regLDR, 0, false, 1},
		{"dfr", regDFR, 0, false, gp},
		{"svr", regSVR, 0x1ff, true, 0x1ff},
		{"svr reserved", regSVR, 1 << 12, false, 0x1ff},
		{"esr", regESR, 0, true, 0},
		{"esr not zero", regESR, 1, false, 0},
		{"isr", regISR, 0, false, 0},
		{"irr", regIRR + 0x70, 0, false, 0},
		{"cmci", 0x2f0, 0, false, gp},
		{"icr", regICR, 0x1_000000f1, true, 0x1_000000f1},
		{"icr reserved", regICR, 1 << 16, false, 0},
		{"icr2", regICR2, 0, false, gp},
		{"timer", regTimer, 0x200f0, true, 0x200f0},
		{"timer reserved", regTimer, 1 << 12, false, 0x10000},
		{"lint0", regLINT0, 0x700, true, 0x700},
		{"lint0 status is reserved", regLINT0, 1 << 12, false, 0x10000},
		{"error", regError, 0xfe, true, 0xfe},
		{"error high", regError, 1 << 32, false, 0x10000},
		{"initial", regInitial, 1 << 32, false, 0},
		{"current", regCurrent, 0, false, 0},
		{"divide", regDivide, 4, false, 0},
		{"self ipi", regSelfIPI, 0xf0, true, gp},
		{"self ipi reserved", regSelfIPI, 0x100, false, gp},
		{"beyond", 0x400, 0, false, gp},
		{"last", 0xff0, 0, false, gp},
	} {
		b, _, _ := newBus(t, 1, true, true)
		a := b.APIC(0)
		if ok := a.WriteMSR(MSRX2First+tt.reg>>4, tt.write); ok != tt.ok {
			t.Errorf("%s: write ok %v, want %v", tt.name, ok, tt.ok)
		}
		v, ok := a.ReadMSR(MSRX2First + tt.reg>>4)
		if !ok {
			v = gp
		}
		if v != tt.read {
			t.Errorf("%s: read %#x, want %#x", tt.name, v, tt.read)
		}
		if _, ok := a.ReadMMIO(tt.reg&0xff0, 4); ok {
			t.Errorf("%s: there is a page in x2APIC mode", tt.name)
		}
	}
}

func TestAPICBase(t *testing.T) {
	const off, x, x2, bad = 0, baseEnable, baseEnable | baseExtd, baseExtd
	legal := map[[2]uint64]bool{
		{off, off}: true, {x, x}: true, {x2, x2}: true,
		{off, x}: true, {x, x2}: true, {x, off}: true, {x2, off}: true,
	}
	for _, from := range []uint64{off, x, x2} {
		for _, to := range []uint64{off, x, x2, bad} {
			b, _, _ := newBus(t, 1, true, true)
			a := b.APIC(0)
			a.base = a.base&^x2 | from
			a.tpr = 0x30
			ok := a.WriteMSR(MSRAPICBase, DefaultBase|to)
			if ok != legal[[2]uint64{from, to}] {
				t.Errorf("%#x to %#x: ok %v", from, to, ok)
			}
			want := from
			if ok {
				want = to
			}
			if v, _ := a.ReadMSR(MSRAPICBase); v != DefaultBase|baseBSP|want {
				t.Errorf("%#x to %#x: base is %#x", from, to, v)
			}
			if kept := a.tpr == 0x30; kept != (from == to || to == x2 || !ok) {
				t.Errorf("%#x to %#x: registers kept %v", from, to, kept)
			}
		}
	}
	b, _, _ := newBus(t, 1, false, true)
	for _, v := range []uint64{0xfee01000 | x, DefaultBase | x | 1, DefaultBase | x | 1<<9, DefaultBase | x | 1<<52, 0} {
		if b.APIC(0).WriteMSR(MSRAPICBase, v) {
			t.Errorf("base %#x taken", v)
		}
	}
	if _, ok := b.APIC(0).ReadMSR(MSRX2First + 2); ok {
		t.Error("x2APIC MSR in xAPIC mode")
	}
}

// model is the plainest statement of chapter 10.8.
type model struct {
	irr, isr [256]bool
	tpr      int
}

func (m *model) ppr() int {
	for v := 255; v >= 0; v-- {
		if m.isr[v] && v>>4 > m.tpr>>4 {
			return v &^ 15
		} else if m.isr[v] {
			break
		}
	}
	return m.tpr
}

func (m *model) pending() int {
	for v := 255; v >= 16; v-- {
		if m.irr[v] {
			if v>>4 > m.ppr()>>4 {
				return v
			}
			break
		}
	}
	return -1
}

func TestPriorityModel(t *testing.T) {
	b, _, _ := newBus(t, 1, true, true)
	a, m := b.APIC(0), &model{}
	rng := rand.New(rand.NewPCG(1, 2))
	acks := 0
	for step := range 200_000 {
		switch rng.IntN(4) {
		case 0:
			v := uint8(rng.IntN(256))
			fresh := a.Post(v)
			if want := v >= 16 && !m.irr[v]; fresh != want {
				t.Fatalf("step %d: post %d fresh %v", step, v, fresh)
			}
			m.irr[v] = v >= 16
		case 1:
			m.tpr = rng.IntN(256)
			a.WriteMSR(0x808, uint64(m.tpr))
		case 2:
			if v, ok := a.PendingVector(); ok {
				if !a.Ack(v) {
					t.Fatal("ack refused")
				}
				m.irr[v], m.isr[v] = false, true
				acks++
			}
		case 3:
			a.WriteMSR(0x80b, 0)
			for v := 255; v >= 0; v-- {
				if m.isr[v] {
					m.isr[v] = false
					break
				}
			}
		}
		got := -1
		if v, ok := a.PendingVector(); ok {
			got = int(v)
		}
		if got != m.pending() || int(a.ppr()) != m.ppr() {
			t.Fatalf("step %d: pending %d ppr %#x, want %d %#x", step, got, a.ppr(), m.pending(), m.ppr())
		}
		if a.HasPending() != (got >= 0) {
			t.Fatal("HasPending differs")
		}
	}
	if acks < 1000 {
		t.Fatalf("only %d interrupts taken: the sequence shows nothing", acks)
	}
	if a.Ack(3) {
		t.Error("ack of an exception's vector")
	}
}

func TestEOILevel(t *testing.T) {
	b, _, f := newBus(t, 1, true, true)
	a := b.APIC(0)
	a.PostLevel(0x51)
	a.Post(0x61)
	for _, v := range []uint8{0x61, 0x51} {
		a.tpr = 0
		if p, ok := a.PendingVector(); !ok || p != v {
			t.Fatalf("pending %#x %v, want %#x", p, ok, v)
		}
		a.Ack(v)
		a.WriteMSR(0x80b, 0)
	}
	if !reflect.DeepEqual(f.got, []event{{"eoi", 0, 0x51}}) {
		t.Errorf("EOIs %v", f.got)
	}
	a.WriteMSR(0x80b, 0) // nothing in service
}

func TestState(t *testing.T) {
	b, c, _ := newBus(t, 1, true, true)
	a := b.APIC(0)
	a.WriteMSR(0x832, 0x200e0)
	a.WriteMSR(0x838, 1_000_000)
	c.now += 5_000_000
	a.Post(0x99)
	s := a.Export()
	b2, c2, _ := newBus(t, 1, true, false)
	c2.now = c.now + 7e9
	if err := b2.APIC(0).Import(&s); err != nil {
		t.Fatal(err)
	}
	if s2 := b2.APIC(0).Export(); s2 != s {
		t.Errorf("after import:\n%+v, want\n%+v", s2, s)
	}
	if d, d2 := a.NextDeadline()-c.now, b2.APIC(0).NextDeadline()-c2.now; d != d2 {
		t.Errorf("deadline in %d ns, was %d", d2, d)
	}
	for name, spoil := range map[string]func(*State){
		"version": func(s *State) { s.Version++ }, "base": func(s *State) { s.Base = baseExtd | DefaultBase },
		"moved": func(s *State) { s.Base += 0x1000 }, "tpr": func(s *State) { s.TPR = 0x100 },
		"lvt": func(s *State) { s.LVT[5] = 1 << 17 }, "irr": func(s *State) { s.IRR[0] = 1 },
		"icr": func(s *State) { s.ICR = 1 << 16 }, "count": func(s *State) { s.TimerCount = s.TimerInitial + 1 },
		"unmasked": func(s *State) { s.SVR = 0xff }, "elapsed": func(s *State) { s.TimerElapsed = ^uint64(0) },
	} {
		x := s
		spoil(&x)
		if b2.APIC(0).Import(&x) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzRegisters(f *testing.F) {
	f.Add([]byte{1, 0x83, 0, 0xff, 2, 0x38, 7, 1}, false)
	f.Add([]byte{0, 0x30, 0xc, 4, 3, 3, 3, 3}, true)
	f.Fuzz(func(t *testing.T, in []byte, x2 bool) {
		b, c, _ := newBus(t, 3, x2, true)
		for len(in) >= 4 {
			a := b.APIC(int(in[0]>>4) % 3)
			v := uint64(in[2]) | uint64(in[3])<<8 | uint64(in[3])<<15 | uint64(in[2])<<32
			switch in[0] & 7 {
			case 0:
				a.WriteMMIO(uint32(in[1])<<4, 4, v)
			case 1:
				a.WriteMSR(MSRX2First+uint32(in[1]), v&0xffff)
			case 2:
				a.WriteMSR(MSRX2First+uint32(in[1]), v)
			case 3:
				a.WriteMSR(MSRAPICBase, DefaultBase|v&0xd00)
			case 4:
				a.WriteMSR(MSRTSCDeadline, c.now+v&0xffff)
			case 5:
				c.now += v & 0xffffff
				a.Poll()
			case 6:
				a.ReadMMIO(v32(in[1], in[2]), int(in[3]))
				a.ReadMSR(MSRX2First + uint32(in[1]))
			case 7:
				if p, ok := a.PendingVector(); ok {
					a.Ack(p)
				}
			}
			in = in[4:]
			if d := a.NextDeadline(); d != None && d <= c.now {
				a.Poll()
				if d := a.NextDeadline(); d <= c.now {
					t.Fatalf("the timer stays due: %d at %d", d, c.now)
				}
			}
			s := a.Export()
			if err := a.Import(&s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func v32(a, b uint8) uint32 { return uint32(a)<<4 | uint32(b)&0xf }
