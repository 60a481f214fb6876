package pvh

import (
	"nidus/kernel/hypercall"
	"nidus/kernel/virt"
)

// hypercall does a hypercall, and what it leaves for the vcpu's loop.
func (v *vcpu) hypercall() {
	o := hypercall.Handle(v.VCPU)
	if o.Kind == hypercall.Repeat || !v.skip() {
		return
	}
	switch o.Kind {
	case hypercall.Block:
		if !v.hasWork() {
			v.Block(0)
		}
	case hypercall.Poll:
		if v.HV.Regs().RFLAGS&virt.FlagIF == 0 || !v.hasWork() {
			v.Block(o.At)
		}
		o.End(v.VCPU)
	case hypercall.Yield:
		v.Domain.Host.Thread.Yield()
	}
}
