package pvmmu

import "nidus/mm"

// Pin makes a frame a page table of a level, until Unpin (MMUEXT_PIN_L1_TABLE and on).
func (v *VCPU) Pin(m mm.MFN, level int) error {
	d := v.d
	if level < 1 || level > d.top().level() {
		return ErrArgument
	}
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finish(&budget); err != nil {
		return err
	}
	if err := d.acquire(v, m, Type(level), &budget); err != nil {
		return err
	}
	f := d.types.at(m)
	for {
		w := f.load()
		if w.is(pinned) {
			d.release(m, &budget)
			return ErrState
		}
		if f.cas(w, w|pinned) {
			return nil
		}
	}
}

// Unpin ends Pin (MMUEXT_UNPIN_TABLE). It may leave work for Pending.
func (v *VCPU) Unpin(m mm.MFN) error {
	d := v.d
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finish(&budget); err != nil {
		return err
	}
	f := d.types.at(m)
	if f == nil || !d.own(m) {
		return ErrFrame
	}
	if !f.unpin() {
		return ErrState
	}
	d.release(m, &budget)
	return nil
}

// unpin takes the pin away, if there is one.
func (f *FrameType) unpin() bool {
	for {
		w := f.load()
		if !w.is(pinned) {
			return false
		}
		if f.cas(w, w&^pinned) {
			return true
		}
	}
}

// SetRoot makes a frame the vcpu's top page table, of its kernel or its user mode, where 0
// is none (MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR). It may leave work for Pending.
func (v *VCPU) SetRoot(kernel bool, m mm.MFN) error {
	d := v.d
	if !kernel && d.pae {
		return ErrUnsupported
	}
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finish(&budget); err != nil {
		return err
	}
	old := &v.user
	if kernel {
		old = &v.kernel
	}
	if *old == m && (m != 0 || !kernel) {
		d.load(v, kernel, m) // which flushes
		return nil
	}
	if kernel || m != 0 {
		if err := d.acquire(v, m, d.top(), &budget); err != nil {
			return err
		}
	}
	if err := d.makeRoot(v); err != nil {
		d.release(m, &budget)
		return err
	}
	was := *old
	*old = m
	d.load(v, kernel, m)
	if was != 0 {
		d.release(was, &budget)
	}
	return nil
}

// load lets the vcpu use its root.
func (d *Domain) load(v *VCPU, kernel bool, m mm.MFN) {
	if d.pae && m != 0 {
		d.copyL3(v, m)
		m = v.pae.l4
	}
	v.cpu.SetRoot(kernel, m)
}

// Pending goes on with what an operation left to be done. The hypercall must not come to its
// end before it returns nil: the guest would find frames in use that it gave back. Until
// then it returns ErrAgain.
func (d *Domain) Pending() error {
	if !d.left.Load() {
		return nil
	}
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finish(&budget)
}

// FlushLocal is MMUEXT_TLB_FLUSH_LOCAL.
func (v *VCPU) FlushLocal() { v.d.flushSet(v.set()) }

// FlushSet is MMUEXT_TLB_FLUSH_MULTI.
func (v *VCPU) FlushSet(s CPUSet) { v.d.flushSet(s) }

// FlushAll is MMUEXT_TLB_FLUSH_ALL.
func (v *VCPU) FlushAll() { v.d.FlushAll() }

// FlushPage is MMUEXT_INVLPG_MULTI; with LocalSet or AllSet it is INVLPG_LOCAL or
// INVLPG_ALL. An address of the hypervisor's is nothing that the guest can have in a TLB.
func (v *VCPU) FlushPage(s CPUSet, va mm.GuestVirt) {
	if v.d.mappable(va) {
		v.d.cfg.Flusher.FlushPage(s, va)
	}
}

// LocalSet is the set of this vcpu.
func (v *VCPU) LocalSet() CPUSet { return v.set() }

// AllSet is the set of all vcpus.
func (v *VCPU) AllSet() CPUSet {
	var s CPUSet
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}

// maxLDT is how many descriptors an LDT has at most.
const maxLDT = 8192

// SetLDT is MMUEXT_SET_LDT.
func (v *VCPU) SetLDT(base mm.GuestVirt, n uint32) error {
	if n > maxLDT || base&mm.PageMask != 0 || n > 0 && !v.d.mappable(base) {
		return ErrArgument
	}
	return v.cpu.SetLDT(base, n)
}

// ClearPage is MMUEXT_CLEAR_PAGE.
func (v *VCPU) ClearPage(m mm.MFN) error {
	d := v.d
	if err := d.hold(m, true); err != nil {
		return err
	}
	d.mem.Page(m).Clear()
	d.types.PutWritable(m)
	d.unref(m)
	return nil
}

// CopyPage is MMUEXT_COPY_PAGE.
func (v *VCPU) CopyPage(to, from mm.MFN) error {
	d := v.d
	if err := d.hold(from, false); err != nil {
		return err
	}
	defer d.unref(from)
	if err := d.hold(to, true); err != nil {
		return err
	}
	d.mem.Page(to).Copy(0, d.mem.Page(from), 0, mm.PageSize)
	d.types.PutWritable(to)
	d.unref(to)
	return nil
}

// hold takes a reference to a page of the domain's RAM, and to write, a writable one.
func (d *Domain) hold(m mm.MFN, write bool) error {
	err := d.ref(m, d.id)
	if err == nil && write {
		if err = d.types.getWritable(m, d.id); err != nil {
			d.unref(m)
		}
	}
	return err
}
