package domain

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/paging"
)

// View returns the walker of the vcpu's page tables, as they are now. It is good
// until the vcpu runs again.
func (v *VCPU) View() *paging.Walker {
	w := &v.Walker
	if w.Mem == nil { // what never changes
		w.Mem = v.Domain.Space
		w.PhysBits = v.Domain.Policy.Config.PhysBits
		w.Pages1G = v.Domain.Policy.Leaf(0x80000001, 0).D>>26&1 != 0
	}
	w.CR0, w.CR3, w.CR4 = v.HV.Get(virt.CR0), v.HV.Get(virt.CR3), v.HV.Get(virt.CR4)
	w.EFER, w.RFLAGS = v.HV.Get(virt.EFER), v.HV.Regs().RFLAGS
	if p := v.Domain.PV; p != nil && p.Width == xenabi.Guest32 {
		w.Compat, w.CR3 = true, uint64(v.MMU.Root(true))<<mm.PageShift
	}
	return w
}

// CPL is the privilege level that the guest runs at.
func (v *VCPU) CPL() uint8 {
	if v.HV.Get(virt.CR0)&virt.CR0PE == 0 {
		return 0
	}
	return v.HV.Segment(virt.SS).DPL()
}

// Bits is the width of the code that runs.
func (v *VCPU) Bits() int { return virt.Bits(v.HV.Get(virt.EFER), v.HV.Segment(virt.CS)) }

// access is the kind of a data access at the guest's privilege.
func (v *VCPU) access() paging.Access {
	if v.CPL() == 3 {
		return paging.User
	}
	return 0
}

// CopyIn reads guest memory at a linear address: hypercall arguments. A vcpu is
// its own gnttab.Memory.
func (v *VCPU) CopyIn(a mm.GuestVirt, dst []byte) error {
	if v.Domain.PV != nil && v.copyPV(a, dst, false) {
		return nil
	}
	return v.View().CopyIn(a, dst, v.access())
}

// CopyOut writes guest memory.
func (v *VCPU) CopyOut(a mm.GuestVirt, src []byte) error {
	if v.Domain.PV != nil && v.copyPV(a, src, true) {
		return nil
	}
	return v.View().CopyOut(a, src, v.access())
}

// Fetch reads the instruction at CS:RIP, as far as it can.
func (v *VCPU) Fetch(buf []byte) int {
	at := v.HV.Regs().RIP
	if v.machine != nil && v.machine.hv.CopyIn(buf, mm.GuestVirt(at)) {
		return len(buf) // it has been executed, but for what it is wanted for
	}
	w := v.View()
	if v.Bits() != 64 {
		at = uint64(uint32(v.HV.Segment(virt.CS).Base + at))
	}
	acc := paging.Exec
	if v.CPL() == 3 {
		acc |= paging.User
	}
	n := 0
	for n < len(buf) {
		m, err := w.Translate(mm.GuestVirt(at)+mm.GuestVirt(n), acc)
		if err != nil {
			break
		}
		k := int(min(uint64(len(buf)-n), m.Left))
		if v.Domain.Space.ReadPhys(m.Phys, buf[n:n+k]) != nil {
			break
		}
		n += k
	}
	return n
}
