package svm

import "nidus/kernel/virt/spec"

// barriers does what the processor needs before an entry on a CPU, so that the
// guest learns nothing by speculation from whom ran there before. What is still
// touched between VERW and VMRUN is the guest's own state and addresses of the host.
//
//go:nosplit
func (v *vcpu) barriers(cpu uint64) {
	a := v.m.spec.Enter(cpu, v.maps.domain)
	if a&spec.Barrier != 0 {
		writeMSR(spec.MSRPredCmd, spec.PredIBPB)
	}
	if a&spec.ClearBuffers != 0 {
		clearBuffers()
	}
}
