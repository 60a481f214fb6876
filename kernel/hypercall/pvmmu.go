package hypercall

import (
	"encoding/binary"
	"errors"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// mmuPreempted in the count of mmu_update and mmuext_op says that the call is repeated for
// its rest, and that the number of those that are done is in *pdone already (Xen's
// MMU_UPDATE_PREEMPTED).
const mmuPreempted = 1 << 31

// Bounds of one go of such a call.
const (
	mmuBatch = 512
	mmuNanos = 100_000
)

// mmuErr makes a number of an error of package pvmmu.
func mmuErr(err error) int64 {
	switch err {
	case nil:
		return 0
	case pvmmu.ErrUnsupported:
		return errno(xenabi.ENOSYS)
	case pvmmu.ErrProtected:
		return errno(xenabi.EBUSY)
	case pvmmu.ErrMachine:
		return errno(xenabi.EPERM)
	case pvmmu.ErrFrame, pvmmu.ErrType, pvmmu.ErrEntry, pvmmu.ErrLeak, pvmmu.ErrSlot, pvmmu.ErrLinear, pvmmu.ErrState,
		pvmmu.ErrArgument, pvmmu.ErrCount, pvmmu.ErrAddress, pvmmu.ErrDescriptor:
		return errno(xenabi.EINVAL)
	case pvmmu.ErrAgain:
		return errno(xenabi.EAGAIN)
	}
	if errors.Is(err, mm.ErrNoMemory) {
		return errno(xenabi.ENOMEM)
	}
	return xenabi.Result(err)
}

// mmuList is a call with a list of requests, of which the guest learns how many were done.
type mmuList struct {
	list, pdone uint64
	n, done     uint32
	began       int64 // when tired looked first; most lists are short
}

// beginList reads the arguments that mmu_update and mmuext_op have in common: the list, its
// length, where the number of those done goes, and whose frames are meant, which can be the
// domain's own only.
func (c *call) beginList() (l mmuList, res int64) {
	l = mmuList{list: c.arg[0], n: uint32(c.arg[1]), pdone: c.arg[2]}
	if l.n&mmuPreempted != 0 {
		l.n &^= mmuPreempted
		if l.pdone != 0 {
			b, ok := c.in(l.pdone, 4)
			if !ok {
				return l, errno(xenabi.EFAULT)
			}
			l.done = binary.LittleEndian.Uint32(b)
		}
	}
	// The low half is the owner of the pages, the high one that of the tables, plus 1.
	fd := uint32(c.arg[3])
	if r := c.mmuOwner(uint16(fd)); r != 0 {
		return l, r
	}
	if pt := uint16(fd >> 16); pt != 0 {
		return l, c.mmuOwner(pt - 1)
	}
	return l, 0
}

// mmuOwner refuses what is not the domain's own: no guest may map another's memory, or the
// machine's, but by a grant.
func (c *call) mmuOwner(id uint16) int64 {
	switch mm.DomID(id) {
	case mm.DomIDIO:
		return errno(xenabi.EINVAL) // there is nothing to map
	case mm.DomIDXen:
		return errno(xenabi.EPERM)
	}
	if err := c.own(id); err != nil {
		return xenabi.Result(err)
	}
	return 0
}

// step notes one request as done, of size bytes.
func (l *mmuList) step(size uint64) {
	l.list += size
	l.n--
	l.done++
}

// tired tells whether the call has to let others run, after its first i requests.
func (c *call) tired(l *mmuList, i int) bool {
	if i >= mmuBatch || i == 0 || i&63 != 0 {
		return i >= mmuBatch
	}
	now := c.d.Host.Clock.Now()
	if l.began == 0 {
		l.began = now
	}
	return now-l.began > mmuNanos
}

// endList ends the call with a result, or lets the guest repeat it for the rest.
func (c *call) endList(l *mmuList, res int64, again bool) int64 {
	if !again && c.v.MMU.Domain().Pending() != nil {
		// A failed one stays where it is: it fails again.
		again = true
	}
	if l.pdone != 0 {
		b := c.buf[:4]
		binary.LittleEndian.PutUint32(b, l.done)
		if r := c.out(l.pdone, b); r != 0 {
			return r
		}
	}
	if again {
		c.arg[0], c.arg[1] = l.list, uint64(l.n|mmuPreempted)
		return c.again()
	}
	return res
}

// mmuUpdate changes entries of page tables (xen.h, mmu_update).
func mmuUpdate(c *call) int64 {
	l, res := c.beginList()
	if res != 0 {
		return res
	}
	const size = 16
	for i := 0; l.n > 0; {
		if c.tired(&l, i) {
			return c.endList(&l, 0, true)
		}
		// As many as fit at once; one, if there is no memory behind the others.
		n := min(int(l.n), len(c.buf)/size)
		b, ok := c.in(l.list, n*size)
		if !ok {
			if b, ok = c.in(l.list, size); !ok {
				return c.endList(&l, errno(xenabi.EFAULT), false)
			}
		}
		for ; len(b) > 0; b = b[size:] {
			err := c.v.MMU.Update(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]))
			if err != nil {
				return c.endList(&l, mmuErr(err), err == pvmmu.ErrAgain)
			}
			l.step(size)
			i++
		}
	}
	return c.endList(&l, 0, false)
}

