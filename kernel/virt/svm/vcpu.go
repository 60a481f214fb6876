package svm

import (
	"fmt"
	"strings"

	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/mm"
)

// MSRs that entry touches (APM vol. 2, appendix A).
const (
	msrTSCAux   = 0xc0000103
	msrTSCRatio = 0xc0000104
)

// vcpu implements virt.VCPU.
type vcpu struct {
	m    *Machine
	cfg  virt.Config
	maps *maps
	ctx  *context
	vmcb *VMCB
	fpu  []byte
	mfns [2]mm.MFN // of the VMCB and of the context
	id   uint64

	tag        tag
	lastCPU    uint64
	clean      uint64
	pending    virt.Pending
	injecting  uint8
	doubtful   bool // the guest may not have got its last virtual interrupt
	window     bool
	offered    uint8 // vector, or 0
	nmiWindow  bool
	nmiMasked  bool
	iretSeen   bool
	iretRIP    uint64
	exceptions uint32
	code       [insn.MaxLen]byte // what Fetch fills
	lengths    lengths
	lme        uint64 // EFER.LME, as long as LMA isn't set
	tscAux     uint64
	tscRatio   uint64 // in the MSR's format, 8.32
}

// init fills a new control block with what doesn't change.
func (v *vcpu) init() {
	b := v.vmcb
	b.NestedCtl = 1
	b.VIntr = vMasking
	b.IOPMBase = uint64(v.maps.ioMFN) << mm.PageShift
	b.MSRPMBase = uint64(v.maps.msrMFN) << mm.PageShift
	b.InterceptMisc1 = misc1Always
	v.ctx.vmcbPA = uint64(v.mfns[0]) << mm.PageShift
	v.ctx.vmcbVA = address(v.vmcb)
	v.ctx.set(v.cfg.Constant)
	v.ctx.xsave = v.m.features.XCR0
	if v.m.tcg {
		v.ctx.hostDR7, v.ctx.freeXCR0 = emulatorDR7, 1
	}
	v.lastCPU = ^uint64(0)
	v.setDebug(false)
	v.SetIntercept(v.cfg.Intercept)
	v.SetExceptions(v.cfg.Exceptions)
	v.SetNestedRoot(v.cfg.NestedRoot)
}

// Regs implements virt.VCPU.
func (v *vcpu) Regs() *virt.Regs { return &v.ctx.regs }

func (v *vcpu) seg(r virt.SegReg) *Seg {
	b := v.vmcb
	switch r {
	case virt.ES:
		return &b.ES
	case virt.CS:
		return &b.CS
	case virt.SS:
		return &b.SS
	case virt.DS:
		return &b.DS
	case virt.FS:
		return &b.FS
	case virt.GS:
		return &b.GS
	case virt.LDTR:
		return &b.LDTR
	case virt.TR:
		return &b.TR
	case virt.GDTR:
		return &b.GDTR
	}
	return &b.IDTR
}

// Segment implements virt.VCPU.
func (v *vcpu) Segment(r virt.SegReg) virt.Segment {
	s := v.seg(r)
	out := virt.Segment{Base: s.Base, Limit: s.Limit, Selector: s.Selector, Attr: s.Attr & 0xfff}
	if r == virt.SS { // the processor keeps the CPL apart and need not keep SS.DPL
		out.Attr = out.Attr&^(3<<virt.AttrDPLShift) | uint16(v.vmcb.CPL&3)<<virt.AttrDPLShift
	}
	return out
}

// SetSegment implements virt.VCPU.
func (v *vcpu) SetSegment(r virt.SegReg, s virt.Segment) {
	*v.seg(r) = Seg{Selector: s.Selector, Attr: s.Attr & 0xfff, Limit: s.Limit, Base: s.Base}
	switch r {
	case virt.SS:
		v.vmcb.CPL = s.DPL()
	case virt.GDTR, virt.IDTR:
		v.clean &^= cleanTables
	}
	v.clean &^= cleanSegs
}

