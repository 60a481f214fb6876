package pvh

import "nidus/kernel/hypercall"

// hypercall does a hypercall, and what it leaves for the vcpu's loop.
func (v *vcpu) hypercall() {
	o := hypercall.Handle(v.VCPU)
	if o.Kind == hypercall.Repeat {
		return
	}
	if !v.skip() {
		return
	}
	switch o.Kind {
	case hypercall.Block:
		if !v.hasWork() {
			v.Block(0)
		}
	case hypercall.Yield:
		v.Domain.Host.Thread.Yield()
	}
}
