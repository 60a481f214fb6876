package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// codeSelector is a handler's CS as the guest's kernel has it: 64-bit ones run in the
// flat segment, whatever they name, and 32-bit ones not in ring 0.
func (c *CPU) codeSelector(sel uint16) uint16 {
	if c.Width == xenabi.Guest64 {
		return xenabi.FlatKernelCS64
	}
	if sel&3 == 0 {
		sel |= 1
	}
	return sel
}

// stackSelector does the same for SS.
func (c *CPU) stackSelector(sel uint16) uint16 {
	switch {
	case c.Width == xenabi.Guest64:
		return sel | 3
	case sel&3 == 0:
		return sel | 1
	}
	return sel
}

// address tells whether the guest's kernel can be entered there.
func (c *CPU) address(a uint64) bool { return c.Width == xenabi.Guest32 || virt.Canonical(a) }

// SetTrap sets an entry of the trap table.
func (c *CPU) SetTrap(t *xenabi.TrapInfo) xenabi.Errno {
	if !c.address(t.Address) {
		return xenabi.EINVAL
	}
	c.Traps[t.Vector] = Trap{Address: t.Address, CS: c.codeSelector(t.CS), Flags: t.Flags & (TrapDPL | TrapMaskEvents)}
	return 0
}

// ClearTraps empties the trap table.
func (c *CPU) ClearTraps() { clear(c.Traps[:]) }

// SetStack is the hypercall stack_switch.
func (c *CPU) SetStack(ss uint16, sp uint64) {
	c.KernelSS, c.KernelSP = c.stackSelector(ss), sp
}

// callbackMaskEvents is CALLBACKF_mask_events (callback.h).
const callbackMaskEvents = 1

// Register is CALLBACKOP_register.
func (c *CPU) Register(r *xenabi.CallbackRegister) xenabi.Errno {
	if !c.address(r.Address) {
		return xenabi.EINVAL
	}
	at := Callback{Address: r.Address, CS: c.codeSelector(uint16(r.CS)), MaskEvents: r.Flags&callbackMaskEvents != 0}
	switch r.Type {
	case xenabi.CallbackTypeEvent:
		c.Event = at
	case xenabi.CallbackTypeFailsafe:
		c.Failsafe = at
	case xenabi.CallbackTypeSyscall:
		if c.Width == xenabi.Guest32 {
			return xenabi.ENOSYS
		}
		c.Syscall64 = at
	case xenabi.CallbackTypeSyscall32:
		c.Syscall32 = at
	case xenabi.CallbackTypeSysenter:
		c.Sysenter = at
	case xenabi.CallbackTypeNMI:
		c.Traps[nmiVector] = Trap{Address: at.Address, CS: at.CS, Flags: TrapMaskEvents}
	default:
		return xenabi.ENOSYS
	}
	return 0
}

// Unregister is CALLBACKOP_unregister: of the NMI's alone, without the others a
// guest can't live.
func (c *CPU) Unregister(typ uint16) xenabi.Errno {
	switch typ {
	case xenabi.CallbackTypeNMI:
		c.Traps[nmiVector] = Trap{}
		return 0
	case xenabi.CallbackTypeEvent, xenabi.CallbackTypeFailsafe, xenabi.CallbackTypeSyscall,
		xenabi.CallbackTypeSyscall32, xenabi.CallbackTypeSysenter:
		return xenabi.EINVAL
	}
	return xenabi.ENOSYS
}

// SetIOPL is PHYSDEVOP_set_iopl.
func (c *CPU) SetIOPL(n uint32) xenabi.Errno {
	if n > 3 {
		return xenabi.EINVAL
	}
	c.IOPL = uint8(n)
	return 0
}

// MaxIOPorts is the most ports that an I/O bitmap has.
const MaxIOPorts = 1 << 16

// SetIOBitmap is PHYSDEVOP_set_iobitmap.
func (c *CPU) SetIOBitmap(b *xenabi.PhysdevSetIOBitmap) xenabi.Errno {
	end := b.Bitmap + MaxIOPorts/8
	if b.NrPorts > MaxIOPorts || c.Width == xenabi.Guest64 && !(virt.Canonical(b.Bitmap) && virt.Canonical(end) && outside(b.Bitmap, MaxIOPorts/8)) {
		return xenabi.EINVAL
	}
	c.IOBitmap, c.IOPorts = mm.GuestVirt(b.Bitmap), b.NrPorts
	return 0
}

// outside tells whether n bytes at a are none of the hypervisor's in a 64-bit guest, and
// don't wrap.
func outside(a, n uint64) bool {
	return a+n >= a && (a >= xenabi.HypervisorVirtEnd64 || a+n <= xenabi.HypervisorVirtStart64)
}
