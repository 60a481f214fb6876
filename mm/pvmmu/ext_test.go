package pvmmu

import (
	"testing"

	"nidus/mm"
)

func TestPin(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(writable | global)
	g.pin(nil, g.m[0], 4)
	g.is(g.m[0], L4, 1, 2)
	g.is(g.m[1], L3, 1, 2)
	g.is(g.m[2], L2, 1, 2)
	g.is(g.m[3], L1, 1, 2)
	g.is(g.m[4], Writable, 1, 2)
	if e := g.entry(g.m[3], 0); e != to(g.m[4], writable|user) {
		t.Errorf("the L1 entry is %#x", e)
	}
	if e := g.entry(g.m[0], 0); e != to(g.m[1], writable|user) {
		t.Errorf("the L4 entry is %#x", e)
	}
	for i := range HoleSlots {
		if e := g.entry(g.m[0], holeStart+i); uint64(e) != g.d.cfg.Hole[i] {
			t.Errorf("the hypervisor's entry %d is %#x", i, e)
		}
	}
	g.pin(ErrState, g.m[0], 4)
	g.pin(ErrType, g.m[0], 3)
	g.pin(ErrType, g.m[4], 1)
	g.pin(ErrArgument, g.m[5], 5)
	g.pin(ErrArgument, g.m[5], 0)
	g.pin(ErrFrame, 1, 1)
	g.pin(ErrFrame, 1<<40, 1)
	g.unpin(ErrState, g.m[1])
	g.unpin(ErrFrame, 1<<40)
	g.unpin(nil, g.m[0])
	for i := range 5 {
		if i := g.d.types.Info(g.m[i]); i.Count != 0 || i.Validated {
			t.Errorf("after it was unpinned: %+v", i)
		}
		g.is(g.m[i], g.d.types.Info(g.m[i]).Type, 0, 1)
	}
	if e := g.entry(g.m[0], holeStart); e != 0 {
		t.Errorf("the guest finds the hypervisor's entry %#x", e)
	}
	g.unpin(ErrState, g.m[0])
}

func TestRoots(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.tree(0)
	root := func(err error, kernel bool, m mm.MFN) {
		t.Helper()
		g.want(err, func() error { return g.v.SetRoot(kernel, m) })
	}
	root(nil, true, g.m[0])
	root(nil, true, g.m[0])
	root(nil, false, g.m[0])
	g.is(g.m[0], L4, 2, 3)
	root(ErrType, true, g.m[1])
	root(ErrFrame, true, 0)
	root(nil, true, g.m[10])
	if g.roots[true] != g.m[10] || g.roots[false] != g.m[0] {
		t.Errorf("roots %v", g.roots)
	}
	g.is(g.m[0], L4, 1, 2)
	root(nil, false, 0)
	g.is(g.m[0], L4, 0, 1)
	if _, ok := g.v.Translate(true, 0); ok {
		t.Error("a page is mapped by an empty table")
	}
	root(nil, true, g.m[0])
	if m, ok := g.v.Translate(true, 0); !ok || m != (Mapping{Frame: g.m[4], User: true}) {
		t.Errorf("mapped is %+v, %v", m, ok)
	}
	g.want(nil, func() error { return g.v.UpdateVA(0x1000, uint64(to(g.m[5], writable))) })
	g.is(g.m[5], Writable, 1, 2)
	for _, va := range []mm.GuestVirt{1 << 47, 0xffff800000000000, 0xffff87fffffff000, 1 << 30, 0x200000} {
		g.want(ErrAddress, func() error { return g.v.UpdateVA(va, 0) })
	}
}

func TestPages(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	g.put(g.m[8], 5, 77)
	g.want(nil, func() error { return g.v.CopyPage(g.m[9], g.m[8]) })
	if g.entry(g.m[9], 5) != 77 {
		t.Error("not copied")
	}
	g.want(nil, func() error { return g.v.ClearPage(g.m[9]) })
	if g.entry(g.m[9], 5) != 0 {
		t.Error("not cleared")
	}
	g.want(ErrType, func() error { return g.v.ClearPage(g.m[3]) })
	g.want(ErrType, func() error { return g.v.CopyPage(g.m[3], g.m[8]) })
	g.want(nil, func() error { return g.v.CopyPage(g.m[9], g.m[3]) })
	g.want(ErrFrame, func() error { return g.v.CopyPage(g.m[9], 2) })
	g.want(ErrFrame, func() error { return g.v.CopyPage(1<<50, g.m[9]) })
	g.want(ErrFrame, func() error { return g.v.ClearPage(1 << 50) })
}
