package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// place does one frame of XENMEM_add_to_physmap.
func (c *call) place(space uint32, idx uint64, g mm.GFN) int64 {
	switch space {
	case xenabi.MapSpaceSharedInfo:
		if idx != 0 {
			return errno(xenabi.EINVAL)
		}
		return memErr(c.d.Space.AddSpecial(g, c.d.SharedInfo()))
	case xenabi.MapSpaceGrantTable:
		m, err := c.d.Grants.FrameForIndex(idx)
		if err != nil {
			return memErr(err)
		}
		return memErr(c.d.Space.AddSpecial(g, m))
	case xenabi.MapSpaceGMFN, xenabi.MapSpaceGMFNRange:
		return memErr(c.d.Space.Move(mm.GFN(idx), g))
	case xenabi.MapSpaceGMFNForeign:
		return errno(xenabi.EPERM)
	}
	return errno(xenabi.EINVAL)
}

func (c *call) addToPhysmap() int64 {
	var a xenabi.AddToPhysmap
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	if err := c.own(a.DomID); err != nil {
		return xenabi.Result(err)
	}
	switch {
	case a.Space == xenabi.MapSpaceGMFNForeign: // only in batches (memory.h)
		return errno(xenabi.ENOSYS)
	case a.Space != xenabi.MapSpaceGMFNRange:
		return c.place(a.Space, a.Idx, mm.GFN(a.GPFN))
	}
	start := c.memStart()
	if start > uint64(a.Nr) {
		return errno(xenabi.EINVAL)
	}
	end := min(uint64(a.Nr), start+memBatch)
	for i := start; i < end; i++ {
		if r := c.place(a.Space, a.Idx+i, mm.GFN(a.GPFN+i)); r != 0 {
			return r
		}
	}
	if end < uint64(a.Nr) {
		return c.memAgain(end)
	}
	return 0
}

func (c *call) addToPhysmapBatch() int64 {
	var a xenabi.AddToPhysmapBatch
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	if err := c.own(a.DomID); err != nil {
		return xenabi.Result(err)
	}
	switch a.Space {
	case xenabi.MapSpaceGMFNForeign:
		return errno(xenabi.EPERM)
	case xenabi.MapSpaceGMFNRange:
		return errno(xenabi.EINVAL)
	}
	start := c.memStart()
	if start > uint64(a.Nr) {
		return errno(xenabi.EINVAL)
	}
	end := min(uint64(a.Nr), start+memBatch)
	for i := start; i < end; i++ {
		idx, ok := c.word(a.Idxs, i)
		gpfn, ok2 := c.word(a.GPFNs, i)
		if !ok || !ok2 {
			return errno(xenabi.EFAULT)
		}
		r := c.place(uint32(a.Space), idx, mm.GFN(gpfn))
		if c.out(a.Errs+4*i, binary.LittleEndian.AppendUint32(c.buf[:0], uint32(r))) != 0 {
			return errno(xenabi.EFAULT)
		}
	}
	if end < uint64(a.Nr) {
		return c.memAgain(end)
	}
	return 0
}

// word reads entry i of a guest's array of words.
func (c *call) word(a, i uint64) (uint64, bool) {
	b, ok := c.in(a+i*uint64(c.w), int(c.w))
	if c.w == xenabi.Guest64 {
		return binary.LittleEndian.Uint64(b), ok
	}
	return uint64(binary.LittleEndian.Uint32(b)), ok
}

func (c *call) removeFromPhysmap() int64 {
	var a xenabi.RemoveFromPhysmap
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	if err := c.own(a.DomID); err != nil {
		return xenabi.Result(err)
	}
	if c.d.Space.P2M().Lookup(mm.GFN(a.GPFN)).Type == mm.TypeNone {
		return errno(xenabi.ENOENT)
	}
	return memErr(c.d.Space.RemoveFromPhysmap(mm.GFN(a.GPFN)))
}
