package pvmmu

import (
	"testing"

	"nidus/mm"
)

// newPAE is a 32-bit guest whose frame m[0] is the L3 table, m[1] to m[4] its L2 tables, and
// m[5] and m[6] L1 tables at the beginning and in the highest GiB.
func newPAE(t *testing.T) *guest {
	g := newMachine(t, 64).guest(myself, 20, func(c *Config) { c.PAE = true })
	for i := range 4 {
		g.put(g.m[0], i, to(g.m[1+i], 0))
	}
	g.put(g.m[1], 0, to(g.m[5], writable|user))
	g.put(g.m[4], 0, to(g.m[6], writable))
	g.put(g.m[5], 0, to(g.m[7], writable))
	g.put(g.m[6], 0, to(g.m[8], writable|user))
	return g
}

func TestPAE(t *testing.T) {
	g := newPAE(t)
	defer g.end()
	g.put(g.m[0], 4, 0x1234567) // nobody looks at that
	g.put(g.m[4], 500, 0x1234567)
	g.pin(ErrArgument, g.m[0], 4)
	g.pin(nil, g.m[0], 3)
	g.is(g.m[0], L3, 1, 2)
	g.is(g.m[1], L2, 1, 2)
	g.is(g.m[4], L2Hole, 1, 2)
	for i := holeL2Start; i < tableSize; i++ {
		if e := g.entry(g.m[4], i); uint64(e) != g.d.cfg.HoleL2[i-holeL2Start] {
			t.Fatalf("entry %d of the hypervisor's part is %#x", i, e)
		}
	}
	// The guest's user bits are its own: its kernel is not in ring 3.
	if e := g.entry(g.m[5], 0); e != to(g.m[7], writable) {
		t.Errorf("the L1 entry is %#x", e)
	}
	for _, x := range []struct {
		err   error
		m     mm.MFN
		i     int
		e     entry
		about string
	}{
		{ErrSlot, g.m[4], holeL2Start, 0, "the hypervisor's part"},
		{ErrSlot, g.m[4], 511, to(g.m[5], 0), "the hypervisor's part"},
		{ErrSlot, g.m[0], 4, 0, "an L3 table has 4 entries"},
		{ErrSlot, g.m[0], 511, to(g.m[1], 0), "an L3 table has 4 entries"},
		{ErrType, g.m[0], 0, to(g.m[4], 0), "the L2 of the highest GiB elsewhere"},
		{ErrType, g.m[0], 3, to(g.m[1], 0), "another one in the highest GiB"},
		{ErrType, g.m[0], 1, to(g.m[0], 0), "an L3 table in itself"},
		{ErrEntry, g.m[0], 1, to(g.m[1], large), "no large pages"},
		{nil, g.m[0], 1, to(g.m[1], 0), "an L2 twice"},
		{nil, g.m[0], 1, to(g.m[2], 0), "and once"},
		{nil, g.m[4], 10, to(g.m[4], 0), "its own linear page table"},
		{nil, g.m[4], 11, to(g.m[1], 0), "and of another"},
		{ErrLinear, g.m[4], 11, to(g.m[1], writable), "writable"},
		{nil, g.m[2], 11, to(g.m[3], 0), "elsewhere"},
		{ErrLinear, g.m[3], 11, to(g.m[4], 0), "a chain"},
		{nil, g.m[4], 11, 0, "no more"},
		{nil, g.m[2], 11, 0, "no more"},
	} {
		t.Run(x.about, func(t *testing.T) { g.TB = t; g.update(x.err, x.m, x.i, x.e) })
	}
	g.TB = t
	g.want(ErrUnsupported, func() error { return g.v.SetRoot(false, g.m[0]) })
	g.want(nil, func() error { return g.v.SetRoot(true, g.m[0]) })
	// Below a table of the hypervisor's own.
	l4 := g.roots[true]
	if f := g.f.Info(l4); f.Kind != mm.FrameTable {
		t.Fatalf("the root is %+v", f)
	}
	for i := range HoleSlots {
		if uint64(g.entry(l4, holeStart+i)) != g.d.cfg.Hole[i] {
			t.Errorf("the hypervisor's entry %d is missing", i)
		}
	}
	l3 := g.entry(l4, 0).frame()
	if e := g.entry(l3, 4); e != 0 {
		t.Errorf("the fifth GiB is %#x", e)
	}
	for i, m := range []int{1, 2, 3, 4} {
		if e := g.entry(l3, i); e != to(g.m[m], writable|user) {
			t.Errorf("entry %d is %#x", i, e)
		}
	}
	// A change is seen at once.
	g.update(nil, g.m[0], 1, 0)
	if e := g.entry(l3, 1); e != 0 {
		t.Errorf("the processor still has %#x", e)
	}
	g.update(nil, g.m[0], 1, to(g.m[9], noExec))
	if e := g.entry(l3, 1); e != to(g.m[9], writable|user) {
		t.Errorf("the processor has %#x", e)
	}
	for va, want := range map[mm.GuestVirt]error{0: nil, 0xc0000000: nil, 0x100000000: ErrAddress, 0xf5800000: ErrAddress, 0xf5600000: ErrAddress, 0xffffffff80000000: ErrAddress} {
		g.want(want, func() error { return g.v.UpdateVA(va, 0) })
	}
}

// TestPAERelease gives back the tables of a guest whose vcpus share its root.
func TestPAERelease(t *testing.T) {
	g := newPAE(t)
	w := g.d.AddVCPU(g)
	g.want(nil, func() error { return g.v.SetRoot(true, g.m[0]) })
	g.want(nil, func() error { return w.SetRoot(true, g.m[0]) })
	g.is(g.m[0], L3, 2, 3)
	g.want(nil, func() error { return g.v.SetRoot(true, g.m[10]) })
	g.is(g.m[0], L3, 1, 2)
	g.end()
}

// TestPAEHalves writes an entry by two stores of 4 bytes, as 32-bit kernels do.
func TestPAEHalves(t *testing.T) {
	g := newPAE(t)
	defer g.end()
	g.pin(nil, g.m[0], 3)
	at := pt(g.m[5], 3)
	for _, x := range []struct {
		off uint64
		val uint64
	}{{4, 0x80000000}, {0, uint64(to(g.m[9], writable))}, {0, uint64(to(g.m[10], 0))}, {0, 0}, {4, 0}} {
		if _, ok, err := g.v.Emulate(at+x.off, 4, x.val, false, 0); !ok || err != nil {
			t.Errorf("%#x at %d: %v, %v", x.val, x.off, ok, err)
		}
		if x.off == 0 && x.val&2 != 0 {
			g.is(g.m[9], Writable, 1, 2)
		}
	}
	g.is(g.m[9], Writable, 0, 1)
	g.is(g.m[10], None, 0, 1)
}
