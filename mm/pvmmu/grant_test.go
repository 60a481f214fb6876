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

// TestReplaceForeign: the entry for page 0 moves over a grant's, in whole or not at all.
func TestReplaceForeign(t *testing.T) {
	for _, x := range []struct {
		name  string
		from  mm.GuestVirt
		own   bool  // the grant is of a frame of its own
		there entry // what the guest puts in the grant's place before
		moved entry // at from; 0: a page of its own, writable
		want  error
	}{
		{name: "a page"},
		{name: "a page, over one of its own", own: true},
		{name: "nothing", moved: 0x1230},
		{name: "another grant", moved: 1, want: ErrFrame},
		{name: "onto itself", from: 0x1000, want: ErrArgument},
		{name: "no table", from: 1 << 30, want: ErrAddress},
		{name: "the hypervisor's", from: 0xffff800000000000, want: ErrAddress},
		{name: "not canonical", from: 1 << 47, want: ErrAddress},
		{name: "not there any more", there: 1, want: ErrState},
		{name: "of its own, not there any more", own: true, there: 1, want: ErrState},
	} {
		k := newMachine(t, 64)
		o := k.guest(other, 4, nil)
		g := k.guest(myself, 16, nil)
		g.tree(writable)
		g.pin(nil, g.m[0], 4)
		g.want(nil, func() error { return g.v.SetRoot(true, g.m[0]) })
		at, granted := pt(g.m[3], 1), o.m[0]
		frame := mm.InvalidMFN
		if x.own {
			granted, frame = g.m[7], g.m[7]
			g.update(nil, g.m[3], 1, to(granted, writable))
		} else if err := g.v.MapForeign(at, uint64(to(granted, writable)), other); err != nil {
			t.Fatal(err)
		}
		moved := to(g.m[4], writable)
		switch {
		case x.moved == 1:
			if err := g.v.MapForeign(pt(g.m[3], 0), uint64(to(o.m[1], 0)), other); err != nil {
				t.Fatal(err)
			}
			moved = to(o.m[1], 0)
		case x.moved != 0:
			moved = x.moved
			g.update(nil, g.m[3], 0, moved)
		}
		there := to(granted, writable)
		if x.there != 0 {
			there = to(g.m[8], 0)
			g.update(nil, g.m[3], 1, there)
		}
		before := g.all
		err := g.v.ReplaceForeign(at, frame, x.from)
		source, target := g.entry(g.m[3], 0), g.entry(g.m[3], 1)
		if x.want != nil {
			if err != x.want || source.refs() != moved.refs() || target.refs() != there.refs() {
				t.Errorf("%s: %v, want %v; the entries are %#x and %#x", x.name, err, x.want, source, target)
			}
		} else {
			if err != nil || source != 0 || target.refs() != moved.refs() || g.all == before {
				t.Errorf("%s: %v; the entries are %#x and %#x, %d flushes", x.name, err, source, target, g.all-before)
			}
			if i := k.types.Info(granted); i.Count != 0 {
				t.Errorf("%s: %+v of the grant's frame", x.name, i)
			}
			if i := k.types.Info(g.m[4]); x.moved == 0 && (i.Type != Writable || i.Count != 1) {
				t.Errorf("%s: %+v of the page's", x.name, i)
			}
		}
		g.want(nil, func() error { return g.v.SetRoot(true, g.m[0]) })
		g.unpin(nil, g.m[0])
		g.end()
		o.end()
	}
}
