package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/pv/pvcpu"
)

// setTrapTable reads a list of traps up to one at address 0; no list empties the table
// (arch-x86/xen.h).
func setTrapTable(c *call) int64 {
	list := c.arg[0]
	if list == 0 {
		c.v.PV.ClearTraps()
		return 0
	}
	const batch = 64
	var t xenabi.TrapInfo
	for range batch {
		if !c.read(list, &t) {
			return errno(xenabi.EFAULT)
		}
		if t.Address == 0 {
			return 0
		}
		if e := c.v.PV.SetTrap(&t); e != 0 {
			return errno(e)
		}
		list += uint64(xenabi.Size(c.w, &t))
	}
	c.arg[0] = list
	return c.again()
}

func setGDT(c *call) int64 {
	list, entries := c.arg[0], uint32(c.arg[1])
	if entries > pvcpu.MaxGDTEntries {
		return errno(xenabi.EINVAL)
	}
	var frames [pvcpu.GDTFrames]mm.MFN
	n := pvcpu.GDTPages(entries)
	for i := range n {
		m, ok := c.word(list, uint64(i))
		if !ok {
			return errno(xenabi.EFAULT)
		}
		frames[i] = mm.MFN(m)
	}
	return xenabi.Result(c.v.PV.M.SetGDT(frames[:n], entries))
}

func stackSwitch(c *call) int64 {
	c.v.PV.SetStack(uint16(c.arg[0]), c.arg[1])
	return 0
}

// setCallbacks is callback_op for the callbacks that there were before it.
func setCallbacks(c *call) int64 {
	regs := [...]xenabi.CallbackRegister{
		{Type: xenabi.CallbackTypeEvent, Address: c.arg[0]},
		{Type: xenabi.CallbackTypeFailsafe, Address: c.arg[1]},
		{Type: xenabi.CallbackTypeSyscall, Address: c.arg[2]},
	}
	n := len(regs)
	if c.w == xenabi.Guest32 {
		n = 2
		regs[0].CS, regs[0].Address, regs[1].CS, regs[1].Address = c.arg[0], c.arg[1], c.arg[2], c.arg[3]
	}
	for i := range regs[:n] {
		if e := c.v.PV.Register(&regs[i]); e != 0 {
			return errno(e)
		}
	}
	return 0
}

func callbackOp(c *call) int64 {
	cmd, arg := uint32(c.arg[0]), c.arg[1]
	switch cmd {
	case xenabi.CallbackOpRegister:
		var a xenabi.CallbackRegister
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		return errno(c.v.PV.Register(&a))
	case xenabi.CallbackOpUnregister:
		b, ok := c.in(arg, 4) // type, unused
		if !ok {
			return errno(xenabi.EFAULT)
		}
		return errno(c.v.PV.Unregister(binary.LittleEndian.Uint16(b)))
	}
	return c.unknown("callback_op", uint64(cmd))
}

func fpuTaskswitch(c *call) int64 {
	c.v.PV.FPUTaskswitch(uint32(c.arg[0]) != 0)
	return 0
}

func setDebugreg(c *call) int64 {
	return errno(c.v.PV.SetDebugReg(uint32(c.arg[0]), c.arg[1]))
}

func getDebugreg(c *call) int64 {
	v, e := c.v.PV.GetDebugReg(uint32(c.arg[0]))
	if e != 0 {
		return errno(e)
	}
	return int64(v)
}

func setSegmentBase(c *call) int64 {
	return errno(c.v.PV.SetSegmentBase(uint32(c.arg[0]), c.arg[1]))
}

// iret leaves the guest's kernel: there is no result, and nothing to come back to.
func iret(c *call) int64 {
	c.left = true
	if err := c.v.PV.Iret(); err != nil {
		c.d.Crash(c.v, err.Error())
	}
	return 0
}

// assists are the vm_assist types of PV guests.
const assists = 1<<xenabi.VMAssistType4GBSegments | 1<<xenabi.VMAssistType4GBSegmentsNotify |
	1<<xenabi.VMAssistTypeWritablePagetables | 1<<xenabi.VMAssistTypePAEExtendedCR3 |
	1<<xenabi.VMAssistTypeArchitecturalIOPL | 1<<xenabi.VMAssistTypeRunstateUpdateFlag

// pvAssist: what a type does is with who does it. Segments of 4 GB need no help where
// the hypervisor is out of 32-bit code's reach, and the flag in the runstate's time is
// always on.
func pvAssist(c *call) int64 {
	cmd, typ := uint32(c.arg[0]), uint32(c.arg[1])
	valid := uint64(assists)
	if c.w == xenabi.Guest64 {
		valid |= 1 << xenabi.VMAssistTypeM2PStrict
	}
	if typ >= 64 || valid>>typ&1 == 0 {
		return errno(xenabi.EINVAL)
	}
	switch cmd {
	case xenabi.VMAssistCmdEnable:
		c.v.PV.Assist.Or(1 << typ)
	case xenabi.VMAssistCmdDisable:
		c.v.PV.Assist.And(^uint64(1 << typ))
	default:
		return errno(xenabi.ENOSYS)
	}
	return 0
}

// pvNMIOp is callback_op for the NMI, as it was before (nmi.h).
func pvNMIOp(c *call) int64 {
	switch cmd := uint32(c.arg[0]); cmd {
	case nmiRegisterCallback:
		at, ok := c.word(c.arg[1], 0) // handler_address, pad
		if !ok {
			return errno(xenabi.EFAULT)
		}
		return errno(c.v.PV.Register(&xenabi.CallbackRegister{Type: xenabi.CallbackTypeNMI, Address: at, CS: xenabi.FlatKernelCS32}))
	case nmiUnregisterCallback:
		return errno(c.v.PV.Unregister(xenabi.CallbackTypeNMI))
	default:
		return c.unknown("nmi_op", uint64(cmd))
	}
}
