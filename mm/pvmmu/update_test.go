package pvmmu

import "testing"

func TestUpdate(t *testing.T) {
	k := newMachine(t, 64)
	k.AllocAtFor(base+60, other)
	g := k.guest(myself, 16, nil)
	defer g.end()
	g.tree(writable)
	g.pin(nil, g.m[0], 4)
	// L1 entries.
	g.update(nil, g.m[3], 1, to(g.m[5], writable))
	g.is(g.m[5], Writable, 1, 2)
	g.update(nil, g.m[3], 1, to(g.m[5], 0))
	g.is(g.m[5], Writable, 0, 2)
	g.update(nil, g.m[3], 1, to(g.m[5], noExec))
	g.is(g.m[5], Writable, 0, 2)
	g.update(nil, g.m[3], 1, 0xabcd0) // any that is not present
	g.is(g.m[5], Writable, 0, 1)
	g.update(ErrFrame, g.m[3], 1, to(base+60, 0))
	g.update(ErrProtected, g.m[3], 1, to(g.m[2], writable))
	g.update(ErrMachine, g.m[3], 1, to(1<<38, 0))
	g.update(ErrEntry, g.m[3], 1, to(g.m[5], pcd))
	g.update(nil, g.m[3], 1, to(g.m[2], 0))
	g.update(nil, g.m[3], 1, 0)
	g.update(ErrFrame, base+60, 1, 0)
	g.update(ErrFrame, 1<<39, 1, 0)
	g.want(ErrUnsupported, func() error { return g.v.Update(pt(g.m[3], 1)|4, 0) })
	// Accessed and dirty.
	g.update(nil, g.m[3], 1, to(g.m[5], dirtied))
	g.want(nil, func() error { return g.v.Update(pt(g.m[3], 1)|2, uint64(to(g.m[5], noExec))) })
	if e := g.entry(g.m[3], 1); e != to(g.m[5], noExec|user|dirtied) {
		t.Errorf("the entry is %#x", e)
	}
	// Upper levels: a new L1 table, a table for a page, the hypervisor's entries.
	g.put(g.m[6], 0, to(g.m[7], writable))
	g.update(nil, g.m[2], 1, to(g.m[6], writable))
	g.is(g.m[6], L1, 1, 2)
	g.update(nil, g.m[2], 1, to(g.m[6], 0))
	g.is(g.m[6], L1, 1, 2)
	g.update(nil, g.m[2], 2, to(g.m[6], 0))
	g.is(g.m[6], L1, 2, 3)
	g.update(ErrType, g.m[2], 1, to(g.m[4], 0))
	g.update(ErrEntry, g.m[2], 1, to(g.m[6], large))
	for i := holeStart; i < holeEnd; i++ {
		g.update(ErrSlot, g.m[0], i, to(g.m[1], 0))
		g.update(ErrSlot, g.m[0], i, 0)
	}
	g.update(nil, g.m[2], 1, 0)
	g.update(nil, g.m[2], 2, 0)
	g.is(g.m[6], L1, 0, 1)
	// Ordinary memory.
	g.update(nil, g.m[9], 4, 0x1234567)
	if e := g.entry(g.m[9], 4); e != 0x1234567 {
		t.Errorf("the word is %#x", e)
	}
	g.is(g.m[9], Writable, 0, 1)
}

func BenchmarkUpdateL1(b *testing.B) {
	g := newMachine(b, 64).guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	e := [2]uint64{uint64(to(g.m[5], writable)), uint64(to(g.m[6], writable))}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := g.v.Update(pt(g.m[3], 1), e[i&1]); err != nil {
			b.Fatal(err)
		}
	}
}
