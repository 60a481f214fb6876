package virt

import (
	"errors"
	"testing"
)

// TestPending: APM vol. 2, 8.2.9, table 8-3.
func TestPending(t *testing.T) {
	irq, nmi := Event{Vector: 0x40}, Event{Kind: NMI, Vector: 2}
	gp, pf, df, ud, db := Fault(VectorGP, 0), Fault(VectorPF, 2), Fault(VectorDF, 0), Fault(VectorUD, 0), Fault(VectorDB, 0)
	for _, c := range []struct {
		first, second, want Event
		err                 error
	}{
		{gp, gp, df, nil}, {pf, gp, df, nil}, {pf, pf, df, nil}, {gp, pf, pf, nil}, {ud, gp, gp, nil}, {ud, pf, pf, nil},
		{db, ud, ud, nil}, {df, gp, df, ErrTripleFault}, {df, pf, df, ErrTripleFault}, {df, df, df, ErrTripleFault},
		{df, db, df, ErrEventPending}, {gp, db, gp, ErrEventPending}, {irq, pf, pf, nil}, {nmi, gp, gp, nil},
		{irq, irq, irq, ErrEventPending}, {pf, irq, pf, ErrEventPending}, {pf, nmi, pf, ErrEventPending},
	} {
		var p Pending
		if err := p.Inject(c.first); err != nil {
			t.Fatal(err)
		}
		err := p.Inject(c.second)
		if got, ok := p.Next(true, true); got != c.want || !ok || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%v then %v: %v %v, want %v %v", c.first, c.second, got, err, c.want, c.err)
		}
	}
	var p Pending
	p.Inject(irq)
	p.Inject(pf)
	p.Delivered()
	if _, ok := p.Next(false, true); ok || !p.Held() || p.Empty() {
		t.Error("a held interrupt was offered with interrupts off")
	}
	if e, ok := p.Next(true, false); !ok || e != irq {
		t.Error("the held interrupt got lost")
	}
	p.Delivered()
	p.Again(Event{Kind: SoftInterrupt, Vector: 0x80})
	p.Again(Fault(VectorBP, 0))
	if !p.Empty() {
		t.Error("INT n is not to be injected")
	}
}

func TestEventCheck(t *testing.T) {
	for _, e := range []Event{{Kind: 1}, {Kind: 7}, {Kind: SoftInterrupt}, {Kind: NMI, Vector: 3}, {Kind: Exception, Vector: 32},
		{Kind: Exception, Vector: 2}, {Kind: Exception, Vector: 13}, {Kind: Exception, Vector: 6, HasCode: true}, {Vector: 9, HasCode: true}} {
		if err := e.Check(); !errors.Is(err, ErrBadState) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	for _, e := range []Event{{Vector: 255}, {Kind: NMI, Vector: 2}, Fault(13, 1), Fault(6, 1)} {
		if err := e.Check(); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestXCR0(t *testing.T) {
	for _, c := range []struct {
		v, allowed uint64
		ok         bool
	}{{1, 7, true}, {3, 7, true}, {7, 7, true}, {5, 7, false}, {0, 7, false}, {0xe7, 0xff, true}, {0x27, 0xff, false}, {0xe3, 0xff, false},
		{0x207, 7, false}, {1, 0, true}, {3, 0, false}} {
		if err := CheckXCR0(c.v, c.allowed); (err == nil) != c.ok {
			t.Errorf("%#x of %#x: %v", c.v, c.allowed, err)
		}
	}
}

func FuzzSetFPUImage(f *testing.F) {
	img := make([]byte, 832)
	img[25], img[512] = 0x1f, 7
	f.Add(img, uint64(7))
	f.Add(img[:512], uint64(0))
	f.Add(img[:600], uint64(3))
	f.Add([]byte{}, uint64(7))
	f.Fuzz(func(t *testing.T, src []byte, xcr0 uint64) {
		area := make([]byte, 832)
		for i := range area {
			area[i] = 0xa5
		}
		if SetFPUImage(area, src, xcr0, 0xffff) != nil {
			for _, b := range area {
				if b != 0xa5 {
					t.Fatal("a refused image changed the area")
				}
			}
			return
		}
		// what XRSTOR checks (APM vol. 4, XRSTOR)
		if area[26] != 0 || area[27] != 0 {
			t.Fatal("MXCSR")
		}
		if xcr0 != 0 {
			for i := range 8 {
				if area[512+i]&^byte(xcr0>>(8*i)) != 0 {
					t.Fatal("XSTATE_BV")
				}
			}
			for _, b := range area[520:576] {
				if b != 0 {
					t.Fatal("header")
				}
			}
		}
	})
}

func TestState(t *testing.T) {
	var s State
	s.Reset()
	if Bits(s.Sys[EFER], s.Seg[CS]) != 16 || s.String() == "" {
		t.Error("a processor comes out of RESET in 16-bit mode")
	}
	if Bits(EFERLMA, Segment{Attr: AttrLong}) != 64 || Bits(EFERLMA, Segment{Attr: AttrBig}) != 32 || Bits(0, Segment{Attr: AttrLong}) != 16 {
		t.Error("Bits")
	}
	if Advance(0xffffffff, 1, 32) != 0 || Advance(0xffffffff, 1, 64) != 1<<32 {
		t.Error("Advance")
	}
	if r, ok := SysRegOfMSR(0xc0000080); r != EFER || !ok {
		t.Error("EFER")
	}
	if _, ok := SysRegOfMSR(0x10); ok {
		t.Error("TSC isn't a register of State.Sys")
	}
}