// sys finds a system register that the VMCB holds as it is, and its clean bit.
func (v *vcpu) sys(r virt.SysReg) (*uint64, uint64) {
	b := v.vmcb
	switch r {
	case virt.CR0:
		return &b.CR0, cleanCR
	case virt.CR2:
		return &b.CR2, cleanCR2
	case virt.CR3:
		return &b.CR3, cleanCR
	case virt.CR4:
		return &b.CR4, cleanCR
	case virt.DR0, virt.DR1, virt.DR2, virt.DR3:
		return &v.ctx.dr[r-virt.DR0], 0
	case virt.DR6:
		return &b.DR6, cleanDR
	case virt.DR7:
		return &b.DR7, cleanDR
	case virt.STAR:
		return &b.STAR, 0
	case virt.LSTAR:
		return &b.LSTAR, 0
	case virt.CSTAR:
		return &b.CSTAR, 0
	case virt.SFMask:
		return &b.SFMask, 0
	case virt.KernelGSBase:
		return &b.KernelGSBase, 0
	case virt.SysenterCS:
		return &b.SysenterCS, 0
	case virt.SysenterESP:
		return &b.SysenterESP, 0
	case virt.SysenterEIP:
		return &b.SysenterEIP, 0
	case virt.PAT:
		return &b.GPAT, cleanNested
	case virt.DebugCtl:
		return &b.DebugCtl, cleanLBR
	case virt.TSCAux:
		return &v.tscAux, 0
	case virt.XCR0:
		return &v.ctx.guestXCR0, 0
	}
	return nil, 0
}

// Get implements virt.VCPU.
func (v *vcpu) Get(r virt.SysReg) uint64 {
	switch r {
	case virt.CR8:
		return v.vmcb.VIntr & vTPRMask
	case virt.EFER:
		return v.vmcb.EFER&^virt.EFERSVME | v.lme
	}
	if p, _ := v.sys(r); p != nil {
		return *p
	}
	return 0
}

// Set implements virt.VCPU.
func (v *vcpu) Set(r virt.SysReg, x uint64) error {
	switch r {
	case virt.CR8:
		if x > vTPRMask {
			return virt.BadState("CR8", x, "only 0 to 15")
		}
		v.vmcb.VIntr = v.vmcb.VIntr&^vTPRMask | x
		v.clean &^= cleanIntr
		return nil
	case virt.EFER:
		// VMRUN insists on SVME. LME means nothing before paging is on, which is an
		// exit; with LME set and PAE clear, QEMU's TCG fails to bring back the host's
		// CR0 at #VMEXIT (cpu_x86_update_cr0), and the host ends.
		v.lme = 0
		if x&virt.EFERLMA == 0 {
			v.lme = x & virt.EFERLME
		}
		v.vmcb.EFER = x&^v.lme | virt.EFERSVME
		v.clean &^= cleanCR
		return nil
	case virt.XCR0:
		if err := virt.CheckXCR0(x, v.m.features.XCR0); err != nil {
			return err
		}
	case virt.CR0, virt.DR6, virt.DR7, virt.TSCAux:
		if x>>32 != 0 {
			return virt.BadState(virt.SysRegNames[r], x, "bits 63:32 are reserved")
		}
	}
	p, clean := v.sys(r)
	if p == nil {
		return virt.BadState("system register number", uint64(r), "there is none")
	}
	*p = x
	v.clean &^= clean
	switch r {
	case virt.DR7:
		v.setDebug(x&0xff != 0)
	case virt.TSCAux:
		v.lastCPU = ^uint64(0) // load it again
	}
	return nil
}

// SetTSC implements virt.VCPU.
func (v *vcpu) SetTSC(offset, ratio uint64) error {
	if ratio != 1<<32 && !v.m.features.TSCScaling {
		return virt.BadState("TSC ratio", ratio, "this processor can't scale the TSC")
	}
	if ratio == 0 || ratio>>40 != 0 {
		return virt.BadState("TSC ratio", ratio, "it has 8 bits before and 32 behind the point, and isn't 0")
	}
	v.vmcb.TSCOffset, v.tscRatio = offset, ratio
	v.clean &^= cleanIntercepts
	v.lastCPU = ^uint64(0)
	return nil
}

// FPUSize implements virt.VCPU.
func (v *vcpu) FPUSize() int { return len(v.fpu) }

