package hypercall

import (
	"math"

	"nidus/kernel/xenabi"
)

// consoleIO is the emergency console: what is written goes to whoever reads the
// guest's output, and nothing comes in.
func consoleIO(c *call) int64 {
	cmd, count, arg := uint32(c.arg[0]), uint32(c.arg[1]), c.arg[2]
	switch {
	case cmd > xenabi.ConsoleIORead:
		return c.unknown("console_io", uint64(cmd))
	case count > math.MaxInt32:
		return errno(xenabi.EINVAL)
	case cmd == xenabi.ConsoleIORead:
		return 0
	}
	b, ok := c.in(arg, int(min(count, uint32(len(c.buf)))))
	if !ok {
		return errno(xenabi.EFAULT)
	}
	_, _ = c.d.Emergency.Write(b) // it never fails
	if left := count - uint32(len(b)); left != 0 {
		c.arg[1], c.arg[2] = uint64(left), arg+uint64(len(b))
		return c.again()
	}
	return 0
}

// setTimerOp sets the one-shot timer; 32-bit guests pass the time in two
// registers.
func setTimerOp(c *call) int64 {
	at := c.arg[0]
	if c.w == xenabi.Guest32 {
		at |= c.arg[1] << 32
	}
	if at == 0 {
		c.v.SetSingleshot(0)
	} else {
		c.v.SetSingleshot(deadline(at))
	}
	return 0
}

// vmAssist: the one assistance for guests in hardware containers, the flag in the
// runstate's time, is always on.
func vmAssist(c *call) int64 {
	cmd, typ := uint32(c.arg[0]), uint32(c.arg[1])
	switch {
	case typ != xenabi.VMAssistTypeRunstateUpdateFlag:
		return errno(xenabi.EINVAL)
	case cmd > xenabi.VMAssistCmdDisable:
		return errno(xenabi.ENOSYS)
	}
	return 0
}

// Commands of nmi_op (nmi.h).
const (
	nmiRegisterCallback   = 0
	nmiUnregisterCallback = 1
)

// nmiOp: only the control domain can have a callback (nmi.h).
func nmiOp(c *call) int64 {
	switch cmd := uint32(c.arg[0]); cmd {
	case nmiRegisterCallback:
		return errno(xenabi.EINVAL)
	case nmiUnregisterCallback:
		return 0
	default:
		return c.unknown("nmi_op", uint64(cmd))
	}
}
