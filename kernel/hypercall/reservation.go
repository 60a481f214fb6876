package hypercall

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// maxExtentOrder is the largest extent that a guest may ask for, 2 MiB (Xen's
// CONFIG_DOMU_MAX_ORDER).
const maxExtentOrder = 9

// memPopulateOnDemand is XENMEMF_populate_on_demand (memory.h).
const memPopulateOnDemand = 1 << 16

// reservation gives memory to the domain, or takes some away. The result is how
// many extents were done, which is also how a failure shows (memory.h).
func (c *call) reservation(cmd uint32) int64 {
	start := c.memStart()
	var a xenabi.MemoryReservation
	if !c.read(c.arg[1], &a) || a.NrExtents > uint64(memMax) || start >= a.NrExtents || a.ExtentOrder > maxExtentOrder {
		return int64(start)
	}
	if err := c.own(a.DomID); err != nil {
		return int64(start)
	}
	switch {
	case cmd == xenabi.XenMemIncreaseReservation:
		// Frames that are nowhere in its memory are of no use to a translated
		// guest; they would only count.
		return int64(start)
	case cmd == xenabi.XenMemPopulatePhysmap && a.MemFlags&memPopulateOnDemand != 0:
		return int64(start)
	}
	// At most 64 extents, and 512 frames.
	batch := min(memBatch, uint64(1)<<(maxExtentOrder-a.ExtentOrder))
	end := min(a.NrExtents, start+batch)
	n := 0
	for ; start+uint64(n) < end; n++ {
		g, ok := c.word(a.ExtentStart, start+uint64(n))
		if !ok {
			break
		}
		c.gfns[n] = mm.GFN(g)
	}
	var done int
	var err error
	if cmd == xenabi.XenMemPopulatePhysmap {
		done, err = c.d.Space.PopulatePhysmap(c.gfns[:n], uint(a.ExtentOrder))
	} else {
		done, err = c.d.Space.DecreaseReservation(c.gfns[:n], uint(a.ExtentOrder))
	}
	if at := start + uint64(done); err != nil || at < end {
		return int64(at)
	}
	if end < a.NrExtents {
		return c.memAgain(end)
	}
	return int64(end)
}
