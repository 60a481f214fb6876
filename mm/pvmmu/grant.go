package pvmmu

import "nidus/mm"

// MapForeign makes the L1 entry at the machine address ptr one that maps owner's frame, which
// the caller holds (GNTTABOP_map_grant_ref of a PV guest). The entry has references of its
// own. The guest can change the entry afterwards like any other: it loses them then.
func (v *VCPU) MapForeign(ptr, val uint64, owner mm.DomID) error {
	if !entry(val).is(present) {
		return ErrArgument
	}
	return v.foreignEntry(ptr, change{val: entry(val), foreign: foreign{owner, true}})
}

// UnmapForeign makes the L1 entry at ptr val, if it maps the frame m: ErrState otherwise. The
// domain's CPUs have forgotten it on return. val maps nothing, or another frame.
func (v *VCPU) UnmapForeign(ptr, val uint64, m mm.MFN) error {
	if e := entry(val); e.is(present) && e.frame() == m {
		return ErrArgument // it would stay
	}
	for {
		i := int(ptr&mm.PageMask) >> 3
		f := v.d.types.at(mm.MFN(ptr >> mm.PageShift))
		if f == nil || !v.d.own(mm.MFN(ptr>>mm.PageShift)) {
			return ErrFrame
		}
		old := load(v.d.mem.Table(mm.MFN(ptr>>mm.PageShift)), i)
		if !old.is(present) || old.frame() != m {
			return ErrState
		}
		err := v.foreignEntry(ptr, change{val: entry(val), exchange: true, old: old})
		if err != errDiffers {
			return err
		}
	}
}

// DropForeign makes the L1 entry at ptr one that is not present, if it maps another domain's
// frame. On return it maps none, also if the guest has put something else there or has
// unmade the table, and the domain's CPUs have forgotten it.
func (v *VCPU) DropForeign(ptr uint64) error {
	d := v.d
	m, i := mm.MFN(ptr>>mm.PageShift), int(ptr&mm.PageMask)>>3
	f := d.types.at(m)
	if f == nil || ptr&7 != 0 {
		return ErrArgument
	}
	for {
		if !f.borrow(L1) {
			// What is being unmade is so first.
			for d.settled() != nil {
				wait()
			}
			if w := f.load(); w.typ() != L1 || !w.is(validated) || !d.own(m) {
				return nil
			}
			continue
		}
		var err error
		if d.own(m) {
			if e := load(d.mem.Table(m), i); e.is(present) && !d.own(e.frame()) {
				_, err = d.updateL1(m, i, change{exchange: true, old: e})
			}
		}
		d.giveBack(f, m)
		if err != errDiffers {
			return err
		}
	}
}

// settled goes on with the domain's task, whoever it is for.
func (d *Domain) settled() error {
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finish(&budget)
}

// foreignEntry is an update of an L1 entry, and of nothing else.
func (v *VCPU) foreignEntry(ptr uint64, c change) error {
	d := v.d
	m := mm.MFN(ptr >> mm.PageShift)
	f := d.types.at(m)
	if ptr&7 != 0 || f == nil {
		return ErrArgument
	}
	if !f.borrow(L1) {
		return ErrType
	}
	err := error(ErrFrame)
	if d.own(m) {
		_, err = d.updateL1(m, int(ptr&mm.PageMask)>>3, c)
	}
	d.giveBack(f, m)
	return err
}

// EntryAddress is the machine address of the L1 entry for va in the kernel's tables.
func (v *VCPU) EntryAddress(va mm.GuestVirt) (ptr uint64, ok bool) {
	m, i, ok := v.d.entryAddr(v.kernel, va)
	return uint64(m)<<mm.PageShift | uint64(i)<<3, ok
}
