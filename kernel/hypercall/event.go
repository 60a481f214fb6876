package hypercall

import (
	"nidus/kernel/evtchn"
	"nidus/kernel/xenabi"
)

func eventChannelOp(c *call) int64 {
	cmd := uint32(c.arg[0])
	size, answers, ok := evtchn.ArgSize(cmd)
	if !ok {
		return c.unknown("event_channel_op", uint64(cmd))
	}
	b, ok := c.in(c.arg[1], size)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	if err := c.d.Events.Hypercall(cmd, b); err != nil {
		return xenabi.Result(err)
	}
	if answers {
		return c.out(c.arg[1], b)
	}
	return 0
}
