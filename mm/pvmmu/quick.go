package pvmmu

import "nidus/mm"

// Most entries that a guest changes are of L1 tables which are ready, and map RAM of its own.
// What is then to be done are a few atomic steps, here for callers that can do nothing else: they
// have no goroutine's stack, and can't wait, lock, allocate or flush. The steps and their order
// are those of exchange and updateL1; whatever else there is to do is theirs.

// owed is what Quick has left for Settle: references that turned out to be the last ones. It has
// no pointers, whose writing the collector wants to know of.
type owed struct {
	borrowed bool
	table    mm.MFN // borrowed still
	frames   [2]mm.MFN
	n        int
}

// Quick changes entry i of the L1 table t in frame m as Update does, with what is accessed and
// dirty kept or not, and tells whether it did. If not, nothing has changed, and it is for Update.
// Translations are left to the caller, as with Update. The vcpu's own thread calls it; afterwards,
// where it can wait, Settle, if Owes.
//
//go:nosplit
func (v *VCPU) Quick(t *mm.Table, m mm.MFN, i int, val uint64, keep bool) bool {
	d := v.d
	f := d.types.at(m)
	n, err := d.adjustL1(entry(val))
	if f == nil || d.pae || v.Owes() || err != nil || !f.borrow(L1) {
		return false
	}
	done := d.own(m) && v.quickL1(t, i, n, keep)
	for {
		w := f.load()
		if w.count() == 1 { // all others went meanwhile: it has to be unmade
			v.owed.borrowed, v.owed.table = true, m
			return done
		}
		if f.cas(w, w-1) {
			return done
		}
	}
}

// quickL1 is updateL1 for an entry that is adjusted. It tries once.
//
//go:nosplit
func (v *VCPU) quickL1(t *mm.Table, i int, n entry, keep bool) bool {
	i &= tableSize - 1 // so no bounds are checked, which would need more stack
	d, old := v.d, load(t, i)
	if keep && n.is(present) {
		n |= old & dirtied
	}
	if old.is(present) && !d.own(old.frame()) {
		return false // its owner doesn't wait for this domain's flushes
	}
	if old.is(present) && n.is(present) && old.refs() == n.refs() {
		return swap(t, i, old, n)
	}
	if n.is(present) && !v.quickGet(n) {
		return false
	}
	done := swap(t, i, old, n)
	if !done {
		old = n
	} else if old.is(present) {
		d.types.touch(d.types.at(old.frame()))
	}
	if old.is(present) {
		v.quickPut(old)
	}
	return done
}

// quickGet is getPage of RAM of the domain's.
//
//go:nosplit
func (v *VCPU) quickGet(e entry) bool {
	d, m := v.d, e.frame()
	f := d.types.at(m)
	if f == nil || !d.own(m) || d.frames.Ref(m, d.id) != mm.FrameOK {
		return false
	}
	if d.own(m) && (!e.is(writable) || f.quickWritable()) {
		return true
	}
	v.quickUnref(m)
	return false
}

// quickWritable takes a writable reference where no other type has to be flushed for that.
//
//go:nosplit
func (f *FrameType) quickWritable() bool {
	w := f.load()
	switch {
	case w.is(changing):
		return false
	case w.count() == 0:
		return (w.typ() == None || w.typ() == Writable) && f.cas(w, word(Writable)<<typeShift|wordWithOne)
	}
	return w.typ() == Writable && w.count() < maxCount && f.cas(w, w+1)
}

// quickPut gives back what an entry had.
//
//go:nosplit
func (v *VCPU) quickPut(e entry) {
	if e.is(writable) {
		v.d.types.PutWritable(e.frame())
	}
	v.quickUnref(e.frame())
}

//go:nosplit
func (v *VCPU) quickUnref(m mm.MFN) {
	last, s := v.d.frames.Unref(m)
	if s != mm.FrameOK {
		panic("pvmmu: a frame lost its references")
	}
	if last {
		v.owed.frames[v.owed.n&1] = m
		v.owed.n++
	}
}

// Owes tells whether Settle has something to do.
//
//go:nosplit
func (v *VCPU) Owes() bool { return v.owed.borrowed || v.owed.n != 0 }

// Settle does what Quick could not. The vcpu's own goroutine calls it.
func (v *VCPU) Settle() {
	o := v.owed
	v.owed = owed{}
	for _, m := range o.frames[:o.n] {
		v.d.mem.FreeFrames(m, 0)
	}
	if o.borrowed {
		v.d.giveBack(v.d.types.at(o.table), o.table)
	}
}

// Owns tells whether a frame is RAM of the domain's: one that the caller may read a table from.
//
//go:nosplit
func (v *VCPU) Owns(m mm.MFN) bool { return v.d.own(m) }

// Mappable tells whether a guest may have page tables for an address.
//
//go:nosplit
func (v *VCPU) Mappable(va mm.GuestVirt) bool { return v.d.mappable(va) }

// Alone tells whether the domain has no other vcpu.
//
//go:nosplit
func (v *VCPU) Alone() bool { return len(v.d.vcpus) == 1 }
