package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
)

// physdevOp is for guests that have devices of the machine: no PV guest has any. It may
// set its I/O privilege, and hears that there are no such interrupts.
func physdevOp(c *call) int64 {
	cmd, arg := uint32(c.arg[0]), c.arg[1]
	switch cmd {
	case xenabi.PhysdevOpSetIOPL:
		b, ok := c.in(arg, 4)
		if !ok {
			return errno(xenabi.EFAULT)
		}
		return errno(c.v.PV.SetIOPL(binary.LittleEndian.Uint32(b)))
	case xenabi.PhysdevOpSetIobitmap:
		var a xenabi.PhysdevSetIOBitmap
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		return errno(c.v.PV.SetIOBitmap(&a))
	case xenabi.PhysdevOpEOI, xenabi.PhysdevOpIRQStatusQuery, xenabi.PhysdevOpUnmapPIRQ, xenabi.PhysdevOpGetFreePIRQ:
		return errno(xenabi.EINVAL)
	case xenabi.PhysdevOpPIRQEOIGMFNV1, xenabi.PhysdevOpPIRQEOIGMFNV2:
		return errno(xenabi.ENOSYS)
	case xenabi.PhysdevOpApicRead, xenabi.PhysdevOpApicWrite, xenabi.PhysdevOpAllocIRQVector, xenabi.PhysdevOpFreeIRQVector,
		xenabi.PhysdevOpMapPIRQ, xenabi.PhysdevOpManagePCIAdd, xenabi.PhysdevOpManagePCIRemove, xenabi.PhysdevOpManagePCIAddExt,
		xenabi.PhysdevOpRestoreMsi, xenabi.PhysdevOpRestoreMsiExt, xenabi.PhysdevOpSetupGsi, xenabi.PhysdevOpPCIMmcfgReserved,
		xenabi.PhysdevOpPCIDeviceAdd, xenabi.PhysdevOpPCIDeviceRemove, xenabi.PhysdevOpPrepareMsix, xenabi.PhysdevOpReleaseMsix,
		xenabi.PhysdevOpDbgpOp:
		return errno(xenabi.EPERM)
	}
	return c.unknown("physdev_op", uint64(cmd))
}
