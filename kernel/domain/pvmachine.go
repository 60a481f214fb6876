package domain

import (
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/cpuid"
	"nidus/personalities/msr"
	"nidus/personalities/pv/pvcpu"
)

// pvMachine is a vcpu as its pvcpu.CPU sees it.
type pvMachine struct {
	v    *VCPU
	hv   pv.VCPU
	info atomic.Pointer[pv.Info]
	gdt  []mm.MFN             // that it holds as pages of descriptors
	ldt  [pv.LDTFrames]mm.MFN // the same; 0: not there
}

var (
	_ pvcpu.Machine = (*pvMachine)(nil)
	_ pvmmu.CPU     = pvRoots{}
)

// newPVCPU makes the processor that a PV vcpu's guest sees.
func (v *VCPU) newPVCPU() {
	d := v.Domain
	m := &pvMachine{v: v, hv: v.HV.(pv.VCPU)}
	v.machine = m
	ext := d.Policy.Leaf(0x80000001, 0)
	v.MMU = d.PV.MMU.AddVCPU(pvRoots{m})
	v.PV = pvcpu.New(m, uint32(v.ID), d.PV.Width, &d.PV.Assist, msr.Features{
		AMD: d.Policy.AMD, PhysBits: d.Policy.Config.PhysBits,
		LongMode: ext.D>>29&1 != 0, NX: ext.D>>20&1 != 0, FFXSR: ext.D>>25&1 != 0,
		RDTSCP: ext.D>>27&1 != 0, SYSCALL: ext.D>>11&1 != 0,
	})
	m.hv.SetGuest(pv.Guest{
		ID: uint64(v.ID), Gate: &v.PV.Gate, Assist: &d.PV.Assist, Info: &m.info, TSC: &d.emulated, Timer: &v.timers.Timer, MMU: v.MMU,
		Events: d.Events,
	})
	v.InfoMoved()
}

// InfoMoved tells a PV guest's vcpu where its vcpu_info is from now on.
func (v *VCPU) InfoMoved() {
	if v.machine == nil {
		return
	}
	if pg, off, ok := v.Domain.Events.VCPUInfo(v.ID); ok {
		v.machine.info.Store(&pv.Info{Page: pg, Off: off})
		v.Notify() // an event may have come to either place
	}
}

// Regs implements pvcpu.Machine.
func (m *pvMachine) Regs() *virt.Regs { return m.hv.Regs() }

// Segment implements pvcpu.Machine.
func (m *pvMachine) Segment(r virt.SegReg) virt.Segment { return m.hv.Segment(r) }

// SetSegment implements pvcpu.Machine.
func (m *pvMachine) SetSegment(r virt.SegReg, s virt.Segment) { m.hv.SetSegment(r, s) }

// Get implements pvcpu.Machine.
func (m *pvMachine) Get(r virt.SysReg) uint64 { return m.hv.Get(r) }

// Set implements pvcpu.Machine.
func (m *pvMachine) Set(r virt.SysReg, x uint64) {
	if err := m.hv.Set(r, x); err != nil {
		m.v.Domain.Crash(m.v, err.Error())
	}
}

// CopyIn implements pvcpu.Machine.
func (m *pvMachine) CopyIn(a mm.GuestVirt, dst []byte) error { return m.v.CopyIn(a, dst) }

// CopyOut implements pvcpu.Machine.
func (m *pvMachine) CopyOut(a mm.GuestVirt, src []byte) error { return m.v.CopyOut(a, src) }

// ReadPhys implements pvcpu.Machine.
func (m *pvMachine) ReadPhys(a mm.GuestPhys, dst []byte) error {
	return m.v.Domain.Space.ReadPhys(a, dst)
}

// EventDue tells whether an event is to be delivered to a PV guest: what PV.EventDue says, for
// each entry.
func (v *VCPU) EventDue() bool {
	i := v.machine.info.Load()
	return i != nil && i.Due()
}

// UpcallPending implements pvcpu.Machine.
func (m *pvMachine) UpcallPending() bool {
	i := m.info.Load()
	return i != nil && i.Page.Load8(i.Off+xenabi.VCPUEvtchnUpcallPending) != 0
}

// UpcallMask implements pvcpu.Machine.
func (m *pvMachine) UpcallMask() bool {
	i := m.info.Load()
	return i == nil || i.Masked()
}

// SetUpcallMask implements pvcpu.Machine.
func (m *pvMachine) SetUpcallMask(on bool) {
	if i := m.info.Load(); i != nil {
		i.SetMasked(on)
	}
}

