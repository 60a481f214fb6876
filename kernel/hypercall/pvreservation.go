package hypercall

import (
	"encoding/binary"

	"nidus/kernel/domain"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// pvFrames is where a PV domain's frames come from and go to.
type pvFrames interface {
	// Charge counts frames against the domain's quota.
	Charge(n uint64) error
	Uncharge(n uint64)
	// FreshFrames makes frames that are nobody's until GiveFresh or FreeFresh.
	FreshFrames(order uint, zone mm.Zone) (mm.MFN, error)
	GiveFresh(m mm.MFN, order uint)
	FreeFresh(m mm.MFN, order uint)
	// TakeDirect takes a claimed frame from the domain, which still counts.
	TakeDirect(m mm.MFN)
	// claim takes a block of the domain's frames out of use, if nobody uses them as
	// anything; unclaim undoes that.
	claim(m mm.MFN, order uint) bool
	unclaim(m mm.MFN, order uint)
	// owns tells whether m is the domain's.
	owns(m mm.MFN) bool
	// note makes pfn what the machine-to-physical table says of m.
	note(m mm.MFN, pfn uint64)
	// extents are where that table is, or that of 32-bit guests (mm.M2P.Extents).
	extents(narrow bool) []mm.MFN
}

// directFrames implements pvFrames for a domain.
type directFrames struct {
	*mm.Space
	d *domain.Domain
}

func (f directFrames) claim(m mm.MFN, order uint) bool {
	return f.d.PV.MMU.Claim(m, order) == mm.FrameOK
}

func (f directFrames) unclaim(m mm.MFN, order uint) { f.d.Host.Memory.Frames().Unclaim(m, order) }

func (f directFrames) owns(m mm.MFN) bool {
	i := f.d.Host.Memory.Frames().Info(m)
	return i.Owner == f.d.ID && i.Kind != mm.FrameNone
}

func (f directFrames) note(m mm.MFN, pfn uint64) { f.d.PV.M2P.Set(m, pfn) }

func (f directFrames) extents(narrow bool) []mm.MFN { return f.d.PV.M2P.Extents(narrow) }

// memAddressBits is the width of machine addresses that a request allows (memory.h,
// XENMEMF_address_bits); 0: any.
const memAddressBits = 0xff

// zoneOf is where frames for a request have to be; false: nowhere that can be promised.
func zoneOf(flags uint32) (mm.Zone, bool) {
	switch bits := flags & memAddressBits; {
	case bits == 0, bits >= 52:
		return mm.ZoneAny, true
	case bits >= 32:
		return mm.ZoneLow, true
	}
	return 0, false
}

// pvReservation is reservation for a PV guest, whose list of extents has page numbers that
// become frames (populate_physmap), takes frames (increase_reservation), or has the frames
// to give back.
func (c *call) pvReservation(cmd uint32) int64 {
	start := c.memStart()
	var a xenabi.MemoryReservation
	if !c.read(c.arg[1], &a) || a.NrExtents > uint64(memMax) || start >= a.NrExtents || a.ExtentOrder > maxExtentOrder ||
		c.own(a.DomID) != nil {
		return int64(start)
	}
	zone, ok := zoneOf(a.MemFlags)
	if !ok || cmd == xenabi.XenMemPopulatePhysmap && a.MemFlags&memPopulateOnDemand != 0 {
		return int64(start)
	}
	order := uint(a.ExtentOrder)
	// At most 64 extents, and 512 frames.
	end := min(a.NrExtents, start+min(memBatch, uint64(1)<<(maxExtentOrder-order)))
	for i := start; i < end; i++ {
		if !c.pvExtent(cmd, &a, i, zone) {
			return int64(i)
		}
	}
	if end < a.NrExtents {
		return c.memAgain(end)
	}
	return int64(end)
}

// pvExtent does one extent.
func (c *call) pvExtent(cmd uint32, a *xenabi.MemoryReservation, i uint64, zone mm.Zone) bool {
	f, order := c.pvFrames(), uint(a.ExtentOrder)
	listed := cmd != xenabi.XenMemIncreaseReservation || a.ExtentStart != 0
	var n uint64
	if cmd != xenabi.XenMemIncreaseReservation {
		var ok bool
		if n, ok = c.word(a.ExtentStart, i); !ok {
			return false
		}
	}
	size := mm.MFN(1) << order
	if cmd == xenabi.XenMemDecreaseReservation {
		return c.giveBack(mm.MFN(n), order)
	}
	if f.Charge(uint64(size)) != nil {
		return false
	}
	m, err := f.FreshFrames(order, zone)
	if err != nil {
		f.Uncharge(uint64(size))
		return false
	}
	if listed && !c.putFrame(a.ExtentStart, i, m) {
		f.FreeFresh(m, order)
		f.Uncharge(uint64(size))
		return false
	}
	if cmd == xenabi.XenMemPopulatePhysmap {
		for k := range size {
			f.note(m+k, n+uint64(k))
		}
	}
	f.GiveFresh(m, order)
	return true
}

// giveBack takes a block of frames from the domain. One that is in use, mapped or a table,
// stays the domain's, which is told that it is gone: Xen would free it with the last use, and
// GNU Mach gives tables back that it goes on to use. False is that a frame is not the
// domain's.
func (c *call) giveBack(m mm.MFN, order uint) bool {
	f := c.pvFrames()
	take := func(m mm.MFN, order uint) bool {
		if !f.claim(m, order) {
			return false
		}
		for k := range mm.MFN(1) << order {
			f.TakeDirect(m + k)
		}
		f.Uncharge(1 << order)
		return true
	}
	if take(m, order) {
		return true
	}
	for k := range mm.MFN(1) << order {
		if !take(m+k, 0) && !f.owns(m+k) {
			return false
		}
	}
	return true
}

// putFrame writes entry i of a guest's list of frames.
func (c *call) putFrame(list, i uint64, m mm.MFN) bool {
	b := c.buf[:8]
	binary.LittleEndian.PutUint64(b, uint64(m))
	return c.out(list+i*uint64(c.w), b[:c.w]) == 0
}

func (c *call) pvFrames() pvFrames {
	if c.frames == nil {
		c.frames = directFrames{c.d.Space, c.d}
	}
	return c.frames
}
