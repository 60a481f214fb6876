package svm

import "nidus/kernel/virt"

// Save implements virt.VCPU. It uses s.FPU's memory if that is large enough.
func (v *vcpu) Save(s *virt.State) {
	fpu := s.FPU
	if cap(fpu) < len(v.fpu) {
		fpu = make([]byte, len(v.fpu))
	}
	fpu = fpu[:len(v.fpu)]
	copy(fpu, v.fpu)
	*s = virt.State{
		Version:   virt.StateVersion,
		Shadow:    v.Shadow(),
		NMIMasked: v.nmiMasked,
		Regs:      v.ctx.regs,
		TSCOffset: v.vmcb.TSCOffset,
		TSCRatio:  v.tscRatio,
		FPU:       fpu,
	}
	v.pending.Save(s)
	for r := range virt.NumSegRegs {
		s.Seg[r] = v.Segment(r)
	}
	for r := range virt.NumSysRegs {
		s.Sys[r] = v.Get(r)
	}
}

// Load implements virt.VCPU.
func (v *vcpu) Load(s *virt.State) error {
	if err := virt.LoadChecked(v, &v.pending, s); err != nil {
		return err
	}
	for r := range virt.NumSegRegs {
		v.SetSegment(r, s.Seg[r])
	}
	v.ctx.regs = s.Regs
	v.SetShadow(s.Shadow)
	v.unmaskNMI()
	if s.NMIMasked {
		v.maskNMI()
	}
	v.tag = tag{}
	return nil
}
