package domain

import (
	"nidus/kernel/console"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/cpuid"
)

// PVBase is the part of pvcpu.Machine that every vcpu has: its registers, its
// memory, its vcpu_info, its policy. The personality adds what page tables need.
type PVBase struct{ *VCPU }

// Regs implements pvcpu.Machine.
func (v PVBase) Regs() *virt.Regs { return v.HV.Regs() }

// Segment implements pvcpu.Machine.
func (v PVBase) Segment(r virt.SegReg) virt.Segment { return v.HV.Segment(r) }

// SetSegment implements pvcpu.Machine.
func (v PVBase) SetSegment(r virt.SegReg, s virt.Segment) { v.HV.SetSegment(r, s) }

// Get implements pvcpu.Machine.
func (v PVBase) Get(r virt.SysReg) uint64 { return v.HV.Get(r) }

// Set implements pvcpu.Machine. A value that the processor refuses all the same
// ends the domain.
func (v PVBase) Set(r virt.SysReg, x uint64) {
	if err := v.HV.Set(r, x); err != nil {
		v.Domain.Crash(v.VCPU, err.Error())
	}
}

// ReadPhys implements pvcpu.Machine.
func (v PVBase) ReadPhys(a mm.GuestPhys, dst []byte) error { return v.Domain.Space.ReadPhys(a, dst) }

// UpcallPending implements pvcpu.Machine.
func (v PVBase) UpcallPending() bool {
	pg, off, ok := v.Domain.Events.VCPUInfo(v.ID)
	return ok && pg.Load32(off)&0xff != 0
}

// UpcallMask implements pvcpu.Machine.
func (v PVBase) UpcallMask() bool {
	pg, off, ok := v.Domain.Events.VCPUInfo(v.ID)
	return !ok || pg.Load32(off)>>(8*xenabi.VCPUEvtchnUpcallMask)&0xff != 0
}

// SetUpcallMask implements pvcpu.Machine.
func (v PVBase) SetUpcallMask(on bool) {
	pg, off, ok := v.Domain.Events.VCPUInfo(v.ID)
	if !ok {
		return
	}
	x := uint8(0)
	if on {
		x = 1
	}
	pg.Store8(off+xenabi.VCPUEvtchnUpcallMask, x)
}

// CR2 implements pvcpu.Machine.
func (v PVBase) CR2() uint64 {
	pg, off, ok := v.Domain.Events.VCPUInfo(v.ID)
	if !ok {
		return 0
	}
	l := xenabi.SharedInfoOf(v.Domain.Events.Width())
	off += l.VCPUArchCR2
	x := uint64(pg.Load32(off))
	if l.Width == xenabi.Guest64 {
		x |= uint64(pg.Load32(off+4)) << 32
	}
	return x
}

// SetCR2 implements pvcpu.Machine.
func (v PVBase) SetCR2(x uint64) {
	pg, off, ok := v.Domain.Events.VCPUInfo(v.ID)
	if !ok {
		return
	}
	l := xenabi.SharedInfoOf(v.Domain.Events.Width())
	off += l.VCPUArchCR2
	pg.Store32(off, uint32(x))
	if l.Width == xenabi.Guest64 {
		pg.Store32(off+4, uint32(x>>32))
	}
}

// TSC implements pvcpu.Machine.
func (v PVBase) TSC() uint64 { return v.GuestTSC() }

// CPUID implements pvcpu.Machine.
func (v PVBase) CPUID(leaf, sub uint32) (a, b, c, d uint32) {
	info := cpuid.VCPUInfo{ID: uint32(v.ID), APICEnabled: true, XCR0: v.HV.Get(virt.XCR0)}
	if v.PV != nil {
		info.OSXSAVE = v.PV.CR4&virt.CR4OSXSAVE != 0
	}
	return v.Domain.Policy.CPUID(info, leaf, sub)
}

// Unknown implements pvcpu.Machine.
func (v PVBase) Unknown(msr uint32, write bool, x uint64) {
	if write {
		v.Domain.Host.Log.Guestf(v.Domain.ID, console.LevelInfo, "v%d writes %#x to MSR %#x, which is not there: #GP", v.ID, x, msr)
		return
	}
	v.Domain.Host.Log.Guestf(v.Domain.ID, console.LevelInfo, "v%d reads MSR %#x, which is not there: #GP", v.ID, msr)
}
