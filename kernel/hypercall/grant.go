package hypercall

import (
	"math"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

func grantTableOp(c *call) int64 {
	cmd, arg, count := uint32(c.arg[0]), c.arg[1], uint32(c.arg[2])
	if count > math.MaxInt32 {
		return errno(xenabi.EINVAL)
	}
	done, err := c.d.Grants.Hypercall(c.w, cmd, c.v, mm.GuestVirt(arg), count)
	switch {
	case err == xenabi.ENOSYS:
		return c.unknown("grant_table_op", uint64(cmd))
	case err != nil:
		return xenabi.Result(err)
	case done < count:
		c.arg[1] = arg + uint64(done)*uint64(grantArgSize(c.w, cmd))
		c.arg[2] = uint64(count - done)
		return c.again()
	}
	return 0
}

// grantArgSize is the size of the structure of an operation that takes several.
func grantArgSize(w xenabi.Width, cmd uint32) int {
	var s xenabi.Struct
	switch cmd {
	case xenabi.GnttabOpMapGrantRef:
		s = new(xenabi.GnttabMapGrantRef)
	case xenabi.GnttabOpUnmapGrantRef:
		s = new(xenabi.GnttabUnmapGrantRef)
	case xenabi.GnttabOpUnmapAndReplace:
		s = new(xenabi.GnttabUnmapAndReplace)
	case xenabi.GnttabOpCopy:
		s = new(xenabi.GnttabCopy)
	case xenabi.GnttabOpTransfer:
		s = new(xenabi.GnttabTransfer)
	case xenabi.GnttabOpSwapGrantRef:
		s = new(xenabi.GnttabSwapGrantRef)
	case xenabi.GnttabOpCacheFlush:
		s = new(xenabi.GnttabCacheFlush)
	default: // one at a time: there is no rest
		return 0
	}
	return xenabi.Size(w, s)
}
