package pv

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// What a 64-bit guest's kernel asks of its own vcpu, and the loop answers: like the rest of a
// Gate, by the same rules as packages pvcpu and hypercall, which do what doesn't fit here.

// fastCalls are the numbers, a bit each, of those that hypercall may do: with another the entry code
// does not ask.
const fastCalls = 1<<xenabi.HypercallMMUUpdate | 1<<xenabi.HypercallStackSwitch | 1<<xenabi.HypercallUpdateVAMapping |
	1<<xenabi.HypercallXenVersion | 1<<xenabi.HypercallIret | 1<<xenabi.HypercallSetSegmentBase | 1<<xenabi.HypercallSchedOp |
	1<<xenabi.HypercallVCPUOp | 1<<xenabi.HypercallSetTimerOp | 1<<xenabi.HypercallEventChannelOp

// hypercall does those that change no more than a register, and iret.
//
//go:nosplit
func (v *vcpu) hypercall() bool {
	g, c := &v.gate, v.ctx
	r, answer := &c.regs, uint64(0)
	switch r.RAX {
	case xenabi.HypercallIret:
		return v.iret()
	case xenabi.HypercallStackSwitch:
		g.KernelSS, g.KernelSP = uint16(r.RDI)|3, r.RSI
	case xenabi.HypercallSetSegmentBase:
		if !virt.Canonical(r.RSI) {
			return false
		}
		switch uint32(r.RDI) {
		case SegbaseFS:
			c.fsBase = r.RSI
		case SegbaseGSUser: // not active: a kernel calls
			v.sys[virt.KernelGSBase] = r.RSI
		case SegbaseGSKernel:
			c.gsBase = r.RSI
		default:
			return false
		}
	case xenabi.HypercallMMUUpdate:
		if !v.mmuUpdate() {
			return false
		}
	case xenabi.HypercallUpdateVAMapping:
		if !v.updateVA() {
			return false
		}
	case xenabi.HypercallVCPUOp:
		if !v.vcpuOp() {
			return false
		}
	case xenabi.HypercallSetTimerOp:
		if !v.setTimer(r.RDI) {
			return false
		}
	case xenabi.HypercallEventChannelOp:
		if !v.eventOp() {
			return false
		}
	case xenabi.HypercallSchedOp:
		if uint32(r.RDI) != xenabi.SchedOpYield || waiting() {
			return false
		}
	case v.cfg.Constant.Number:
		if r.RAX == 0 || r.RDI != v.cfg.Constant.Arg {
			return false
		}
		answer = v.cfg.Constant.Answer
	default:
		return false
	}
	r.RAX = answer
	return true
}

// What set_segment_base sets (arch-x86/xen-x86_64.h, SEGBASE_*).
const (
	SegbaseFS        = 0
	SegbaseGSUser    = 1
	SegbaseGSKernel  = 2
	SegbaseGSUserSel = 3
)

// MSRs of segment bases (APM vol. 2, 4.5.3).
const (
	MSRFSBase       = 0xc0000100
	MSRGSBase       = 0xc0000101
	MSRKernelGSBase = 0xc0000102
)

// Instructions that are carried out for a guest, as a word of memory has them.
const (
	opRDTSC = 0x310f
	opRDMSR = 0x320f
	// markedCPUID is CPUID behind ud2 and "xen" (arch-x86/xen.h, XEN_EMULATE_PREFIX).
	markedCPUID = 0xa20f_6e6578_0b0f
)

// emulate carries out an instruction after #GP or #UD: RDTSC where the counter is emulated, a
// kernel's RDMSR of a segment base, and a marked CPUID whose answer is known.
//
//go:nosplit
func (v *vcpu) emulate() bool {
	g, c := &v.gate, v.ctx
	r := &c.regs
	if c.cs != SelCode64 || r.RFLAGS&virt.FlagTF != 0 || !guestRange(r.RIP, 8) {
		return false
	}
	code, ok := loadWord(r.RIP)
	if !ok {
		return false
	}
	n := uint64(2)
	switch {
	case c.vec == virt.VectorUD:
		if code&(1<<56-1) != markedCPUID || !v.cpuid() {
			return false
		}
		n = 7
	case c.err != 0:
		return false
	case code&0xffff == opRDTSC && v.rdtsc && g.TSC != nil && (!g.UserMode || v.sys[virt.CR4]&cr4TSD == 0):
		setPair(r, g.TSC.Read(now()))
	case code&0xffff == opRDMSR && !g.UserMode:
		switch uint32(r.RCX) {
		case MSRFSBase:
			setPair(r, c.fsBase)
		case MSRGSBase:
			setPair(r, c.gsBase)
		case MSRKernelGSBase:
			setPair(r, v.sys[virt.KernelGSBase])
		default:
			return false
		}
	default:
		return false
	}
	r.RIP += n
	r.RFLAGS &^= virt.FlagRF
	return true
}

// setPair sets EDX:EAX.
//
//go:nosplit
func setPair(r *virt.Regs, x uint64) { r.RAX, r.RDX = x&0xffffffff, x>>32 }

// cpuidLeaf is what CPUID answers.
type cpuidLeaf struct {
	eax, ecx   uint32 // what was asked
	known      bool
	a, b, c, d uint32
}

// LearnCPUID implements VCPU.
func (v *vcpu) LearnCPUID(eax, ecx, a, b, c, d uint32) {
	v.leaves[leafSlot(eax, ecx)] = cpuidLeaf{eax, ecx, true, a, b, c, d}
}

//go:nosplit
func leafSlot(eax, ecx uint32) uint32 { return (eax ^ eax>>28 ^ ecx<<3) % numLeaves }

const numLeaves = 32

//go:nosplit
func (v *vcpu) cpuid() bool {
	r := &v.ctx.regs
	l := &v.leaves[leafSlot(uint32(r.RAX), uint32(r.RCX))]
	if !l.known || l.eax != uint32(r.RAX) || l.ecx != uint32(r.RCX) {
		return false
	}
	r.RAX, r.RBX, r.RCX, r.RDX = uint64(l.a), uint64(l.b), uint64(l.c), uint64(l.d)
	return true
}
