package pvmmu

import (
	"testing"

	"nidus/mm"
)

// TestFlush shows that no frame changes its use while a translation to it may be left.
func TestFlush(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.d.AddVCPU(g)
	flushes := func(n int, op func()) {
		t.Helper()
		before := g.all
		if op(); g.all-before != n {
			t.Errorf("%d flushes, want %d", g.all-before, n)
		}
	}
	g.tree(writable)
	g.pin(nil, g.m[0], 4)
	// Writable, then a page table.
	flushes(0, func() { g.update(nil, g.m[3], 0, to(g.m[4], 0)) })
	flushes(1, func() { g.pin(nil, g.m[4], 1) })
	// A table that is linked in and taken out, then writable.
	flushes(0, func() { g.unpin(nil, g.m[4]) })
	flushes(1, func() { g.update(nil, g.m[3], 1, to(g.m[4], writable)) })
	// The flush was since: no other.
	g.update(nil, g.m[3], 1, 0)
	g.v.FlushAll()
	flushes(0, func() { g.pin(nil, g.m[4], 1); g.unpin(nil, g.m[4]) })
	// A frame that goes.
	g.update(nil, g.m[3], 1, to(g.m[5], 0))
	flushes(0, func() {
		if s := g.d.Claim(g.m[5], 0); s != mm.FrameBusy {
			t.Error(s)
		}
	})
	g.update(nil, g.m[3], 1, 0)
	flushes(1, func() {
		if s := g.d.Claim(g.m[5], 0); s != mm.FrameOK {
			t.Error(s)
		}
	})
	g.f.Unclaim(g.m[5], 0)
	g.is(g.m[5], None, 0, 1)
	if s := g.d.Claim(g.m[0], 0); s != mm.FrameBusy {
		t.Error("a pinned table can go:", s)
	}
	if s := g.d.Claim(1<<40, 0); s != mm.FrameBadRange {
		t.Error(s)
	}
}
