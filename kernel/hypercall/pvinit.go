package hypercall

import (
	"nidus/kernel/domain"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// initialisePV is VCPUOP_initialise of PV guests (arch-x86/xen.h, vcpu_guest_context):
// the state that a vcpu starts in, with its page tables and its GDT.
func (c *call) initialisePV(v *domain.VCPU, arg uint64) int64 {
	g := new(xenabi.VCPUGuestContext)
	b := make([]byte, xenabi.Size(c.w, g))
	if c.v.CopyIn(mm.GuestVirt(arg), b) != nil || !xenabi.Decode(c.w, b, g) {
		return errno(xenabi.EFAULT)
	}
	if e := v.PV.CheckContext(g); e != 0 {
		return errno(e)
	}
	if !v.BeginPVBoot() {
		return errno(xenabi.EEXIST)
	}
	if err := v.PV.Prepare(g); err != nil {
		v.EndPVBoot(nil)
		return xenabi.Result(err)
	}
	v.EndPVBoot(g)
	return 0
}
