package pvmmu

import (
	"testing"

	"nidus/mm"
)

func TestForeign(t *testing.T) {
	k := newMachine(t, 64)
	o := k.guest(other, 4, nil)
	g := k.guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	at := pt(g.m[3], 1)
	if err := g.v.MapForeign(at, uint64(to(o.m[0], writable)), other); err != nil {
		t.Fatal(err)
	}
	g.is(o.m[0], Writable, 1, 2)
	o.pin(ErrType, o.m[0], 1)
	if s := o.d.Claim(o.m[0], 0); s != mm.FrameBusy {
		t.Error(s)
	}
	// It can't be used for more.
	g.update(ErrFrame, g.m[3], 2, to(o.m[0], 0))
	g.update(ErrFrame, g.m[2], 2, to(o.m[0], 0))
	g.update(ErrFrame, g.m[3], 1, to(o.m[0], 0))
	g.update(nil, g.m[3], 1, to(o.m[0], writable|noExec))
	if err := g.v.UnmapForeign(at, 0, o.m[1]); err != ErrState {
		t.Error(err)
	}
	if err := g.v.UnmapForeign(at, uint64(to(o.m[0], writable)), o.m[0]); err != ErrArgument {
		t.Error(err)
	}
	before := g.all
	if err := g.v.UnmapForeign(at, 0, o.m[0]); err != nil {
		t.Fatal(err)
	}
	if g.all == before {
		t.Error("the mapping was not flushed")
	}
	g.is(o.m[0], Writable, 0, 1)
	o.pin(nil, o.m[0], 1)
	if err := g.v.MapForeign(at, uint64(to(o.m[0], writable)), other); err != ErrProtected {
		t.Error(err)
	}
	if err := g.v.MapForeign(at, uint64(to(o.m[0], 0)), myself); err != ErrFrame {
		t.Error(err)
	}
	if err := g.v.MapForeign(pt(g.m[2], 5), uint64(to(o.m[1], 0)), other); err != ErrType {
		t.Error(err)
	}
	// An unmap that does not say what is mapped.
	if err := g.v.MapForeign(at, uint64(to(o.m[1], writable)), other); err != nil {
		t.Error(err)
	}
	for _, ptr := range []uint64{at, at, pt(g.m[3], 0), pt(g.m[2], 0), pt(g.m[9], 0), pt(o.m[1], 0)} {
		if err := g.v.DropForeign(ptr); err != nil {
			t.Errorf("%#x: %v", ptr, err)
		}
	}
	for _, ptr := range []uint64{at + 1, 1 << 60} {
		if err := g.v.DropForeign(ptr); err != ErrArgument {
			t.Errorf("%#x: %v", ptr, err)
		}
	}
	g.is(o.m[1], Writable, 0, 1)
	g.is(g.m[4], None, 0, 2)
	// A table with a mapping goes.
	if err := g.v.MapForeign(at, uint64(to(o.m[1], writable)), other); err != nil {
		t.Error(err)
	}
	g.unpin(nil, g.m[0])
	g.is(o.m[1], Writable, 0, 1)
	g.end()
	o.end()
}
