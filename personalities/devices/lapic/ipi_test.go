package lapic

import (
	"reflect"
	"sync"
	"testing"
)

// took lists the vcpus that have vector in IRR.
func took(b *Bus, vector uint8) (l []int) {
	for i, a := range b.apics {
		if a.irr[vector/32].Load()>>(vector%32)&1 != 0 {
			l = append(l, i)
		}
	}
	return l
}

func TestIPI(t *testing.T) {
	const logical, level, assert = icrLogical, icrLevel, icrAssert
	for _, tt := range []struct {
		name  string
		x2    bool
		icr   uint64 // written by vcpu 1 of 4; the destination in xAPIC form in bits 56-63
		fixed []int
		other []event
	}{
		{"physical", false, 2<<56 | 0x40, []int{2}, nil},
		{"physical nobody", false, 9<<56 | 0x40, nil, nil},
		{"physical broadcast", false, 0xff<<56 | 0x40, []int{0, 1, 2, 3}, nil},
		{"logical flat", false, 5<<56 | logical | 0x40, []int{0, 2}, nil},
		{"self", false, 1<<18 | 0x40, []int{1}, nil},
		{"all", false, 2<<18 | 0x40, []int{0, 1, 2, 3}, nil},
		{"others", false, 3<<18 | 0x40, []int{0, 2, 3}, nil},
		{"low vector", false, 2<<18 | 0xf, nil, nil},
		{"nmi", false, 3<<56 | 4<<8, nil, []event{{"nmi", 3, 0}}},
		{"nmi to self by shorthand", false, 1<<18 | 4<<8, nil, nil},
		{"init", false, 3<<56 | 5<<8 | level | assert, nil, []event{{"init", 3, 0}}},
		{"init de-assert", false, 3<<56 | 5<<8 | level, nil, nil},
		{"sipi", false, 3<<56 | 6<<8 | 0x9a, nil, []event{{"sipi", 3, 0x9a}}},
		{"init others", false, 3<<18 | 5<<8 | assert, nil, []event{{"init", 0, 0}, {"init", 2, 0}, {"init", 3, 0}}},
		{"smi", false, 3<<56 | 2<<8, nil, nil},
		{"reserved 3", false, 3<<56 | 3<<8 | 0x40, nil, nil},
		{"reserved 7", false, 3<<56 | 7<<8 | 0x40, nil, nil},
		{"x2 physical", true, 2<<32 | 0x40, []int{2}, nil},
		{"x2 0xff is no broadcast", true, 0xff<<32 | 0x40, nil, nil},
		{"x2 broadcast", true, 0xffffffff<<32 | 0x40, []int{0, 1, 2, 3}, nil},
		{"x2 logical", true, 0xa<<32 | logical | 0x40, []int{1, 3}, nil},
		{"x2 logical other cluster", true, 0x1000a<<32 | logical | 0x40, nil, nil},
		{"x2 others", true, 3<<18 | 0x40, []int{0, 2, 3}, nil},
	} {
		b, _, f := newBus(t, 4, tt.x2, true)
		a := b.APIC(1)
		if tt.x2 {
			if !a.WriteMSR(0x830, tt.icr) {
				t.Fatalf("%s: #GP", tt.name)
			}
		} else {
			for i, x := range b.apics {
				x.WriteMMIO(regLDR, 4, 1<<(24+i))
			}
			a.WriteMMIO(regICR2, 4, tt.icr>>32)
			a.WriteMMIO(regICR, 4, tt.icr&0xffffffff)
		}
		if got := took(b, 0x40); !reflect.DeepEqual(got, tt.fixed) {
			t.Errorf("%s: vector went to %v, want %v", tt.name, got, tt.fixed)
		}
		if !reflect.DeepEqual(f.got, tt.other) {
			t.Errorf("%s: got %v, want %v", tt.name, f.got, tt.other)
		}
	}
}