// cr2Offset is where arch.cr2 is in vcpu_info (arch-x86/xen-x86_64.h; in 32-bit guests'
// half of that).
func (m *pvMachine) cr2Offset() int { return 2 * int(m.v.PV.Width) }

// CR2 implements pvcpu.Machine.
func (m *pvMachine) CR2() uint64 {
	i := m.info.Load()
	switch {
	case i == nil:
		return 0
	case m.v.PV.Width == xenabi.Guest32:
		return uint64(i.Page.Load32(i.Off + m.cr2Offset()))
	}
	return i.Page.Load64(i.Off + m.cr2Offset())
}

// SetCR2 implements pvcpu.Machine.
func (m *pvMachine) SetCR2(x uint64) {
	i := m.info.Load()
	switch {
	case i == nil:
	case m.v.PV.Width == xenabi.Guest32:
		i.Page.Store32(i.Off+m.cr2Offset(), uint32(x))
	default:
		i.Page.Store64(i.Off+m.cr2Offset(), x)
	}
}

// SetRoot implements pvcpu.Machine.
func (m *pvMachine) SetRoot(root mm.MFN, user bool) { m.hv.SwitchRoot(root, user) }

// pvRoots is a vcpu as package pvmmu sees it.
type pvRoots struct{ *pvMachine }

// SetRoot implements pvmmu.CPU.
func (m pvRoots) SetRoot(kernel bool, root mm.MFN) {
	c := m.v.PV
	if kernel {
		c.Root = root
	} else {
		c.UserRoot = root
	}
	if kernel != c.UserMode {
		m.hv.SetRoot(root, !kernel)
	} else {
		m.hv.ForgetOther()
	}
}

// Base implements pvcpu.Machine.
func (m *pvMachine) Base() mm.MFN { return m.v.MMU.Root(true) }

// NewRoot implements pvcpu.Machine.
func (m *pvMachine) NewRoot(root mm.MFN, user bool) error {
	for {
		err := m.v.MMU.SetRoot(!user, root)
		if err == nil {
			err = m.v.Domain.PV.MMU.Pending()
		}
		switch err {
		case nil:
			return nil
		case pvmmu.ErrAgain:
			m.v.Domain.Host.Thread.Yield()
		default:
			return xenabi.EINVAL
		}
	}
}

// SetGDT implements pvcpu.Machine.
func (m *pvMachine) SetGDT(frames []mm.MFN, entries uint32) error {
	mmu := m.v.Domain.PV.MMU
	for i, f := range frames {
		if mmu.GetDescriptors(f) != nil {
			for _, f := range frames[:i] {
				mmu.PutDescriptors(f)
			}
			return xenabi.EINVAL
		}
	}
	m.hv.SetGDT(frames, int(entries))
	m.dropGDT()
	m.gdt = append(m.gdt[:0], frames...)
	c := m.v.PV
	clear(c.GDT[:])
	copy(c.GDT[:], frames)
	c.GDTEntries = entries
	return nil
}

// dropGDT lets go of the pages of the former GDT.
func (m *pvMachine) dropGDT() {
	for _, f := range m.gdt {
		m.v.Domain.PV.MMU.PutDescriptors(f)
	}
	m.gdt = m.gdt[:0]
}

// TSC implements pvcpu.Machine.
func (m *pvMachine) TSC() uint64 { return m.v.GuestTSC() }

// CPUID implements pvcpu.Machine.
func (m *pvMachine) CPUID(leaf, sub uint32) (a, b, c, d uint32) {
	a, b, c, d = m.v.Domain.Policy.CPUID(cpuid.VCPUInfo{
		ID: uint32(m.v.ID), APICEnabled: true, OSXSAVE: m.v.PV.CR4&virt.CR4OSXSAVE != 0, XCR0: m.hv.Get(virt.XCR0),
	}, leaf, sub)
	m.hv.LearnCPUID(leaf, sub, a, b, c, d)
	return a, b, c, d
}

// Unknown implements pvcpu.Machine.
func (m *pvMachine) Unknown(index uint32, write bool, v uint64) {
	d := m.v.Domain
	if write {
		d.Host.Log.Guestf(d.ID, 2, "v%d writes %#x to MSR %#x, which is not there", m.v.ID, v, index)
		return
	}
	d.Host.Log.Guestf(d.ID, 2, "v%d reads MSR %#x, which is not there", m.v.ID, index)
}
