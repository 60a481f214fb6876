package hypercall

import (
	"encoding/binary"

	"nidus/kernel/evtchn"
	"nidus/kernel/xenabi"
)

func eventChannelOp(c *call) int64 {
	return c.eventOp(uint32(c.arg[0]), c.arg[1])
}

// eventChannelOpCompat is event_channel_op as it was before Xen 3.0.2: the operation is the
// first word of the structure (event_channel.h, struct evtchn_op), and there are only those
// of that time.
func eventChannelOpCompat(c *call) int64 {
	b, ok := c.in(c.arg[0], 4)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	cmd := binary.LittleEndian.Uint32(b)
	if cmd > xenabi.EvtchnOpUnmask {
		return c.unknown("event_channel_op_compat", uint64(cmd))
	}
	return c.eventOp(cmd, c.arg[0]+4)
}

// eventOp does operation cmd with the structure at arg.
func (c *call) eventOp(cmd uint32, arg uint64) int64 {
	size, answers, ok := evtchn.ArgSize(cmd)
	if !ok {
		return c.unknown("event_channel_op", uint64(cmd))
	}
	b, ok := c.in(arg, size)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	if err := c.d.Events.Hypercall(cmd, b); err != nil {
		return xenabi.Result(err)
	}
	if answers {
		return c.out(arg, b)
	}
	return 0
}
