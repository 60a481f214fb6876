package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
)

// pvMemoryOp does a memory_op that is another one for PV guests; known is false if it
// isn't.
func (c *call) pvMemoryOp(cmd uint32) (res int64, known bool) {
	switch cmd {
	case xenabi.XenMemPopulatePhysmap, xenabi.XenMemDecreaseReservation, xenabi.XenMemIncreaseReservation:
		return c.pvReservation(cmd), true
	case xenabi.XenMemExchange:
		return c.exchange(), true
	case xenabi.XenMemMaximumRamPage:
		return int64(c.d.Host.Memory.Frames().End()) - 1, true
	case xenabi.XenMemMachphysMapping:
		m := xenabi.MachphysMapping{VStart: xenabi.Mach2PhysVirtStart64, VEnd: xenabi.Mach2PhysVirtEnd64}
		if c.w == xenabi.Guest32 {
			m.VStart, m.VEnd = xenabi.Mach2PhysVirtStart32, xenabi.Mach2PhysVirtEnd32
		}
		m.MaxMFN = (m.VEnd-m.VStart)/uint64(c.w) - 1
		return c.write(c.arg[1], &m), true
	case xenabi.XenMemMachphysMFNList:
		return c.machphysList(c.w == xenabi.Guest32), true
	case xenabi.XenMemMachphysCompatMFNList:
		return c.machphysList(true), true
	case xenabi.XenMemAddToPhysmap, xenabi.XenMemAddToPhysmapBatch, xenabi.XenMemRemoveFromPhysmap:
		return errno(xenabi.EACCES), true // for guests whose memory is translated
	}
	return 0, false
}

// machphysList tells where in the machine the machine-to-physical table is, or that of 32-bit
// guests: a frame number for each 2 MiB of it, as many as there is room for.
func (c *call) machphysList(narrow bool) int64 {
	var a xenabi.MachphysMFNList
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	extents := c.pvFrames().extents(narrow)
	extents = extents[:min(uint64(a.MaxExtents), uint64(len(extents)))]
	a.NrExtents = uint32(len(extents))
	for i, m := range extents {
		b := c.buf[:8]
		binary.LittleEndian.PutUint64(b, uint64(m))
		if r := c.out(a.ExtentStart+uint64(i)*uint64(c.w), b[:c.w]); r != 0 {
			return r
		}
	}
	return c.write(c.arg[1], &a)
}
