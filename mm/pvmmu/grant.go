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
	_, err := v.d.replaceForeign(ptr, 0)
	return err
}

// ReplaceForeign moves the L1 entry for an address in the kernel's tables to the machine
// address ptr, over one that maps another domain's frame, or m if that is the domain's own:
// ErrState if there is none. No CPU knows either entry's old mapping on return. What is moved
// maps the domain's own memory, or nothing.
func (v *VCPU) ReplaceForeign(ptr uint64, m mm.MFN, from mm.GuestVirt) error {
	d := v.d
	table, i, ok := d.entryAddr(v.kernel, from)
	if !ok {
		return ErrAddress
	}
	source := uint64(table)<<mm.PageShift | uint64(i)<<3
	if source == ptr {
		return ErrArgument
	}
	val, err := d.readL1(source)
	if err != nil {
		return err
	}
	if m == mm.InvalidMFN {
		var found bool
		if found, err = d.replaceForeign(ptr, val); err == nil && !found {
			err = ErrState
		}
	} else {
		err = v.UnmapForeign(ptr, uint64(val), m)
	}
	if err != nil {
		return err
	}
	// The processor may set accessed and dirty meanwhile. Any other entry there is what the
	// guest made of it, and stays.
	for moved := val; ; {
		if err := v.foreignEntry(source, change{exchange: true, old: val}); err != errDiffers {
			break
		}
		if val, err = d.readL1(source); err != nil || val.refs() != moved.refs() {
			break
		}
	}
	d.FlushAll()
	return nil
}

// readL1 is the L1 entry at the machine address ptr.
func (d *Domain) readL1(ptr uint64) (entry, error) {
	m := mm.MFN(ptr >> mm.PageShift)
	f := d.types.at(m)
	if f == nil || !f.borrow(L1) {
		return 0, ErrType
	}
	defer d.giveBack(f, m)
	if !d.own(m) {
		return 0, ErrFrame
	}
	return load(d.mem.Table(m), int(ptr&mm.PageMask)>>3), nil
}

// replaceForeign makes the L1 entry at ptr val, if it maps another domain's frame: found.
func (d *Domain) replaceForeign(ptr uint64, val entry) (found bool, err error) {
	m, i := mm.MFN(ptr>>mm.PageShift), int(ptr&mm.PageMask)>>3
	f := d.types.at(m)
	if f == nil || ptr&7 != 0 {
		return false, ErrArgument
	}
	for {
		if !f.borrow(L1) {
			// What is being unmade is so first.
			for d.settled() != nil {
				wait()
			}
			if w := f.load(); w.typ() != L1 || !w.is(validated) || !d.own(m) {
				return false, nil
			}
			continue
		}
		found, err = false, nil
		if d.own(m) {
			if e := load(d.mem.Table(m), i); e.is(present) && !d.own(e.frame()) {
				found = true
				_, err = d.updateL1(m, i, change{val: val, exchange: true, old: e})
			}
		}
		d.giveBack(f, m)
		if err != errDiffers {
			return found, err
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
