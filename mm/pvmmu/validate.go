package pvmmu

import "nidus/mm"

// hole is which entries of a table of this type are the hypervisor's, if there are any.
func (typ Type) hole() (from, to int) {
	switch typ {
	case L4:
		return holeStart, holeEnd
	case L2Hole:
		return holeL2Start, tableSize
	}
	return tableSize, tableSize
}

// entries is how many entries a table of this type has.
func (d *Domain) entries(typ Type) int {
	if d.pae && typ == L3 {
		return paeEntries
	}
	return tableSize
}

// validate goes on with a table that is to be validated.
func (d *Domain) validate(s *step, budget *int) {
	t := d.mem.Table(s.m)
	from, to := s.typ.hole()
	n := d.entries(s.typ)
	for s.next < n {
		stop := n
		if s.next <= from {
			stop = min(from, n)
		}
		k := emptyFrom(t, s.next, min(stop-s.next, max(*budget, 0)))
		if d.leaksAny(t, s.next, k) {
			d.task.err = ErrLeak
			s.undo = true
			return
		}
		s.next, *budget = s.next+k, *budget-k
		if s.next == n {
			break
		}
		if *budget <= 0 {
			return
		}
		*budget--
		if s.next == from {
			s.next = to
			continue
		}
		e := load(t, s.next)
		if !e.is(present) {
			s.next++
			continue
		}
		adjusted, child, err := d.admit(s, e)
		switch {
		case err != nil:
			d.task.err = err
			s.undo = true
			return
		case child != None:
			// The entry is written when the child is done.
			d.task.push(step{m: e.frame(), typ: child})
			return
		}
		if adjusted != e {
			store(t, s.next, adjusted)
		}
		s.next++
	}
	if s.typ == L4 || s.typ == L2Hole {
		d.fillHole(t, s.typ)
	}
	f := d.types.at(s.m)
	for w := f.load(); !f.cas(w, w|validated); w = f.load() {
	}
	d.up(false)
}

// emptyFrom is how many of the n entries from i on are not present, up to the first that is;
// emptyBefore is the same of the n before i, backwards. Most entries of most tables are, and a
// process has a dozen tables: hence eight at once.
func emptyFrom(t *mm.Table, i, n int) int {
	k := 0
	for ; n-k >= 8; k += 8 {
		if !empty8(t[i+k:]) {
			break
		}
	}
	for k < n && !load(t, i+k).is(present) {
		k++
	}
	return k
}

func emptyBefore(t *mm.Table, i, n int) int {
	k := 0
	for ; n-k >= 8; k += 8 {
		if !empty8(t[i-k-8:]) {
			break
		}
	}
	for k < n && !load(t, i-k-1).is(present) {
		k++
	}
	return k
}

// empty8 tells whether the first eight entries are not present.
func empty8(e []uint64) bool {
	e = e[:8]
	return !entry(e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]).is(present)
}

// admit takes the references of an entry. If a table is to be validated for it, child is its
// type.
func (d *Domain) admit(s *step, e entry) (adjusted entry, child Type, err error) {
	if s.typ == L1 {
		if adjusted, err = d.adjustL1(e); err == nil {
			err = d.getPage(adjusted, foreign{})
		}
		return adjusted, None, err
	}
	if adjusted, err = d.adjustUpper(s.typ, e); err != nil {
		return 0, None, err
	}
	if d.linear(s.typ, e.frame()) {
		return adjusted, None, d.getLinear(s.m, adjusted)
	}
	typ := d.below(s.typ, s.next)
	started, err := d.reference(e.frame(), typ)
	if err != nil || !started {
		return adjusted, None, err
	}
	return adjusted, typ, nil
}

// fillHole writes the hypervisor's entries into a table that no CPU uses yet.
func (d *Domain) fillHole(t *mm.Table, typ Type) {
	hole := d.cfg.Hole[:]
	if typ == L2Hole {
		hole = d.cfg.HoleL2[:]
	}
	from, _ := typ.hole()
	for i, e := range hole {
		store(t, from+i, entry(e))
	}
}

// up goes back to the table above, which refers to the one that is done now; gone says that
// it is no table any more.
func (d *Domain) up(gone bool) {
	t := &d.task
	done := t.way[t.depth-1]
	t.depth--
	switch {
	case t.depth == 0 && t.by != nil:
		d.complete()
	case t.depth == 0:
	case gone:
		// The table above is being unmade, or can't be valid.
		t.way[t.depth-1].undo = true
	default:
		s := &t.way[t.depth-1]
		tab := d.mem.Table(s.m)
		e, err := d.adjustUpper(s.typ, load(tab, s.next))
		if err != nil || e.frame() != done.m {
			panic("pvmmu: a page table changed while it was validated")
		}
		store(tab, s.next, e)
		s.next++
	}
}

// undo goes on with a table that is to be unmade.
func (d *Domain) undo(s *step, budget *int) {
	t := d.mem.Table(s.m)
	from, to := s.typ.hole()
	s.next = min(s.next, d.entries(s.typ))
	for s.next > 0 {
		start := 0
		if s.next >= to {
			start = to
		}
		k := emptyBefore(t, s.next, min(s.next-start, max(*budget, 0)))
		s.next, *budget = s.next-k, *budget-k
		if s.next == 0 {
			break
		}
		if *budget <= 0 {
			return
		}
		*budget--
		if s.next == to {
			if s.next = from; from == to {
				s.next-- // there is no hole
			} else {
				continue
			}
		} else {
			s.next--
		}
		e := load(t, s.next)
		switch {
		case !e.is(present):
		case s.typ == L1:
			d.dropL1(s, e)
		case e.frame() == s.m:
		default:
			if d.linear(s.typ, e.frame()) {
				d.putLinear(s.m, e.frame())
			}
			if d.unshare(e.frame()) {
				d.task.push(step{m: e.frame(), typ: d.types.Info(e.frame()).Type, next: tableSize, undo: true})
				return
			}
		}
	}
	d.unmade(s.m, s.typ)
	d.unref(s.m)
	d.up(true)
}

// unmade makes a table none of whose entries holds references one without a reference. The
// frame's own is still to be given back.
func (d *Domain) unmade(m mm.MFN, typ Type) {
	from, to := typ.hole()
	for i := from; i < to; i++ {
		store(d.mem.Table(m), i, 0)
	}
	f := d.types.at(m)
	d.types.touch(f)
	if w := f.load(); w.count() != 1 || w.is(validated) || w.linear() != 0 {
		panic("pvmmu: a page table is in use while it is unmade")
	}
	f.store(word(typ) << typeShift)
}

// dropL1 gives back the references of an entry of an L1 table that is being unmade. Nothing
// refers to the table any more: one flush is enough for all its entries.
func (d *Domain) dropL1(s *step, e entry) {
	if !s.flushed && !d.own(e.frame()) {
		d.FlushAll()
		s.flushed = true
	}
	d.drop(e)
}
