package pvmmu

import "nidus/mm"

// counts is what a recount finds of a frame.
type counts struct {
	typ    Type
	count  uint32
	refs   uint32
	linear int16
	known  bool // as a table whose entries are counted
}

// recount fails the test unless the counts of all frames are what their tables, pins, roots
// and other uses say, if no work is left over.
func (w *world) recount() {
	w.Helper()
	for _, a := range w.guests {
		if a.d.task.depth > 0 {
			return
		}
		for _, c := range a.vcpus {
			if c.v.parked.ok {
				return
			}
		}
	}
	n := make([]counts, int(base)+len(w.pages))
	for i := range n {
		if f := w.f.Info(mm.MFN(i)); f.Kind != mm.FrameNone {
			n[i].refs = 1
		}
	}
	for _, a := range w.guests {
		for m, level := range a.pins {
			a.table(n, m, Type(level))
		}
		for _, c := range a.vcpus {
			if !a.pae && (c.kernel != c.v.kernel || c.user != c.v.user) {
				w.Errorf("the processor has other roots than it should")
			}
			for _, root := range []mm.MFN{c.v.kernel, c.v.user} {
				if root != 0 {
					a.table(n, root, a.d.top())
				}
			}
		}
		for m, k := range a.descriptors {
			n[m].typ = Descriptors
			n[m].count += uint32(k)
			n[m].refs += uint32(k)
		}
		for m, k := range a.written {
			n[m].typ = Writable
			n[m].count += uint32(k)
			n[m].refs += uint32(k)
		}
	}
	for i, c := range n {
		m := mm.MFN(i)
		t, f := w.types.Info(m), w.f.Info(m)
		if t.Count != c.count || f.Refs != c.refs || t.Linear != c.linear || c.count > 0 && t.Type != c.typ || t.Validated != (c.count > 0 && c.typ != Writable) {
			w.Errorf("frame %#x is %+v with %d references, a recount finds %+v", m, t, f.Refs, c)
		}
	}
}

// table counts a reference to a table, and at the first all that it refers to.
func (a *actor) table(n []counts, m mm.MFN, typ Type) {
	c := &n[m]
	c.count++
	c.refs++
	if c.known {
		if c.typ != typ {
			a.w.Errorf("frame %#x is %v and %v", m, c.typ, typ)
		}
		return
	}
	c.known, c.typ = true, typ
	for i := range a.d.entries(typ) {
		if from, to := typ.hole(); i >= from && i < to {
			continue
		}
		e := entry(a.w.Page(m).Load64(8 * i))
		if !e.is(present) {
			continue
		}
		to := e.frame()
		t := a.w.types.Info(to).Type
		switch {
		case typ == L1:
			n[to].refs++
			if e.is(writable) {
				n[to].typ = Writable
				n[to].count++
			}
		case to == m && typ.level() > 1:
		case t.level() == typ.level():
			n[to].linear--
			n[m].linear++
			a.table(n, to, t)
		default:
			a.table(n, to, a.d.below(typ, i))
		}
	}
}
