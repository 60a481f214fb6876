package pvmmu

import "nidus/mm"

// A linear page table is an entry of level 2 to 4 that refers to a table of its own level,
// so that the guest reads its tables at virtual addresses. The table is walked as if it were
// one level lower, and maps tables as if they were pages: that is safe as long as it can't
// be written through, and as long as a chain of them comes to an end, because a table that
// only refers to itself in a circle would never be given back.
//
// An entry may refer to its own table, for which nothing is counted, or to another one that
// is validated. That one has no such entries itself, and a table with such entries is
// nobody's linear page table.

// linear tells whether an entry of a table of this type that refers to m is, or would be, a
// linear page table.
func (d *Domain) linear(typ Type, m mm.MFN) bool {
	f := d.types.at(m)
	if f == nil || typ.level() < 2 || d.pae && typ.level() > 2 {
		return false
	}
	w := f.load()
	return w.count() > 0 && w.typ().level() == typ.level()
}

// getLinear takes the references of an entry of table m that is a linear page table.
func (d *Domain) getLinear(m mm.MFN, e entry) error {
	to := e.frame()
	switch {
	case e.is(writable):
		return ErrLinear
	case to == m:
		return nil
	}
	if err := d.ref(to, d.id); err != nil {
		return err
	}
	if !d.types.at(m).addLinear(1) {
		d.unref(to)
		return ErrLinear
	}
	f := d.types.at(to)
	for {
		w := f.load()
		if !w.table() || w.count() >= maxCount || w.linear() > 0 || w.linear() <= -maxLinear {
			d.types.at(m).addLinear(-1)
			d.unref(to)
			return ErrLinear
		}
		if f.cas(w, w-linearUnit+1) {
			return nil
		}
	}
}

// putLinear ends the counts of a linear page table that m had in another table; the
// references are still to be given back.
func (d *Domain) putLinear(m, to mm.MFN) {
	f := d.types.at(to)
	for {
		w := f.load()
		if w.linear() >= 0 || w.count() == 0 {
			panic("pvmmu: a linear page table was not counted")
		}
		if f.cas(w, w+linearUnit) {
			break
		}
	}
	if !d.types.at(m).addLinear(-1) {
		panic("pvmmu: an entry that is a linear page table was not counted")
	}
}

// addLinear changes by 1 or -1 how many entries of the table refer to tables of its level. A
// table that is one itself may have none.
func (f *FrameType) addLinear(n int) bool {
	for {
		w := f.load()
		c := int(w.linear()) + n
		if w.linear() < 0 || c < 0 || c > maxLinear {
			return false
		}
		if f.cas(w, w&^linearBits|word(c)<<linearShift) {
			return true
		}
	}
}
