package pvmmu

import (
	"math/rand/v2"
	"testing"

	"nidus/mm"
)

// quick does an Update as the entry code of a guest's exits does: by Quick, if that is possible.
func quick(v *VCPU, ptr, val uint64) bool {
	m := mm.MFN(ptr >> mm.PageShift)
	if ptr&5 != 0 || !v.Owns(m) {
		return false
	}
	done := v.Quick(v.d.mem.Table(m), m, int(ptr&mm.PageMask)>>3, val, ptr&2 != 0)
	if v.Owes() {
		v.Settle()
	}
	return done
}

// quickWorld is a guest with a tree of tables, frames of several types, and frames that are not its own.
func quickWorld(t *testing.T) *guest {
	g := newMachine(t, 64).guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	g.pin(nil, g.m[7], 1)
	g.pin(nil, g.m[10], 1) // it was a table
	g.unpin(nil, g.m[10])
	g.update(nil, g.m[3], 2, to(g.m[8], writable))
	g.update(nil, g.m[3], 3, to(g.m[9], 0))
	return g
}

// state is all that an update may change.
func (g *guest) state() (s []any) {
	for _, m := range g.m {
		for i := range 8 {
			s = append(s, g.entry(m, i))
		}
		s = append(s, g.d.types.Info(m), g.f.Info(m), g.d.types.at(m).since.Load())
	}
	return append(s, g.all, len(g.sets), len(g.addrs))
}

// TestQuick lets the same updates be done by Quick and by Update: what Quick does is the same, and
// what it doesn't do it leaves alone.
func TestQuick(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	done, refused := 0, 0
	for range 60 {
		a, b := quickWorld(t), quickWorld(t)
		for range 80 {
			at := a.m[3]
			if r.IntN(6) == 0 {
				at = a.m[r.IntN(len(a.m))]
			}
			to := a.m[r.IntN(len(a.m))]
			if r.IntN(12) == 0 {
				to = []mm.MFN{0, a.m[0] - 1, 1 << 30, 1<<40 - 1}[r.IntN(4)]
			}
			val := uint64(entryOf(to)) | r.Uint64()&(1<<63|0xe67) | uint64(r.IntN(4))/3*(r.Uint64()&0x198)
			if r.IntN(6) == 0 {
				val &^= 1
			}
			ptr := pt(at, r.IntN(6)) | uint64(r.IntN(2)*2)
			before := a.state()
			if !quick(a.v, ptr, val) {
				if refused++; !equal(before, a.state()) {
					t.Fatalf("Quick(%#x, %#x) refuses, but changes", ptr, val)
				}
				do(func() error { return a.v.Update(ptr, val) }, a.d)
			} else {
				done++
			}
			do(func() error { return b.v.Update(ptr, val) }, b.d)
			if x, y := a.state(), b.state(); !equal(x, y) {
				t.Fatalf("Quick(%#x, %#x):\n%v\nUpdate:\n%v", ptr, val, x, y)
			}
		}
	}
	if done < 1000 || refused < 1000 {
		t.Errorf("%d done, %d refused", done, refused)
	}
}

func equal(a, b []any) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestQuickTable: a table of another domain's is not changed.
func TestQuickTable(t *testing.T) {
	g := quickWorld(t)
	o := g.guest(other, 8, nil)
	o.pin(nil, o.m[0], 1)
	if g.v.Quick(g.d.mem.Table(o.m[0]), o.m[0], 1, uint64(to(g.m[5], 0)), false) || o.entry(o.m[0], 1) != 0 {
		t.Error("another domain's table was changed")
	}
	o.is(o.m[0], L1, 1, 2)
}

// TestQuickLeaks: an entry that is not present and names memory is not let pass where it may leak.
func TestQuickLeaks(t *testing.T) {
	g := quickWorld(t)
	g.d.cfg.Leaks = 1 << 40
	if quick(g.v, pt(g.m[3], 1), uint64(entryOf(g.m[5]))) {
		t.Error("an entry was written that leaks")
	}
	if !quick(g.v, pt(g.m[3], 1), 0) {
		t.Error("an empty entry was refused")
	}
}

// TestQuickOwes: the last reference to a table, and to a frame, that goes in Quick is given back by Settle.
func TestQuickOwes(t *testing.T) {
	g := quickWorld(t)
	table, m := g.d.types.at(g.m[7]), g.m[7]
	g.update(nil, m, 1, to(g.m[6], writable))
	table.borrow(L1)
	g.unpin(nil, m)
	g.v.owed = owed{borrowed: true, table: m}
	if g.v.Quick(g.d.mem.Table(g.m[3]), g.m[3], 1, 0, false) {
		t.Error("Quick goes on while it owes")
	}
	g.v.Settle()
	g.is(m, L1, 0, 1)
	g.is(g.m[6], Writable, 0, 1)
	if g.v.Owes() {
		t.Error("it owes still")
	}
}

func BenchmarkQuick(b *testing.B) {
	g := newMachine(b, 64).guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	e := [2]uint64{uint64(to(g.m[5], writable)), uint64(to(g.m[6], writable))}
	t := g.d.mem.Table(g.m[3])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !g.v.Quick(t, g.m[3], 1, e[i&1], false) {
			b.Fatal("refused")
		}
	}
}
