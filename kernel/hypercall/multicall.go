package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
)

// Bounds of one go of a multicall: the guest repeats it for the rest.
const (
	multicallBatch = 64
	multicallNanos = 100_000
)

// multicall does a list of hypercalls (xen.h, multicall_entry): op, result and six
// arguments, each a word. An entry is copied before it is done. A call that is
// not finished leaves its new arguments in its entry. SCHEDOP_poll is EINVAL in
// it, and a block happens at the end. iret ends the list.
func multicall(c *call) int64 {
	if c.nested {
		return errno(xenabi.EINVAL)
	}
	list, n := c.arg[0], uint32(c.arg[1])
	c.nested = true
	w, size := uint64(c.w), 8*uint64(c.w)
	began := c.d.Host.Clock.Now()
	for i := uint32(0); i < n; i++ {
		if i == multicallBatch || i > 0 && c.d.Host.Clock.Now()-began > multicallNanos {
			return c.multicallAgain(list, n-i)
		}
		b, ok := c.in(list, int(size))
		if !ok {
			return errno(xenabi.EFAULT)
		}
		c.nr = c.getWord(b)
		for k := range c.arg {
			c.arg[k] = c.getWord(b[(2+uint64(k))*w:])
		}
		res := c.do()
		if c.left { // iret ends the list, and has no result
			return 0
		}
		if c.outcome.Kind == Repeat {
			b := c.buf[:6*w]
			for k, a := range c.arg {
				c.putWord(b[uint64(k)*w:], a)
			}
			if r := c.out(list+2*w, b); r != 0 {
				c.outcome = Outcome{}
				return r
			}
			return c.multicallAgain(list, n-i)
		}
		b = c.buf[:w]
		c.putWord(b, uint64(res))
		if r := c.out(list+w, b); r != 0 {
			return r
		}
		list += size
	}
	return 0
}

func (c *call) multicallAgain(list uint64, n uint32) int64 {
	c.arg[0], c.arg[1] = list, uint64(n)
	return c.again()
}

func (c *call) getWord(b []byte) uint64 {
	if c.w == xenabi.Guest64 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

func (c *call) putWord(b []byte, v uint64) {
	if c.w == xenabi.Guest64 {
		binary.LittleEndian.PutUint64(b, v)
	} else {
		binary.LittleEndian.PutUint32(b, uint32(v))
	}
}
