//go:build tamago

package vmx

import (
	"fmt"
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/mm"
)

// Regs implements virt.VCPU.
func (v *vcpu) Regs() *virt.Regs { return &v.ctx.regs }

// Segment implements virt.VCPU.
func (v *vcpu) Segment(r virt.SegReg) virt.Segment { return v.s.Seg[r] }

// SetSegment implements virt.VCPU.
func (v *vcpu) SetSegment(r virt.SegReg, s virt.Segment) { v.s.Seg[r] = s }

// Get implements virt.VCPU.
func (v *vcpu) Get(r virt.SysReg) uint64 { return v.s.Sys[r] }

// Set implements virt.VCPU.
func (v *vcpu) Set(r virt.SysReg, x uint64) error {
	switch r {
	case virt.XCR0:
		if err := virt.CheckXCR0(x, v.m.features.XCR0); err != nil {
			return err
		}
	case virt.CR0, virt.DR6, virt.DR7, virt.TSCAux, virt.SFMask:
		if x>>32 != 0 {
			return virt.BadState(virt.SysRegNames[r], x, "bits 63:32 are reserved")
		}
	case virt.LSTAR, virt.CSTAR, virt.KernelGSBase: // WRMSR in the host would fault
		if uint64(int64(x)<<16>>16) != x {
			return virt.BadState(virt.SysRegNames[r], x, "not a canonical address")
		}
	}
	v.s.Sys[r] = x
	return nil
}

// SetTSC implements virt.VCPU.
func (v *vcpu) SetTSC(offset, ratio uint64) error {
	if ratio != 1<<32 {
		return virt.BadState("TSC ratio", ratio, "scaling isn't supported on VMX yet")
	}
	v.s.TSCOffset, v.s.TSCRatio = offset, ratio
	return nil
}

// FPUSize implements virt.VCPU.
func (v *vcpu) FPUSize() int { return len(v.fpu) }

// FPU implements virt.VCPU.
func (v *vcpu) FPU(dst []byte) int { return copy(dst, v.fpu) }

// SetFPU implements virt.VCPU.
func (v *vcpu) SetFPU(src []byte) error {
	return virt.SetFPUImage(v.fpu, src, v.m.features.XCR0, 0xffff)
}

// Save implements virt.VCPU.
func (v *vcpu) Save(s *virt.State) {
	*s = v.s
	s.Version, s.Regs = virt.StateVersion, v.ctx.regs
	s.FPU = append([]byte(nil), v.fpu...)
	v.pending.Save(s)
}

// Load implements virt.VCPU.
func (v *vcpu) Load(s *virt.State) error {
	if err := virt.LoadChecked(v, &v.pending, s); err != nil {
		return err
	}
	v.ctx.regs, v.s.Seg, v.s.Shadow, v.s.NMIMasked = s.Regs, s.Seg, s.Shadow, s.NMIMasked
	return nil
}

// SetNestedRoot implements virt.VCPU.
func (v *vcpu) SetNestedRoot(root mm.MFN) { v.cfg.NestedRoot = root }

// SetIntercept implements virt.VCPU.
func (v *vcpu) SetIntercept(i virt.Intercept) { v.cfg.Intercept = i }

// SetExceptions implements virt.VCPU.
func (v *vcpu) SetExceptions(mask uint32) { v.cfg.Exceptions = mask }

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
func (v *vcpu) NMIAllowed() bool { return !v.s.NMIMasked && !v.s.Shadow && v.pending.Empty() }

// RequestInterruptWindow implements virt.VCPU.
func (v *vcpu) RequestInterruptWindow(on bool) { v.window = on }

// Offer implements virt.VCPU: an interrupt is delivered at an entry, and only then.
func (v *vcpu) Offer(uint8) bool { return false }

// RequestNMIWindow implements virt.VCPU. It has no effect yet.
func (v *vcpu) RequestNMIWindow(on bool) { v.nmiWindow = on }

// Shadow implements virt.VCPU.
func (v *vcpu) Shadow() bool { return v.s.Shadow }

// SetShadow implements virt.VCPU.
func (v *vcpu) SetShadow(on bool) { v.s.Shadow = on }

// Skip implements virt.VCPU.
func (v *vcpu) Skip(e *virt.Exit) error {
	if e.Length == 0 {
		return fmt.Errorf("%w: the processor gave no length", virt.ErrFetch)
	}
	r := &v.ctx.regs
	r.RIP = virt.Advance(r.RIP, e.Length, virt.Bits(v.s.Sys[virt.EFER], v.s.Seg[virt.CS]))
	r.RFLAGS &^= virt.FlagRF
	v.s.Shadow = false
	if r.RFLAGS&virt.FlagTF != 0 {
		v.s.Sys[virt.DR6] |= 1 << 14
		return v.pending.Inject(virt.Fault(virt.VectorDB, 0))
	}
	return nil
}

// KickSoon implements virt.VCPU: no emulator has VMX.
func (v *vcpu) KickSoon() { v.Kick() }

// KickWord implements virt.VCPU.
func (v *vcpu) KickWord() *uint32 { return &v.ctx.kick }

// Kick implements virt.VCPU.
func (v *vcpu) Kick() {
	atomic.StoreUint32(&v.ctx.kick, 1)
	v.notify()
}

// RequestFlush implements virt.VCPU.
func (v *vcpu) RequestFlush() {
	atomic.StoreUint32(&v.ctx.flush, 1)
	v.notify()
}

// FlushPending implements virt.VCPU.
func (v *vcpu) FlushPending() bool {
	return atomic.LoadUint32(&v.ctx.flush) != 0 && atomic.LoadUint32(&v.ctx.running) != 0
}

func (v *vcpu) notify() {
	if atomic.LoadUint32(&v.ctx.running) != 0 && v.cfg.Notify != nil {
		v.cfg.Notify(atomic.LoadUint64(&v.ctx.cpu))
	}
}

// Dump implements virt.VCPU.
func (v *vcpu) Dump() string {
	var s virt.State
	v.Save(&s)
	return fmt.Sprintf("VMCS %#x exit %+v\n%s", v.mfns[0]<<mm.PageShift, v.x, s.String())
}

// Close implements virt.VCPU.
func (v *vcpu) Close() {
	v.m.pages.Free(v.mfns[0], 1)
	v.m.pages.Free(v.mfns[1], 1)
	v.ctx, v.fpu = nil, nil
}
