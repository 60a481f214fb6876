package pvmmu

import "nidus/mm"

// What the processor could reach, from nothing but memory, the roots that it was given, and
// what it may remember.

// reach is a guest's part of a check.
type reach struct {
	w    *world
	full bool // look at all entries
	seen map[visit]bool
	// table and writable are the frames that are walked through, and those that can be
	// written to.
	table, writable map[mm.MFN]bool
}

type visit struct {
	a     *actor
	m     mm.MFN
	level int
	rw    bool
}

// checkWalks fails the test if a guest can reach what it must not.
func (w *world) checkWalks(full bool) {
	w.Helper()
	for _, a := range w.guests {
		a.pruneGrants()
	}
	r := &reach{w: w, full: full, seen: map[visit]bool{}, table: map[mm.MFN]bool{}, writable: map[mm.MFN]bool{}}
	for _, a := range w.guests {
		for _, c := range a.vcpus {
			for _, root := range []mm.MFN{c.kernel, c.user} {
				if root != 0 {
					r.hole(a, root)
					r.visit(a, root, 4, true)
				}
			}
			for _, t := range c.tlb {
				r.remembered(a, t)
			}
		}
	}
	for m := range r.table {
		if r.writable[m] {
			w.Errorf("frame %#x is a page table that can be written, %+v", m, w.types.Info(m))
		}
	}
	for _, a := range w.guests {
		for m := range a.descriptors {
			if r.writable[m] || r.table[m] || a.written[m] > 0 {
				w.Errorf("frame %#x has descriptors and can be written (%v), or is a table (%v)", m, r.writable[m], r.table[m])
			}
		}
		for m := range a.written {
			if r.table[m] {
				w.Errorf("frame %#x is a page table, and a backend writes to it", m)
			}
		}
		for m := range a.pins {
			if r.writable[m] || a.written[m] > 0 {
				w.Errorf("frame %#x is pinned and can be written", m)
			}
		}
	}
}

// hole checks the hypervisor's entries of a root.
func (r *reach) hole(a *actor, root mm.MFN) {
	for i, e := range a.d.cfg.Hole {
		if got := r.w.Page(root).Load64(8 * (256 + i)); got&^0x60 != e {
			r.w.Errorf("the hypervisor's entry %d of %#x is %#x", i, root, got)
		}
	}
}

// remembered checks what the processor may do with a translation that it keeps: use it, and
// go on from each of its tables.
func (r *reach) remembered(a *actor, t translation) {
	for i := range t.n {
		if typ := r.w.types.Info(t.tables[i]).Type; typ != t.types[i] {
			r.w.Errorf("frame %#x became %v while the processor goes through it as %v", t.tables[i], typ, t.types[i])
		}
		r.visit(a, t.tables[i], 4-i, t.rights[i])
	}
	r.leaf(a, t.leaf, t.write, 0)
}

// visit looks at a table of guest a that is walked through at a level.
func (r *reach) visit(a *actor, m mm.MFN, level int, rw bool) {
	key := visit{a, m, level, rw}
	if r.seen[key] {
		return
	}
	r.seen[key] = true
	w := r.w
	f := w.f.Info(m)
	own := a.pae && level > 2 && f.Kind == mm.FrameTable && f.Owner == mm.DomIDXen
	if !own && (f.Owner != a.id || f.Kind != mm.FrameGuest) {
		w.Errorf("guest %d walks through frame %#x, %+v", a.id, m, f)
		return
	}
	r.table[m] = true
	p := w.Page(m)
	for _, i := range indexes(r.full) {
		e := entry(p.Load64(8 * i))
		switch {
		case !e.is(present):
		case e.frame() == w.secret && !e.is(user|writable): // the hypervisor's
		case e.is(large | global | pwt | pcd):
			w.Errorf("entry %d of table %#x, level %d, is %#x", i, m, level, e)
		case level > 1 && e.frame() == w.m2p && !e.is(writable): // the same for a 32-bit guest
		case level > 1:
			r.visit(a, e.frame(), level-1, rw && e.is(writable))
		default:
			r.leaf(a, e.frame(), rw && e.is(writable), uint64(m)<<12|uint64(i)<<3)
		}
	}
}

// leaf checks a page that guest a reaches by the entry at ptr, 0 for any.
func (r *reach) leaf(a *actor, m mm.MFN, write bool, ptr uint64) {
	w := r.w
	if write {
		r.writable[m] = true
	}
	switch f := w.f.Info(m); {
	case f.Owner == a.id && f.Kind == mm.FrameGuest:
		return
	case m == w.shared, m == w.m2p && !write:
		return
	}
	for at, g := range a.grants {
		if (at == ptr || ptr == 0) && g.m == m && (g.write || !write) {
			return
		}
	}
	w.Errorf("guest %d reaches frame %#x, %+v, write %v, by the entry at %#x", a.id, m, w.f.Info(m), write, ptr)
}

// some are the entries that guests use.
var some, all = func() (some, all []int) {
	for i := range 512 {
		all = append(all, i)
		if i < 30 {
			some = append(some, i)
		}
	}
	for _, i := range slots {
		if i >= 30 {
			some = append(some, i)
		}
	}
	return
}()

func indexes(full bool) []int {
	if full {
		return all
	}
	return some
}
