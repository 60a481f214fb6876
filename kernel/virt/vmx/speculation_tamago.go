//go:build tamago

package vmx

// barriers does what the processor needs before this entry: see svm's. The L1 data
// cache is written back and emptied where L1TF would let the guest read it: entries
// of EPT tables that aren't present could name any frame. (AMD's processors don't
// have that defect.)
//
//go:nosplit
func (v *vcpu) barriers() { v.m.spec.Enter(v.ctx.cpu, v.maps.domain).Do() }
