package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// Syscall brings a process's SYSCALL to its kernel's callback; RIP is behind the
// instruction. compat says that 32-bit code made it. A kernel's own SYSCALL is a
// hypercall and doesn't come here.
func (c *CPU) Syscall(compat bool) error {
	n := entry{at: c.Syscall64}
	// What the processor had there is lost: the kernel gets the flat segments.
	cs, ss := uint16(xenabi.FlatKernelCS64), uint16(xenabi.FlatKernelSS64)
	if compat || c.Width == xenabi.Guest32 {
		n.at = c.Syscall32
		cs = xenabi.FlatCompatCS64
		if c.Width == xenabi.Guest32 {
			cs, ss = xenabi.FlatUserCS32, xenabi.FlatUserSS32
		}
		if n.at.Address == 0 {
			c.M.Regs().RIP -= syscallLen
			return c.Deliver(virt.Fault(virt.VectorUD, 0))
		}
	}
	c.setSelector(virt.CS, cs)
	c.setSelector(virt.SS, ss)
	if err := c.enter(n); err != nil {
		return err
	}
	c.M.Regs().RFLAGS &^= virt.FlagDF
	return nil
}

// syscallLen is the length of SYSCALL, SYSENTER, INT n and ud2.
const syscallLen = 2

// Interrupt delivers INT vector of a process or of the kernel; RIP is behind the
// instruction. The trap table's privilege level decides who may (arch-x86/xen.h):
// denied, nothing has happened.
func (c *CPU) Interrupt(vector uint8) (allowed bool, err error) {
	t := &c.Traps[vector]
	dpl := t.Flags & TrapDPL
	if dpl == 0 || dpl < 3 && !c.Kernel() || t.Address == 0 {
		return false, nil
	}
	return true, c.enter(entry{at: Callback{Address: t.Address, CS: t.CS, MaskEvents: t.Flags&TrapMaskEvents != 0}})
}

// sysenter brings a process's SYSENTER to its kernel. The processor keeps neither
// RIP nor RSP, and no kernel expects them: its processes say where they go on.
func (c *CPU) sysenter() error {
	return c.enter(entry{at: c.Sysenter})
}
