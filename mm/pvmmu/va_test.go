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
