package domain

import (
	"nidus/kernel/console"
	"nidus/kernel/machine/mca"
)

// MachineCheck does what the hardware's word asks for, while v ran, that memory or a
// processor is damaged: the domain ends if it can't go on.
func (v *VCPU) MachineCheck() {
	h := v.Domain.Host
	h.Log.Printf(console.LevelError, "machine check while d%dv%d ran", v.Domain.ID, v.ID)
	if h.MachineCheck != nil && h.MachineCheck(v.Domain.ID) != mca.GoOn {
		v.Domain.Crash(v, "the hardware reports damaged memory that it used; replace the memory, or find it with memtest86+")
	}
}
