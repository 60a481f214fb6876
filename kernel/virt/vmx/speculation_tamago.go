//go:build tamago

package vmx

import (
	"nidus/kernel/cpu"
	"nidus/kernel/virt/spec"
)

// barriers does what the processor needs before this entry: see svm's. The L1 data
// cache is written back and emptied where L1TF would let the guest read it: entries
// of EPT tables that aren't present could name any frame. (AMD's processors don't
// have that defect.)
//
//go:nosplit
func (v *vcpu) barriers() {
	a := v.m.spec.Enter(&v.m.ran[v.ctx.cpu], v.maps.domain)
	if a&spec.Barrier != 0 {
		cpu.WriteMSR(spec.MSRPredCmd, spec.PredIBPB)
	}
	if a&spec.FlushCache != 0 {
		cpu.WriteMSR(spec.MSRFlushCmd, spec.FlushL1D)
	}
	if a&spec.ClearBuffers != 0 {
		cpu.ClearBuffers()
	}
}
