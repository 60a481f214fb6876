package pvcpu

import (
	"errors"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Iret is the hypercall iret: the guest's kernel goes back to what its stack says.
// All registers are the guest's new ones afterwards: the caller must not store a
// result.
func (c *CPU) Iret() error {
	if c.Width == xenabi.Guest32 {
		return c.iret32()
	}
	// rax, r11, rcx, flags, rip, cs, rflags, rsp, ss (struct iret_context)
	b := c.frame[:9*8]
	r := c.M.Regs()
	if c.M.CopyIn(mm.GuestVirt(r.RSP), b) != nil {
		return fmt.Errorf("iret with a stack at %#x that can't be read", r.RSP)
	}
	cs, flags := uint16(get(b, 5)), get(b, 6)
	if cs&3 == 3 {
		if c.UserRoot == 0 {
			return errors.New("iret to a process, and the guest's kernel has set no page tables for it")
		}
		c.ToggleMode()
	}
	r.RAX, r.RIP, r.RSP = get(b, 0), get(b, 4), get(b, 7)
	r.RFLAGS = flags&pv.FlagsIret | virt.FlagIF | virt.FlagFixed
	ss := uint16(get(b, 8)) | 3
	cs |= 3
	if get(b, 3)&pv.InSyscall != 0 { // as SYSRET leaves them
		cs, ss = xenabi.FlatKernelCS64, xenabi.FlatKernelSS64
		r.RCX, r.R11 = r.RIP, r.RFLAGS
	} else {
		r.R11, r.RCX = get(b, 1), get(b, 2)
	}
	c.setSelector(virt.CS, cs)
	c.setSelector(virt.SS, ss)
	c.returned(flags)
	if !virt.Canonical(r.RIP) {
		return c.BadEntry()
	}
	return nil
}

// returned takes over what of the flags is virtual.
func (c *CPU) returned(flags uint64) {
	if c.assists(xenabi.VMAssistTypeArchitecturalIOPL) {
		c.IOPL = uint8(flags >> virt.FlagIOPLShift & 3)
	}
	c.NMIMasked = false
	c.M.SetUpcallMask(flags&virt.FlagIF == 0)
}
