package hypercall

import (
	"nidus/kernel/xenabi"
)

// A memory_op's command has the operation in its low bits, and above them, when
// the guest repeats a call, how much of it is done (Xen's MEMOP_EXTENT_SHIFT).
const (
	memCmdBits = 6
	memCmdMask = 1<<memCmdBits - 1
)

// memBatch is how many frames or entries one call works on.
const memBatch = 64

// memStart is where a repeated memory_op goes on.
func (c *call) memStart() uint64 { return c.arg[0] >> memCmdBits }

// memAgain lets the guest repeat a memory_op from start on.
func (c *call) memAgain(start uint64) int64 {
	c.arg[0] = c.arg[0]&memCmdMask | start<<memCmdBits
	return c.again()
}

// memMax is the largest count that a 32-bit command can say how far it came of.
const memMax = ^uint32(0) >> memCmdBits

func memoryOp(c *call) int64 {
	cmd := uint32(c.arg[0]) & memCmdMask
	if c.v.PV != nil {
		if res, known := c.pvMemoryOp(cmd); known {
			return res
		}
	}
	switch cmd {
	case xenabi.XenMemPopulatePhysmap, xenabi.XenMemDecreaseReservation, xenabi.XenMemIncreaseReservation:
		return c.reservation(cmd)
	case xenabi.XenMemCurrentReservation, xenabi.XenMemMaximumReservation, xenabi.XenMemMaximumGPFN:
		return c.memCount(cmd)
	case xenabi.XenMemMaximumRamPage:
		// Machine frames mean nothing to a translated guest: its own highest.
		return int64(c.d.MaxGFN) - 1
	case xenabi.XenMemAddToPhysmap:
		return c.addToPhysmap()
	case xenabi.XenMemAddToPhysmapBatch:
		return c.addToPhysmapBatch()
	case xenabi.XenMemRemoveFromPhysmap:
		return c.removeFromPhysmap()
	case xenabi.XenMemMemoryMap:
		return c.memoryMap()
	case xenabi.XenMemGetSharingFreedPages, xenabi.XenMemGetSharingSharedPages:
		return 0 // nothing is ever shared
	case xenabi.XenMemAcquireResource, xenabi.XenMemGetVNUMAInfo, xenabi.XenMemReservedDeviceMemoryMap:
		return errno(xenabi.EOPNOTSUPP)
	case xenabi.XenMemSetMemoryMap, xenabi.XenMemSetPoDTarget, xenabi.XenMemGetPoDTarget, xenabi.XenMemClaimPages,
		xenabi.XenMemPagingOp, xenabi.XenMemAccessOp, xenabi.XenMemSharingOp:
		return errno(xenabi.EPERM)
	case xenabi.XenMemExchange, xenabi.XenMemMachineMemoryMap, xenabi.XenMemMachphysMapping,
		xenabi.XenMemMachphysMFNList, xenabi.XenMemMachphysCompatMFNList:
		return errno(xenabi.ENOSYS) // for PV guests
	}
	return c.unknown("memory_op", uint64(cmd))
}

// memCount answers how much memory there is, in frames.
func (c *call) memCount(cmd uint32) int64 {
	var a xenabi.MemoryDomain
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	if err := c.own(a.DomID); err != nil {
		return xenabi.Result(err)
	}
	switch cmd {
	case xenabi.XenMemCurrentReservation:
		return int64(c.d.Space.TotPages())
	case xenabi.XenMemMaximumReservation:
		return int64(c.d.Space.MaxPages())
	}
	return int64(c.d.MaxGFN) - 1
}

// memoryMap copies out the map of the domain's memory.
func (c *call) memoryMap() int64 {
	var a xenabi.MemoryMap
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	m := c.d.MemoryMap
	if m == nil {
		return errno(xenabi.ENOSYS)
	}
	n := min(uint64(a.NrEntries), uint64(len(m)))
	for i, e := range m[:n] {
		if r := c.out(a.Buffer+uint64(i)*uint64(len(e)), append(c.buf[:0], e[:]...)); r != 0 {
			return r
		}
	}
	a.NrEntries = uint32(n)
	return c.write(c.arg[1], &a)
}
