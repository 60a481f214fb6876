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
	done, next, err := c.grants.Hypercall(c.d.Grants, c.w, cmd, c.v, mm.GuestVirt(arg), count)
	switch {
	case err == xenabi.ENOSYS:
		return c.unknown("grant_table_op", uint64(cmd))
	case err != nil:
		return xenabi.Result(err)
	case done < count:
		c.arg[1], c.arg[2] = uint64(next), uint64(count-done)
		return c.again()
	}
	return 0
}
