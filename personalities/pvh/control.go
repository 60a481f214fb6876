package pvh

import "nidus/kernel/virt"

// controlRegister does an access to a control register. CR8 is the local APIC's
// task priority. Writes to CR0 and CR4 are checked, as the CPUID policy offers
// less than the processor has, and an emulated processor lets values in that
// VMRUN then refuses. CR3 exits only with a value that faults.
func (v *vcpu) controlRegister() {
	switch a := v.exit.CR; {
	case a.CR == 8 && a.Op == virt.CRMov:
		v.cr8(a)
	case a.CR == 0 && a.Write:
		v.writeCR0(a)
	case a.CR == 4 && a.Write && a.Op == virt.CRMov:
		v.writeCR4(v.operand(a))
	case a.CR == 3 && a.Write && a.Op == virt.CRMov && !v.control().CheckCR3(v.operand(a), v.Domain.Policy.Config.PhysBits):
		v.fault(virt.VectorGP, 0)
	case a.Op == virt.CROther: // the instruction changed while we looked, or is in no memory
		v.skip()
	default:
		v.Domain.Crash(v.VCPU, "exit that nobody asked for: "+v.exit.String())
	}
}

// operand is the value of a MOV to a control register.
func (v *vcpu) operand(a virt.CRAccess) uint64 {
	x := *v.HV.Regs().GPR(a.GPR)
	if v.Bits() != 64 {
		x = uint64(uint32(x))
	}
	return x
}

func (v *vcpu) control() *virt.Control {
	return &virt.Control{CR0: v.HV.Get(virt.CR0), CR3: v.HV.Get(virt.CR3), CR4: v.HV.Get(virt.CR4),
		EFER: v.HV.Get(virt.EFER), Long: v.Bits() == 64}
}

func (v *vcpu) cr8(a virt.CRAccess) {
	p := v.HV.Regs().GPR(a.GPR)
	if !a.Write {
		if v.skip() {
			*p = uint64(v.APIC.CR8())
		}
		return
	}
	if *p&^0xf != 0 {
		v.fault(virt.VectorGP, 0)
		return
	}
	if v.skip() {
		v.APIC.SetCR8(uint8(*p))
	}
}

// writeCR0 does MOV, CLTS and LMSW, which sets the low four bits and can't clear PE.
func (v *vcpu) writeCR0(a virt.CRAccess) {
	c := v.control()
	x := c.CR0
	switch a.Op {
	case virt.CRMov:
		x = v.operand(a)
	case virt.CRClts:
		x &^= 1 << 3
	case virt.CRLmsw:
		x = x&^0xe | a.Value&0xf
	default: // LMSW from memory
		v.emulate()
		return
	}
	cr0, efer, ok := c.CheckCR0(x)
	if !ok {
		v.fault(virt.VectorGP, 0)
		return
	}
	if v.skip() {
		v.setControl(virt.CR0, cr0)
		v.setControl(virt.EFER, efer)
		v.HV.RequestFlush()
	}
}

func (v *vcpu) writeCR4(x uint64) {
	if !v.control().CheckCR4(x, v.Domain.Policy.CR4()) {
		v.fault(virt.VectorGP, 0)
		return
	}
	if v.skip() {
		v.setControl(virt.CR4, x)
		v.HV.RequestFlush()
	}
}

// setControl writes a value that was checked: that it isn't taken is our defect,
// but ends the guest only.
func (v *vcpu) setControl(r virt.SysReg, x uint64) {
	if err := v.HV.Set(r, x); err != nil {
		v.Domain.Crash(v.VCPU, err.Error())
	}
}

func (v *vcpu) xsetbv() {
	r := v.HV.Regs()
	x := r.RDX<<32 | r.RAX&0xffffffff
	leaf := v.Domain.Policy.Leaf(0xd, 0)
	allowed := uint64(leaf.D)<<32 | uint64(leaf.A)
	if v.CPL() != 0 || uint32(r.RCX) != 0 || virt.CheckXCR0(x, allowed) != nil || v.HV.Set(virt.XCR0, x) != nil {
		v.fault(virt.VectorGP, 0)
		return
	}
	v.skip()
}