func TestCluster(t *testing.T) {
	b, _, _ := newBus(t, 4, false, true)
	for i, ldr := range []uint64{0x11, 0x12, 0x21, 0x22} {
		b.APIC(i).WriteMMIO(regDFR, 4, 0x0fffffff)
		b.APIC(i).WriteMMIO(regLDR, 4, ldr<<24)
	}
	for dest, want := range map[uint32][]int{0x13: {0, 1}, 0x22: {3}, 0xf1: {0, 2}, 0xff: {0, 1, 2, 3}, 0x33: nil, 0x20: nil, 0x111: nil} {
		for _, a := range b.apics {
			a.irr[2].Store(0)
		}
		b.Deliver(Message{Dest: dest, Logical: true, Vector: 0x40})
		if got := took(b, 0x40); !reflect.DeepEqual(got, want) {
			t.Errorf("cluster destination %#x: %v, want %v", dest, got, want)
		}
	}
	b.APIC(0).WriteMMIO(regDFR, 4, 0x50000000) // no such model
	if d := destination(b.APIC(0).dest.Load()); d.matches(0x11, true, false) {
		t.Error("an undefined model matches")
	}
}

func TestLowestPriorityAndDisabled(t *testing.T) {
	b, _, f := newBus(t, 4, false, true)
	for range 4 {
		if !b.Deliver(Message{Dest: 0xff, Mode: LowestPriority, Vector: 0x40}) {
			t.Fatal("not accepted")
		}
	}
	if got := took(b, 0x40); len(got) != 4 {
		t.Errorf("four messages went to %v", got)
	}
	b, _, f = newBus(t, 2, false, false) // disabled by software
	if b.Deliver(Message{Dest: 0xff, Vector: 0x40}) || took(b, 0x40) != nil {
		t.Error("fixed taken while disabled")
	}
	if !b.Deliver(Message{Dest: 1, Mode: NMI}) || len(f.got) != 1 {
		t.Error("NMI not taken while disabled")
	}
	b.APIC(1).WriteMSR(MSRAPICBase, DefaultBase)
	if b.Deliver(Message{Dest: 1, Mode: NMI}) {
		t.Error("NMI taken with the APIC off")
	}
	b.APIC(0).Post(0x40)
	if b.APIC(0).HasPending() {
		t.Error("pending while disabled by software")
	}
	b.APIC(0).WriteMMIO(regSVR, 4, 0x1ff)
	if !b.APIC(0).HasPending() {
		t.Error("not pending once enabled")
	}
}

func TestErrors(t *testing.T) {
	b, _, _ := newBus(t, 1, false, true)
	a := b.APIC(0)
	a.WriteMMIO(regError, 4, 0xfe)
	a.WriteMMIO(0x40, 4, 0)
	if v, ok := a.PendingVector(); !ok || v != 0xfe {
		t.Errorf("error vector: %#x %v", v, ok)
	}
	if rd(t, a, regESR) != 0 {
		t.Error("ESR before it was written")
	}
	a.WriteMMIO(regICR, 4, 1<<18|3)
	a.WriteMMIO(regESR, 4, 0)
	if got := rd(t, a, regESR); got != errIllegalReg|errSendIllegal {
		t.Errorf("ESR %#x", got)
	}
	a.Post(5)
	a.WriteMMIO(regESR, 4, 0)
	if got := rd(t, a, regESR); got != errReceiveIllegal {
		t.Errorf("ESR %#x", got)
	}
	a.WriteMMIO(regESR, 4, 0)
	if got := rd(t, a, regESR); got != 0 {
		t.Errorf("ESR %#x after two writes", got)
	}
}

func TestPostFromManyThreads(t *testing.T) {
	b, _, _ := newBus(t, 1, true, true)
	a := b.APIC(0)
	var wg sync.WaitGroup
	var fresh [4]int
	for g := range 4 {
		wg.Go(func() {
			for v := 16; v < 256; v++ {
				if a.Post(uint8(v)) {
					fresh[g]++
				}
			}
		})
	}
	wg.Wait()
	if n := fresh[0] + fresh[1] + fresh[2] + fresh[3]; n != 240 {
		t.Errorf("%d posts were fresh, want 240", n)
	}
	for v := 255; v >= 16; v-- {
		if p, ok := a.PendingVector(); !ok || int(p) != v || !a.Ack(p) {
			t.Fatalf("pending %d %v, want %d", p, ok, v)
		}
		a.WriteMSR(0x80b, 0)
	}
}