// FPU implements virt.VCPU.
func (v *vcpu) FPU(dst []byte) int { return copy(dst, v.fpu) }

// SetFPU implements virt.VCPU.
func (v *vcpu) SetFPU(src []byte) error {
	return virt.SetFPUImage(v.fpu, src, v.m.features.XCR0, v.m.mxcsrMask)
}

// SetNestedRoot implements virt.VCPU.
func (v *vcpu) SetNestedRoot(root mm.MFN) {
	v.vmcb.NCR3 = uint64(root) << mm.PageShift
	v.tag = tag{}
	v.clean &^= cleanNested
}

// SetIntercept implements virt.VCPU.
func (v *vcpu) SetIntercept(i virt.Intercept) {
	b := v.vmcb
	on := func(f virt.Intercept, word *uint32, bits uint32) {
		*word &^= bits
		if i&f != 0 {
			*word |= bits
		}
	}
	b.InterceptMisc2 = misc2Always
	on(virt.InterceptRDTSC, &b.InterceptMisc1, misc1RDTSC)
	on(virt.InterceptRDTSC, &b.InterceptMisc2, misc2RDTSCP)
	on(virt.InterceptPause, &b.InterceptMisc1, misc1PAUSE)
	on(virt.InterceptINVLPG, &b.InterceptMisc1, misc1INVLPG)
	on(virt.InterceptCR0Write, &b.InterceptMisc1, misc1CR0)
	on(virt.InterceptCR3Write, &b.InterceptCR, 1<<19)
	on(virt.InterceptCR4Write, &b.InterceptCR, 1<<20)
	on(virt.InterceptCR8, &b.InterceptCR, 1<<24|1<<8)
	if v.m.features.PauseFilter { // only a loop of them exits
		b.PauseCount, b.PauseThreshold = 3000, 128
	}
	v.clean &^= cleanIntercepts
}

// SetExceptions implements virt.VCPU.
func (v *vcpu) SetExceptions(mask uint32) {
	v.exceptions = mask
	v.vmcb.InterceptExc = mask&^(1<<2) | excAlways
	v.clean &^= cleanIntercepts
}

// Inject implements virt.VCPU.
func (v *vcpu) Inject(e virt.Event) error {
	if err := e.Check(); err != nil {
		return err
	}
	return v.pending.Inject(e)
}

// InterruptAllowed implements virt.VCPU.
func (v *vcpu) InterruptAllowed() bool { return v.interruptible() && v.pending.Empty() }

// NMIAllowed implements virt.VCPU.
func (v *vcpu) NMIAllowed() bool { return v.nmiAllowed() }

// RequestInterruptWindow implements virt.VCPU.
func (v *vcpu) RequestInterruptWindow(on bool) { v.window = on }

// Offer implements virt.VCPU: as a virtual interrupt (APM vol. 2, 15.21.4).
func (v *vcpu) Offer(vector uint8) bool {
	v.offered = vector
	return true
}

// RequestNMIWindow implements virt.VCPU.
func (v *vcpu) RequestNMIWindow(on bool) { v.nmiWindow = on }

// Shadow implements virt.VCPU.
func (v *vcpu) Shadow() bool { return v.vmcb.IntShadow&1 != 0 }

// SetShadow implements virt.VCPU.
func (v *vcpu) SetShadow(on bool) {
	v.vmcb.IntShadow &^= 1
	if on {
		v.vmcb.IntShadow |= 1
	}
}

func (v *vcpu) bits() int { return virt.Bits(v.vmcb.EFER, v.Segment(virt.CS)) }

// fetch recognizes the instruction at RIP.
func (v *vcpu) fetch() (insn.Insn, error) {
	if v.cfg.Fetch == nil {
		return insn.Insn{}, fmt.Errorf("%w: no way to fetch was given", virt.ErrFetch)
	}
	n := min(max(v.cfg.Fetch(v.code[:]), 0), insn.MaxLen)
	in, err := insn.Decode(v.code[:n], v.bits())
	if err != nil {
		return in, fmt.Errorf("%w: at RIP %#x: %w", virt.ErrFetch, v.ctx.regs.RIP, err)
	}
	return in, nil
}

