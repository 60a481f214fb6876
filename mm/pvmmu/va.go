package pvmmu

import "nidus/mm"

// mappable tells whether a guest may have page tables for va: it is canonical, and not in the
// hypervisor's part.
//
//go:nosplit
func (d *Domain) mappable(va mm.GuestVirt) bool {
	if d.pae {
		return va < 0xf5800000
	}
	high := va >> 47
	return high == 0 || high == 1<<17-1 && va>>39&0x1ff >= holeEnd
}

// entryAddr is the machine address of the L1 entry for va below a root: the vcpu's. What the
// tables lead to may change at the same time, and then it is an entry of any page.
func (d *Domain) entryAddr(root mm.MFN, va mm.GuestVirt) (m mm.MFN, i int, ok bool) {
	if !d.mappable(va) || root == 0 {
		return 0, 0, false
	}
	for level := d.top().level(); level > 1; level-- {
		e := load(d.mem.Table(root), int(va>>(12+9*(level-1))&0x1ff))
		if !e.is(present) || !d.own(e.frame()) {
			return 0, 0, false
		}
		root = e.frame()
	}
	return root, int(va >> 12 & 0x1ff), true
}

// UpdateVA changes the L1 entry for va in the kernel's tables (update_va_mapping). Flushing
// is up to the caller.
func (v *VCPU) UpdateVA(va mm.GuestVirt, val uint64) error {
	m, i, ok := v.d.entryAddr(v.kernel, va)
	if !ok {
		return ErrAddress
	}
	budget := v.d.budget
	return v.d.update(v, m, i, change{val: entry(val)}, &budget)
}

// Mapping is what the page tables say of an address, with the rights of all levels.
type Mapping struct {
	Frame mm.MFN
	// Write and User say whether it may be written, and whether a process may use it.
	Write, User bool
}

// Translate returns what is mapped at va, in the kernel's tables or the user's. It takes no
// reference: who uses the frame takes one, and with it makes sure that it is the domain's.
func (v *VCPU) Translate(kernel bool, va mm.GuestVirt) (Mapping, bool) {
	d, root := v.d, v.Root(kernel)
	if !d.mappable(va) || root == 0 {
		return Mapping{}, false
	}
	rights := writable | user
	for level := d.top().level(); ; level-- {
		e := load(d.mem.Table(root), int(va>>(12+9*(level-1))&0x1ff))
		if !e.is(present) {
			return Mapping{}, false
		}
		if level < 3 || !d.pae { // an L3 entry of a PAE table gives no rights
			rights &= e
		}
		root = e.frame()
		if level == 1 {
			return Mapping{root, rights.is(writable), rights.is(user)}, true
		}
		if !d.own(root) {
			return Mapping{}, false
		}
	}
}

// Emulate writes to a page table by the guest's own instruction, which faulted because no
// table is mapped writable: size bytes, 1 to 8 and aligned, at the machine address ptr. With
// exchange it is a compare and exchange with old. It returns what was there; ok is false if
// that was not old. With ErrAgain nothing has changed. Pending is for the caller, before the
// guest goes on.
func (v *VCPU) Emulate(ptr uint64, size int, val uint64, exchange bool, old uint64) (seen uint64, ok bool, err error) {
	if size != 1 && size != 2 && size != 4 && size != 8 || ptr&uint64(size-1) != 0 {
		return 0, false, ErrArgument
	}
	d := v.d
	m, i := mm.MFN(ptr>>mm.PageShift), int(ptr&mm.PageMask)>>3
	f := d.types.at(m)
	if f == nil || !d.own(m) {
		return 0, false, ErrFrame
	}
	if w := f.load(); w.count() == 0 || w.typ().level() == 0 {
		return 0, false, ErrType // the guest finds out by itself that it can write now
	}
	shift := ptr & 7 * 8
	mask := ^uint64(0) >> (64 - 8*size) << shift
	budget := d.budget
	for {
		cur := uint64(load(d.mem.Table(m), i))
		if exchange && cur&mask != old<<shift&mask {
			return cur & mask >> shift, false, nil
		}
		c := change{val: entry(cur&^mask | val<<shift&mask), exchange: exchange || size < 8, old: entry(cur)}
		was, err := d.exchange(v, m, i, c, &budget)
		switch err {
		case nil:
			return uint64(was) & mask >> shift, true, nil
		case errDiffers: // the processor or another vcpu was there first
		default:
			return 0, false, err
		}
	}
}

// TableLevel is the level of a frame of the domain's as a page table now, 0 if it is none.
func (d *Domain) TableLevel(m mm.MFN) int {
	f := d.types.at(m)
	if f == nil || !d.own(m) {
		return 0
	}
	if w := f.load(); w.count() > 0 {
		return w.typ().level()
	}
	return 0
}
