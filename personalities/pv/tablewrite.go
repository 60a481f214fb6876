package pv

import (
	"encoding/binary"
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/emulate"
	"nidus/personalities/paging"
)

// A guest's kernel may write its page tables by its own instructions, although none is
// mapped writable: the write faults, and is carried out for it as mmu_update would be. Xen
// does so for L1 tables, and for guests that ask (vm_assist,
// VMASST_TYPE_writable_pagetables). Here it is for tables of all levels, asked or not: GNU
// Mach 1.8 writes its page directory without having asked.

// errRetry says that the guest is to execute the instruction again: what it found is not
// there any more.
var errRetry = errors.New("something else is there now")

// errElsewhere says that the emulated instruction would write where it did not fault.
var errElsewhere = errors.New("the write is not the one that faulted")

// tableWriter is guest memory for an instruction that writes to a page table. A value that
// it read there is written only over that value, so that what it does is atomic.
type tableWriter struct {
	*vcpu
	fault mm.GuestVirt // where the guest's write faulted
	read  mm.GuestVirt // where it read last, size bytes
	size  int
	old   uint64
	wrote bool  // at least once: a REP may write often
	whole bool  // above L1, where a write may be long work: no other one after it
	err   error // of the page table's
}

// tableWrite carries out a write to a page table. It returns false if the fault is the
// guest's.
func (v *vcpu) tableWrite(e virt.Event) bool {
	const wrote = paging.PFPresent | paging.PFWrite
	if e.Code&(wrote|paging.PFReserved|paging.PFFetch) != wrote || !v.PV.Kernel() {
		return false
	}
	at := mm.GuestVirt(v.HV.Get(virt.CR2))
	if _, level := v.table(at); level == 0 {
		return false
	}
	var code [insn.MaxLen]byte
	n := v.Fetch(code[:])
	w := &v.writer
	*w = tableWriter{vcpu: v, fault: at}
	c := &v.CPU
	v.prepare(c)
	c.Mem = w
	_, err := emulate.Step(c, code[:n])
	if w.err != nil {
		err = w.err
	}
	v.unmakes = v.MMU.Domain().Pending() != nil
	if err == nil || err == errRetry || err == pvmmu.ErrAgain || w.wrote { // a REP's fault comes when it goes on
		c.StoreRegs(v.HV.Regs())
		return true
	}
	return false
}

// unmaking goes on with what the guest's write to a page table left to be unmade, and tells
// whether there is more. Before it is done the guest would find frames in use that it gave
// back.
func (v *vcpu) unmaking() bool {
	v.unmakes = v.unmakes && v.MMU.Domain().Pending() != nil
	return v.unmakes
}

// table returns the machine address behind a guest's address, and the level of the page table
// that it is in, 0 if it is in none.
func (v *vcpu) table(at mm.GuestVirt) (ptr uint64, level int) {
	m, ok := v.MMU.Translate(true, at)
	if !ok {
		return 0, 0
	}
	return uint64(m.Frame)<<mm.PageShift | uint64(at&mm.PageMask), v.Domain.PV.MMU.TableLevel(m.Frame)
}

// Read implements emulate.Memory.
func (w *tableWriter) Read(a mm.GuestVirt, p []byte) error {
	if err := w.CopyIn(a, p); err != nil {
		return err
	}
	w.read, w.size, w.old = a, len(p), word(p)
	return nil
}

// Write implements emulate.Memory.
func (w *tableWriter) Write(a mm.GuestVirt, p []byte) error {
	switch {
	case w.whole:
		w.err = errRetry
		return w.err
	case !w.wrote && w.fault-a >= mm.GuestVirt(len(p)): // by a segment that is not flat
		w.err = errElsewhere
		return w.err
	}
	if err := w.write(a, p); err != nil {
		return err
	}
	w.wrote = true
	return nil
}

func (w *tableWriter) write(a mm.GuestVirt, p []byte) error {
	ptr, level := w.table(a)
	if level == 0 {
		return w.CopyOut(a, p)
	}
	w.whole = level > 1
	exchange := w.read == a && w.size == len(p)
	_, same, err := w.MMU.Emulate(ptr, len(p), word(p), exchange, w.old)
	switch {
	case err == pvmmu.ErrType:
		w.err = err
		if _, still := w.table(a); still == 0 {
			w.err = errRetry // no page table any more: the guest finds out by itself
		}
	case err != nil:
		w.err = err
	case !same:
		w.err = errRetry
	default:
		return nil
	}
	return w.err
}

func word(p []byte) uint64 {
	var b [8]byte
	copy(b[:], p)
	return binary.LittleEndian.Uint64(b[:])
}

// prepare gives c the state of the vcpu, but for memory.
func (v *vcpu) prepare(c *emulate.CPU) {
	c.Mode = v.Bits()
	c.LoadRegs(v.HV.Regs())
	for s := range virt.LDTR {
		c.Segs[s] = emulate.Segment{Limit: ^uint32(0)}
	}
	c.Segs[emulate.FS].Base, c.Segs[emulate.GS].Base = v.HV.Segment(virt.FS).Base, v.HV.Segment(virt.GS).Base
	c.Ports = nil
}