// complete finds out from the instruction what this processor didn't tell.
func (v *vcpu) complete(e *virt.Exit) {
	switch {
	case e.Reason == virt.ReasonRDTSC && !v.m.features.NextRIP:
		// QEMU's TCG has RDTSCP exit as RDTSC
		if in, err := v.fetch(); err == nil && in.Op == insn.RDTSCP {
			e.Reason, e.Length = virt.ReasonRDTSCP, in.Len
		}
	case e.Reason == virt.ReasonInvalidState:
		// QEMU's TCG exits so for a MOV to CR3 with reserved bits, which raises
		// #GP on a processor. Were VMRUN itself refused here, that #GP could not
		// be delivered, nor what follows from it: it ends in a triple fault.
		if in, err := v.fetch(); err == nil && in.Op == insn.MovToCR && in.Reg == 3 {
			e.Reason, e.Length = virt.ReasonCR, in.Len
			e.CR = virt.CRAccess{CR: 3, Write: true, Op: virt.CRMov, GPR: in.GPR}
		}
	case e.Reason == virt.ReasonCR && e.CR.Op == virt.CROther:
		in, err := v.fetch()
		if err != nil {
			return
		}
		e.Length = in.Len
		switch in.Op {
		case insn.MovToCR, insn.MovFromCR:
			e.CR.Op, e.CR.GPR = virt.CRMov, in.GPR
		case insn.CLTS:
			e.CR.Op = virt.CRClts
		case insn.LMSW:
			if !in.Memory {
				e.CR.Op, e.CR.Value = virt.CRLmsw, *v.ctx.regs.GPR(in.GPR)&0xffff
			}
		}
	}
}

// Skip implements virt.VCPU.
func (v *vcpu) Skip(e *virt.Exit) error {
	r, bits := &v.ctx.regs, v.bits()
	n := e.Length
	if n == 0 {
		n = v.lengths.find(e.Code, r.RIP, v.vmcb.CR3, bits)
	}
	if n == 0 {
		in, err := v.fetch()
		if err != nil {
			return err
		}
		if !matches(e.Reason, in.Op) {
			return fmt.Errorf("%w: at RIP %#x there is another instruction than the one of the exit (%s)", virt.ErrFetch, v.ctx.regs.RIP, e.Reason)
		}
		n = in.Len
		v.lengths.store(e.Code, r.RIP, v.vmcb.CR3, bits, n)
	}
	if e.Code == exitVMMCALL {
		v.ctx.learn(r, v.vmcb.CR3, n, bits)
	}
	r.RIP = virt.Advance(r.RIP, n, bits)
	r.RFLAGS &^= virt.FlagRF
	v.SetShadow(false)
	if r.RFLAGS&virt.FlagTF != 0 {
		v.vmcb.DR6 |= 1 << 14 // BS
		v.clean &^= cleanDR
		return v.pending.Inject(virt.Fault(virt.VectorDB, 0))
	}
	return nil
}

// Dump implements virt.VCPU.
func (v *vcpu) Dump() string {
	var s virt.State
	v.Save(&s)
	s.FPU = nil
	b := v.vmcb
	var w strings.Builder
	fmt.Fprintf(&w, "VMCB %#x exit %#x info %#x %#x intinfo %#x inject %#x asid %d\n", v.ctx.vmcbPA, b.ExitCode, b.ExitInfo1, b.ExitInfo2, b.ExitIntInfo, b.EventInj, b.ASID)
	fmt.Fprintf(&w, "intercepts cr %#x dr %#x exc %#x %#x %#x vintr %#x shadow %d ncr3 %#x clean %#x\n", b.InterceptCR, b.InterceptDR, b.InterceptExc, b.InterceptMisc1, b.InterceptMisc2, b.VIntr, b.IntShadow, b.NCR3, v.clean)
	w.WriteString(s.String())
	return w.String()
}

// Close implements virt.VCPU.
func (v *vcpu) Close() {
	v.m.pages.Free(v.mfns[0], 1)
	v.m.pages.Free(v.mfns[1], 1)
	v.ctx, v.vmcb, v.fpu = nil, nil, nil
}
