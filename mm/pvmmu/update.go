package pvmmu

import "nidus/mm"

// UpdateKind is what mmu_update does with an entry (xen.h, MMU_*), the low bits of its ptr.
type UpdateKind uint8

// The kinds.
const (
	Normal      UpdateKind = iota // *ptr = val
	MachPhys                      // note val for the frame at ptr in the machine-to-physical table
	PreserveAD                    // *ptr = val, and what is accessed and dirty stays so
	NoTranslate                   // as Normal: val is a machine address for a PV guest anyway
)

// Update is one mmu_update: ptr is the machine address of an entry, with the kind in its low
// bits.
func (v *VCPU) Update(ptr, val uint64) error {
	kind := UpdateKind(ptr & 3)
	m := mm.MFN(ptr >> mm.PageShift)
	if kind == MachPhys {
		return v.d.noteM2P(m, val)
	}
	if ptr&4 != 0 {
		return ErrUnsupported
	}
	budget := v.d.budget
	return v.d.update(v, m, int(ptr&mm.PageMask)>>3, change{val: entry(val), keep: kind == PreserveAD}, &budget)
}

// noteM2P writes a frame's place in the domain into the machine-to-physical table.
func (d *Domain) noteM2P(m mm.MFN, pfn uint64) error {
	if d.cfg.M2P == nil {
		return ErrUnsupported
	}
	if err := d.ref(m, d.id); err != nil {
		return err
	}
	d.cfg.M2P(m, pfn)
	d.unref(m)
	return nil
}

// change is what becomes of an entry.
type change struct {
	val  entry
	keep bool // accessed and dirty are kept
	// only if it is old: a compare and exchange; seen is what was there.
	exchange bool
	old      entry
	seen     entry
	foreign  foreign
}

// errDiffers says that a compare and exchange found another value.
var errDiffers = errorString("the entry has another value")

type errorString string

func (e errorString) Error() string { return string(e) }

// update changes an entry of a page table, or a word of a page that is none.
func (d *Domain) update(v *VCPU, m mm.MFN, i int, c change, budget *int) error {
	_, err := d.exchange(v, m, i, c, budget)
	return err
}

// exchange is update that returns what was there.
func (d *Domain) exchange(v *VCPU, m mm.MFN, i int, c change, budget *int) (seen entry, err error) {
	f := d.types.at(m)
	if f == nil {
		return 0, ErrFrame
	}
	for range 4 {
		// The frame is an L1 table in nearly all cases.
		if f.borrow(L1) {
			if d.own(m) {
				seen, err = d.updateL1(m, i, c)
			} else {
				err = ErrFrame
			}
			d.giveBack(f, m)
			return seen, err
		}
		switch w := f.load(); {
		case w.count() == 0 || w.typ() == Writable:
			return d.updatePlain(m, i, c)
		case w.typ().level() > 1:
			return d.updateUpper(v, m, i, c, budget)
		case w.typ() != L1 || !d.own(m):
			return 0, ErrType // descriptors have an operation of their own
		}
		// The L1 table is being validated or unmade.
		d.mu.Lock()
		err = d.finish(budget)
		d.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return 0, ErrAgain
}

// borrow takes a reference to a table of this type that is ready, for a moment. It keeps its
// type and entries, but there is none to the frame.
//
//go:nosplit
func (f *FrameType) borrow(typ Type) bool {
	for {
		w := f.load()
		if w.typ() != typ || !w.is(validated) || w.count() == 0 || w.count() >= maxCount {
			return false
		}
		if f.cas(w, w+1) {
			return true
		}
	}
}

// giveBack ends borrow. If all other references went meanwhile, the table is unmade.
func (d *Domain) giveBack(f *FrameType, m mm.MFN) {
	for {
		w := f.load()
		if w.count() == 1 {
			d.mu.Lock()
			if f.cas(w, w&^validated) {
				s := step{m: m, typ: L1}
				t := d.mem.Table(m)
				for i := range tableSize {
					if e := load(t, i); e.is(present) {
						d.dropL1(&s, e)
					}
				}
				d.unmade(m, L1)
				d.mu.Unlock()
				return
			}
			d.mu.Unlock()
		} else if f.cas(w, w-1) {
			return
		}
	}
}

// next is what an entry that is old becomes.
func (c *change) next(old entry) (entry, error) {
	if c.exchange && old != c.old {
		return 0, errDiffers
	}
	n := c.val
	if c.keep && n.is(present) {
		n |= old & dirtied
	}
	return n, nil
}

// updateL1 changes an entry of an L1 table that the caller has a reference to. It takes no
// lock: the entry is exchanged for the one that the references were counted for.
func (d *Domain) updateL1(m mm.MFN, i int, c change) (seen entry, err error) {
	t := d.mem.Table(m)
	var held entry // the references that are taken for the new entry
	for {
		old := load(t, i)
		n, err := c.next(old)
		if err == nil {
			n, err = d.adjustL1(n)
		}
		if err != nil {
			d.unhold(held)
			return old, err
		}
		same := old.is(present) && n.is(present) && old.refs() == n.refs()
		if !same && n.is(present) && held == 0 {
			if err := d.getPage(n, c.foreign); err != nil {
				return old, err
			}
			held = n
		}
		if !swap(t, i, old, n) {
			continue
		}
		switch {
		case same:
			d.unhold(held)
		case old.is(present):
			d.putPage(old)
		}
		return old, nil
	}
}

// unhold gives back references that were taken for an entry that was not written.
func (d *Domain) unhold(e entry) {
	if !e.is(present) {
		return
	}
	if e.is(writable) {
		d.types.PutWritable(e.frame())
	}
	d.unref(e.frame())
}

// updatePlain writes to a page that is no page table.
func (d *Domain) updatePlain(m mm.MFN, i int, c change) (seen entry, err error) {
	if err := d.ref(m, d.id); err != nil {
		return 0, err
	}
	defer d.unref(m)
	if err := d.types.getWritable(m, d.id); err != nil {
		return 0, err
	}
	defer d.types.PutWritable(m)
	p := d.mem.Page(m)
	for {
		old := entry(p.Load64(8 * i))
		n, err := c.next(old)
		if err != nil {
			return old, err
		}
		if p.CompareAndSwap64(8*i, uint64(old), uint64(n)) {
			return old, nil
		}
	}
}
