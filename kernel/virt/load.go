package virt

import "fmt"

// LoadChecked is the part of VCPU.Load that can fail: it gives v, whose events are in p,
// the system registers, the TSC, the FPU and the events of s. The errors are those of Set,
// SetTSC, SetFPU and Pending.Load.
func LoadChecked(v VCPU, p *Pending, s *State) error {
	if s.Version != StateVersion {
		return BadState("state version", uint64(s.Version), fmt.Sprintf("this hypervisor reads %d", StateVersion))
	}
	for r := range NumSysRegs {
		if err := v.Set(r, s.Sys[r]); err != nil {
			return err
		}
	}
	if err := v.SetTSC(s.TSCOffset, s.TSCRatio); err != nil {
		return err
	}
	if err := v.SetFPU(s.FPU); err != nil {
		return err
	}
	return p.Load(s)
}
