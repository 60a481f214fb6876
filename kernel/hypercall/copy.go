package hypercall

import (
	"errors"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// in reads n bytes of guest memory into the call's buffer.
func (c *call) in(a uint64, n int) ([]byte, bool) {
	b := c.buf[:n]
	return b, c.v.CopyIn(mm.GuestVirt(a), b) == nil
}

// out writes to guest memory: 0 or -EFAULT.
func (c *call) out(a uint64, b []byte) int64 {
	if c.v.CopyOut(mm.GuestVirt(a), b) != nil {
		return errno(xenabi.EFAULT)
	}
	return 0
}

// read fills s from guest memory, in the layout of the calling code.
func (c *call) read(a uint64, s xenabi.Struct) bool {
	b, ok := c.in(a, c.codec.Size(c.w, s))
	return ok && c.codec.Decode(c.w, b, s)
}

// write puts s into guest memory.
func (c *call) write(a uint64, s xenabi.Struct) int64 {
	b := c.buf[:c.codec.Size(c.w, s)]
	clear(b)
	c.codec.Encode(c.w, b, s)
	return c.out(a, b)
}

// own tells whether a domain's number that a guest passed means itself: nil, or
// ESRCH for none, EPERM for another.
func (c *call) own(id uint16) error {
	switch {
	case mm.DomID(id) == mm.DomIDSelf || mm.DomID(id) == c.d.ID:
		return nil
	case c.d.Host.Hub.Domain(mm.DomID(id)) == nil:
		return xenabi.ESRCH
	}
	return xenabi.EPERM
}

// again ends the call with the rest still to be done: c.arg says what.
func (c *call) again() int64 {
	c.outcome.Kind = Repeat
	return 0
}

// memErr makes a number of an error of package mm.
func memErr(err error) int64 {
	for _, e := range [...]struct {
		is error
		n  xenabi.Errno
	}{
		{mm.ErrQuota, xenabi.ENOMEM}, {mm.ErrNoMemory, xenabi.ENOMEM}, {mm.ErrNoTables, xenabi.ENOMEM},
		{mm.ErrBusy, xenabi.EBUSY}, {mm.ErrOccupied, xenabi.EEXIST},
	} {
		if errors.Is(err, e.is) {
			return errno(e.n)
		}
	}
	return xenabi.Result(err)
}