func TestTimer(t *testing.T) {
	b, c, _ := newBus(t, 1, true, true)
	a := b.APIC(0)
	wr := func(msr uint32, v uint64) {
		t.Helper()
		if !a.WriteMSR(msr, v) {
			t.Fatalf("#GP at %#x", msr)
		}
	}
	count := func() uint64 { v, _ := a.ReadMSR(0x839); return v }
	fired := func() bool {
		a.Poll()
		v, ok := a.PendingVector()
		if ok {
			a.Ack(v)
			wr(0x80b, 0)
		}
		return ok
	}
	wr(0x832, 0xe0) // one-shot
	for cfg, div := range map[uint64]uint64{0: 2, 1: 4, 2: 8, 3: 16, 8: 32, 9: 64, 10: 128, 11: 1} {
		wr(0x83e, cfg)
		wr(0x838, 1000)
		ns := 1000 * div * busCycleNS
		if d := a.NextDeadline(); d != c.now+ns {
			t.Errorf("divide by %d: deadline in %d, want %d", div, d-c.now, ns)
		}
		c.now += ns / 2
		if count() != 500 || fired() {
			t.Errorf("divide by %d: half way: count %d", div, count())
		}
		c.now += ns / 2
		if !fired() || fired() || count() != 0 || a.NextDeadline() != None {
			t.Errorf("divide by %d: at the end: count %d", div, count())
		}
	}
	// Periodic: no drift, missed periods collapse.
	start := c.now
	wr(0x832, 0x200e0)
	wr(0x838, 100_000) // divide by whatever map order left: set it
	wr(0x83e, 11)
	wr(0x838, 100_000)
	c.now = start + 3_500_000
	if !fired() || fired() || a.NextDeadline() != start+4_000_000 || count() != 50_000 {
		t.Errorf("periodic: deadline %d count %d", a.NextDeadline()-start, count())
	}
	wr(0x838, 1) // 10 ns: bounded
	if d := a.NextDeadline() - c.now; d != minPeriod {
		t.Errorf("a 10 ns period fires every %d ns", d)
	}
	wr(0x838, 0)
	if a.NextDeadline() != None || count() != 0 {
		t.Error("zero doesn't stop the timer")
	}
	// Masked: counts, doesn't fire, isn't a deadline.
	wr(0x832, 0x100e0)
	wr(0x838, 1000)
	if a.NextDeadline() != None || count() != 1000 {
		t.Error("masked timer")
	}
	c.now += 20_000
	wr(0x832, 0xe0)
	if fired() {
		t.Error("a timer that ended while masked fires when unmasked")
	}
	// TSC deadline.
	wr(MSRTSCDeadline, c.now+10)
	if v, _ := a.ReadMSR(MSRTSCDeadline); v != 0 {
		t.Error("TSC deadline armed in another mode")
	}
	wr(0x832, 0x400e0)
	wr(0x838, 55)
	if v, _ := a.ReadMSR(0x838); v != 0 {
		t.Error("initial count in TSC-deadline mode")
	}
	c.tscOff = 100
	wr(MSRTSCDeadline, c.now+600)
	if a.NextDeadline() != c.now+500 || fired() {
		t.Error("TSC deadline")
	}
	c.tscOff = 200
	a.TSCChanged()
	if a.NextDeadline() != c.now+400 {
		t.Error("TSC deadline after a change of TSC")
	}
	c.now += 400
	if !fired() || fired() {
		t.Error("TSC deadline passed")
	}
	if v, _ := a.ReadMSR(MSRTSCDeadline); v != 0 {
		t.Error("TSC deadline isn't zero after it fired")
	}
	wr(MSRTSCDeadline, c.now+600)
	wr(0x832, 0xe0)
	wr(0x832, 0x400e0)
	if a.NextDeadline() != None {
		t.Error("a change of mode doesn't disarm")
	}
	a.cfg.TSCDeadline = false
	if a.WriteMSR(MSRTSCDeadline, 1) || a.WriteMSR(0x832, 0x400e0) {
		t.Error("TSC deadline where there is none")
	}
}

func TestLINT(t *testing.T) {
	b, _, f := newBus(t, 1, true, true)
	a := b.APIC(0)
	if a.RaiseLINT(0) || a.HasPending() {
		t.Error("masked")
	}
	a.WriteMSR(0x835, 0x700)
	a.WriteMSR(0x836, 0x400)
	if !a.RaiseLINT(0) || a.RaiseLINT(1) || len(f.got) != 1 || f.got[0].kind != "nmi" {
		t.Errorf("LINT0 ExtINT, LINT1 NMI: %v", f.got)
	}
}

func BenchmarkPending(b *testing.B) {
	bus, _, _ := newBus(b, 1, true, true)
	a := bus.APIC(0)
	b.ReportAllocs()
	for b.Loop() {
		a.Post(0xf3)
		v, _ := a.PendingVector()
		a.Ack(v)
		a.WriteMSR(0x80b, 0)
	}
}
