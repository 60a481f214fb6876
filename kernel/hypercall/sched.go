package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
)

func schedOp(c *call) int64 {
	cmd, arg := uint32(c.arg[0]), c.arg[1]
	switch cmd {
	case xenabi.SchedOpYield:
		c.wait(Outcome{Kind: Yield})
		return 0
	case xenabi.SchedOpBlock:
		return c.block()
	case xenabi.SchedOpShutdown, xenabi.SchedOpShutdownCode:
		b, ok := c.in(arg, 4)
		if !ok {
			return errno(xenabi.EFAULT)
		}
		reason := binary.LittleEndian.Uint32(b)
		if cmd == xenabi.SchedOpShutdown {
			return c.shutdown(reason)
		}
		if reason > xenabi.ShutdownMax {
			return errno(xenabi.EINVAL)
		}
		if !c.d.LatchReason(reason) {
			return errno(xenabi.EBUSY)
		}
		return 0
	case xenabi.SchedOpPoll:
		return c.poll(arg)
	case xenabi.SchedOpRemoteShutdown:
		var a xenabi.SchedRemoteShutdown
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		if err := c.own(a.DomID); err != nil {
			return xenabi.Result(err)
		}
		return errno(xenabi.EPERM) // oneself is not remote
	case xenabi.SchedOpWatchdog:
		var a xenabi.SchedWatchdog
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		id, err := c.d.Watchdog(a.ID, a.Timeout)
		if err != nil {
			return xenabi.Result(err)
		}
		return int64(id)
	case xenabi.SchedOpPinOverride:
		return errno(xenabi.EPERM)
	}
	return c.unknown("sched_op", uint64(cmd))
}

// schedOpCompat is sched_op as it was before Xen 3.1: the reason of a shutdown
// is in the register.
func schedOpCompat(c *call) int64 {
	switch cmd := uint32(c.arg[0]); cmd {
	case xenabi.SchedOpYield:
		c.wait(Outcome{Kind: Yield})
		return 0
	case xenabi.SchedOpBlock:
		return c.block()
	case xenabi.SchedOpShutdown:
		return c.shutdown(uint32(c.arg[1]))
	default:
		return c.unknown("sched_op_compat", uint64(cmd))
	}
}

// wait is how the vcpu goes on after the call. In a multicall, blocking counts
// more than yielding.
func (c *call) wait(o Outcome) {
	if c.outcome.Kind != Block {
		c.outcome = o
	}
}

func (c *call) block() int64 {
	c.d.Events.UnmaskUpcall(c.v.ID)
	c.wait(Outcome{Kind: Block})
	return 0
}

// shutdown ends the domain; the exit loop sees that it may not go on. A reason
// that is none is a guest gone wrong.
func (c *call) shutdown(reason uint32) int64 {
	if reason > xenabi.ShutdownMax {
		reason = xenabi.ShutdownCrash
	}
	c.d.Shutdown(reason)
	return 0
}

// poll waits for one of some ports. Its structure's words are at 0 and at the
// width; the time is behind them, at the same place after nr_ports' padding.
func (c *call) poll(arg uint64) int64 {
	size, timeout := 24, 16
	if c.w == xenabi.Guest32 {
		size, timeout = 16, 8
	}
	b, ok := c.in(arg, size)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	at := binary.LittleEndian.Uint64(b[timeout:])
	n := binary.LittleEndian.Uint32(b[c.w:])
	ports := binary.LittleEndian.Uint64(b)
	if c.w == xenabi.Guest32 {
		ports = uint64(uint32(ports))
	}
	if n > uint32(len(c.ports)) || c.nested {
		return errno(xenabi.EINVAL)
	}
	if b, ok = c.in(ports, int(4*n)); !ok {
		return errno(xenabi.EFAULT)
	}
	for i := range n {
		c.ports[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	ready, err := c.d.Events.BeginPoll(c.v.ID, c.ports[:n])
	if err != nil {
		return xenabi.Result(err)
	}
	if !ready {
		o := Outcome{Kind: Poll}
		if at != 0 {
			o.At = deadline(at)
		}
		c.wait(o)
	}
	return 0
}
