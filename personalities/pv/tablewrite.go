package pv

import (
	"encoding/binary"
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/emulate"
	"nidus/personalities/paging"
)

// A guest's kernel may write its page tables by its own instructions, although none is
// mapped writable (vm_assist, VMASST_TYPE_writable_pagetables): the write faults, and is
// carried out for it as mmu_update would be.

// errRetry says that the guest is to execute the instruction again: what it found is not
// there any more.
var errRetry = errors.New("something else is there now")

// tableWriter is guest memory for an instruction that writes to a page table. A value that
// it read there is written only over that value, so that what it does is atomic.
type tableWriter struct {
	*vcpu
	read mm.GuestVirt // where it read last, size bytes
	size int
	old  uint64
	err  error // of the page table's
}

// tableWrite carries out a write to a page table. It returns false if the fault is the
// guest's.
func (v *vcpu) tableWrite(e virt.Event) bool {
	const wrote = paging.PFPresent | paging.PFWrite
	if e.Code&(wrote|paging.PFReserved|paging.PFFetch) != wrote || !v.PV.Kernel() ||
		v.Domain.PV.Assist.Load()>>xenabi.VMAssistTypeWritablePagetables&1 == 0 {
		return false
	}
	at := mm.GuestVirt(v.HV.Get(virt.CR2))
	if _, table := v.table(at); !table {
		return false
	}
	var code [insn.MaxLen]byte
	n := v.Fetch(code[:])
	w := &v.writer
	*w = tableWriter{vcpu: v}
	c := &v.CPU
	v.prepare(c)
	c.Mem = w
	_, err := emulate.Step(c, code[:n])
	if w.err != nil {
		err = w.err
	}
	switch err {
	case nil:
		c.StoreRegs(v.HV.Regs())
		return true
	case errRetry, pvmmu.ErrAgain:
		return true
	}
	return false
}

// table returns the machine address behind a guest's address, and whether it is in a page
// table.
func (v *vcpu) table(at mm.GuestVirt) (ptr uint64, ok bool) {
	m, ok := v.MMU.Translate(true, at)
	return uint64(m.Frame)<<mm.PageShift | uint64(at&mm.PageMask), ok && v.Domain.PV.MMU.IsL1(m.Frame)
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
	ptr, ok := w.table(a)
	if !ok {
		return w.CopyOut(a, p)
	}
	exchange := w.read == a && w.size == len(p)
	_, same, err := w.MMU.Emulate(ptr, len(p), word(p), exchange, w.old)
	switch {
	case err == pvmmu.ErrType:
		w.err = err
		if _, still := w.table(a); !still {
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
