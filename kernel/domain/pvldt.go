package domain

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// The local descriptor table of a PV guest lies anywhere in its kernel's addresses. The
// processor reads it at others, where its pages appear one by one when it faults for them:
// then each is checked, and held as a page of descriptors until there is another LDT.

// SetLDT implements pvcpu.Machine and pvmmu.CPU.
func (m *pvMachine) SetLDT(base mm.GuestVirt, entries uint32) error {
	if err := m.hv.SetLDT(int(entries)); err != nil {
		return xenabi.ENOMEM
	}
	m.dropLDT()
	m.v.PV.LDT, m.v.PV.LDTEntries = base, entries
	return nil
}

// dropLDT lets go of the pages of the former LDT, which the vcpu has no address of any more.
func (m *pvMachine) dropLDT() {
	for i, f := range m.ldt {
		if f != 0 {
			m.v.Domain.PV.MMU.PutDescriptors(f)
			m.ldt[i] = 0
		}
	}
}

// fillLDT makes a page of the LDT present. It is false if the guest has none there, or one
// that can't be of descriptors.
func (m *pvMachine) fillLDT(page int) bool {
	c := m.v.PV
	if uint32(page)*(mm.PageSize/8) >= c.LDTEntries || m.ldt[page] != 0 {
		return false
	}
	f, ok := m.v.MMU.Translate(true, c.LDT+mm.GuestVirt(page)<<mm.PageShift)
	if !ok || m.v.Domain.PV.MMU.GetDescriptors(f.Frame) != nil {
		return false
	}
	m.ldt[page] = f.Frame
	m.hv.MapLDT(page, f.Frame)
	return true
}

// LDTFault looks whether the processor faulted at a for a descriptor of the vcpu's LDT. If
// filled is true it can go on; if not, at is where the guest's own table is not as it should
// be.
func (v *VCPU) LDTFault(a uint64) (at mm.GuestVirt, filled, ldt bool) {
	m := v.machine
	page, ok := m.hv.LDTPage(a)
	if !ok {
		return 0, false, false
	}
	return v.PV.LDT + mm.GuestVirt(page)<<mm.PageShift + mm.GuestVirt(a&mm.PageMask), m.fillLDT(page), true
}

// FillSelectors makes those pages of the LDT present that the vcpu's selectors name, which
// the hypervisor can't load otherwise. It tells whether there were any to make.
func (v *VCPU) FillSelectors() (filled bool) {
	const local, page = 1 << 2, mm.PageSize
	for r := virt.ES; r <= virt.GS; r++ {
		if sel := v.HV.Segment(r).Selector; sel&local != 0 && v.machine.fillLDT(int(sel&^7)/page) {
			filled = true
		}
	}
	return filled
}