// updateVAMapping changes the entry for a virtual address, and flushes. A 32-bit guest
// passes the entry in two registers.
func updateVAMapping(c *call) int64 { return c.updateVA(2) }

// updateVAMappingOtherdomain is that for a page of another domain, which is the same one.
func updateVAMappingOtherdomain(c *call) int64 {
	at := 3
	if c.w == xenabi.Guest32 {
		at = 4
	}
	if r := c.mmuOwner(uint16(c.arg[at])); r != 0 {
		return r
	}
	return c.updateVA(2)
}

// updateVA does it; the flags are argument f, or the next in a 32-bit guest.
func (c *call) updateVA(f int) int64 {
	val := c.arg[1]
	if c.w == xenabi.Guest32 {
		val |= c.arg[2] << 32
		f++
	}
	va, flags := mm.GuestVirt(c.arg[0]), c.arg[f]
	err := c.v.MMU.UpdateVA(va, val)
	if err == pvmmu.ErrAgain {
		return c.again()
	}
	if r := c.flushVA(va, flags); r != 0 {
		return r
	}
	return mmuErr(err)
}

// flushVA does what the flags of update_va_mapping say.
func (c *call) flushVA(va mm.GuestVirt, flags uint64) int64 {
	kind := flags & xenabi.UVMFFlushtypeMask
	if kind == xenabi.UVMFNone {
		return 0
	}
	m := c.v.MMU
	var set pvmmu.CPUSet
	switch where := flags &^ xenabi.UVMFFlushtypeMask; where {
	case xenabi.UVMFLocal:
		set = m.LocalSet()
	case xenabi.UVMFAll:
		set = m.AllSet()
	default:
		var ok bool
		if set, ok = c.cpuSet(where); !ok {
			return errno(xenabi.EFAULT)
		}
	}
	switch kind {
	case xenabi.UVMFTLBFlush:
		m.FlushSet(set)
	case xenabi.UVMFInvlpg:
		m.FlushPage(set, va)
	}
	return 0
}

// updateDescriptor writes a segment descriptor at a machine address; a 32-bit guest passes
// each in two registers.
func updateDescriptor(c *call) int64 {
	ptr, desc := c.arg[0], c.arg[1]
	if c.w == xenabi.Guest32 {
		ptr, desc = c.arg[0]|c.arg[1]<<32, c.arg[2]|c.arg[3]<<32
	}
	return mmuErr(c.v.MMU.Domain().UpdateDescriptor(ptr, desc))
}

// cpuSet reads a bitmap of the domain's vcpus.
func (c *call) cpuSet(a uint64) (s pvmmu.CPUSet, ok bool) {
	n := (min(len(c.d.VCPUs), 8*8*len(s)) + 7) / 8
	b, ok := c.in(a, n)
	for i, x := range b {
		s[i/8] |= uint64(x) << (i % 8 * 8)
	}
	return s, ok
}
