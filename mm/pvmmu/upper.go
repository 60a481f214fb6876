package pvmmu

import "nidus/mm"

// updateUpper changes an entry of a table of level 2 to 4.
func (d *Domain) updateUpper(v *VCPU, m mm.MFN, i int, c change, budget *int) (seen entry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finish(budget); err != nil {
		return 0, err
	}
	f := d.types.at(m)
	w := f.load()
	typ := w.typ()
	if !w.table() || typ.level() < 2 || w.count() == 0 || !d.own(m) {
		return 0, ErrType // it changed since the caller looked
	}
	if from, to := typ.hole(); i >= from && i < to || i >= d.entries(typ) {
		return 0, ErrSlot
	}
	t := d.mem.Table(m)
	old := load(t, i)
	n, err := c.next(old)
	if err != nil {
		return old, err
	}
	if n, err = d.adjustUpper(typ, n); err != nil {
		return old, err
	}
	same := old.is(present) && n.is(present) && old.frame() == n.frame()
	switch {
	case same && n.is(writable) && d.linear(typ, n.frame()):
		return old, ErrLinear
	case !same && n.is(present):
		if err := d.getTable(v, m, i, typ, n, budget); err != nil {
			return old, err
		}
	}
	// Only the processor changes the entry meanwhile, and only what it dirties.
	for !swap(t, i, old, n) {
		if old = load(t, i); c.keep && n.is(present) {
			n |= old & dirtied
		}
	}
	d.entryChanged(m, typ)
	if !same && old.is(present) {
		d.putTable(m, typ, old, budget)
	}
	return old, nil
}

// getTable takes the references of an entry of a table that is in use.
func (d *Domain) getTable(v *VCPU, m mm.MFN, i int, typ Type, e entry, budget *int) error {
	if d.linear(typ, e.frame()) {
		return d.getLinear(m, e)
	}
	return d.acquire(v, e.frame(), d.below(typ, i), budget)
}

// putTable gives back the references of an entry that is no longer in a table.
func (d *Domain) putTable(m mm.MFN, typ Type, e entry, budget *int) {
	to := e.frame()
	if to == m {
		return
	}
	if d.linear(typ, to) {
		d.putLinear(m, to)
	}
	d.release(to, budget)
}

// below is the type of the tables that entry i of a table of this type refers to.
func (d *Domain) below(typ Type, i int) Type {
	switch {
	case typ == L2Hole:
		return L1
	case d.pae && typ == L3 && i == paeEntries-1:
		return L2Hole
	}
	return typ - 1
}
