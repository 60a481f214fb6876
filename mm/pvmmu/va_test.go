package pvmmu

import (
	"testing"

	"nidus/mm"
)

// TestTranslate: an address has the rights that all levels give it.
func TestTranslate(t *testing.T) {
	for _, upper := range []entry{0, writable} {
		g := newMachine(t, 64).guest(myself, 24, nil)
		g.tree(0)
		g.want(nil, func() error { return g.v.SetRoot(true, g.m[0]) })
		g.update(nil, g.m[1], 0, to(g.m[2], upper))
		g.want(nil, func() error { return g.v.UpdateVA(0x1000, uint64(to(g.m[5], writable))) })
		want := Mapping{Frame: g.m[5], Write: upper == writable, User: true}
		if m, ok := g.v.Translate(true, 0x1fff); !ok || m != want {
			t.Errorf("below an L3 entry with the flags %#x: %+v, %v", upper, m, ok)
		}
		for _, va := range []mm.GuestVirt{0x2000, 1 << 39, 0xffff8000_00000000, 1 << 47} {
			if m, ok := g.v.Translate(true, va); ok {
				t.Errorf("%#x is %+v", va, m)
			}
		}
		if m, ok := g.v.Translate(false, 0x1000); ok {
			t.Errorf("without tables for processes: %+v", m)
		}
		g.end()
	}
}

func TestEmulate(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	e := to(g.m[5], writable)
	if _, ok, err := g.v.Emulate(pt(g.m[3], 2), 8, uint64(e), false, 0); !ok || err != nil {
		t.Error(ok, err)
	}
	g.is(g.m[5], Writable, 1, 2)
	if seen, ok, err := g.v.Emulate(pt(g.m[3], 2), 8, 0, true, 1); ok || err != nil || entry(seen) != e|user {
		t.Errorf("%#x, %v, %v", seen, ok, err)
	}
	// A byte: no longer writable.
	if seen, ok, err := g.v.Emulate(pt(g.m[3], 2), 1, 1, true, 7); !ok || err != nil || seen != 7 {
		t.Errorf("%#x, %v, %v", seen, ok, err)
	}
	g.is(g.m[5], Writable, 0, 2)
	// The high half of the frame's number.
	if _, _, err := g.v.Emulate(pt(g.m[3], 2)+4, 4, 0xff, false, 0); err != ErrMachine {
		t.Error(err)
	}
	if _, ok, err := g.v.Emulate(pt(g.m[2], 3), 8, uint64(to(g.m[6], 0)), false, 0); !ok || err != nil {
		t.Error(ok, err)
	}
	g.is(g.m[6], L1, 1, 2)
	for _, bad := range []struct {
		ptr  uint64
		size int
		err  error
	}{{pt(g.m[3], 2) + 1, 8, ErrArgument}, {pt(g.m[3], 2), 3, ErrArgument}, {pt(g.m[3], 2), 16, ErrArgument}, {pt(g.m[3], 2), 0, ErrArgument},
		{pt(g.m[8], 0), 8, ErrType}, {1 << 60, 8, ErrFrame}, {pt(g.m[0], holeStart), 8, ErrSlot}} {
		if _, _, err := g.v.Emulate(bad.ptr, bad.size, 0, false, 0); err != bad.err {
			t.Errorf("%#x, %d: %v, want %v", bad.ptr, bad.size, err, bad.err)
		}
	}
}
