// Package ivshmem finds memory that QEMU shares with programs beside it: its device
// ivshmem-plain, whose memory is a file on the machine that QEMU runs on.
//
// Reference: QEMU's docs/specs/ivshmem-spec, "Device programming interface". Only the
// memory is used, and so ivshmem-doorbell, which has interrupts too, does as well.
package ivshmem

import (
	"fmt"

	"nidus/drivers/pci"
)

const (
	vendor    = 0x1af4
	device    = 0x1110
	memoryBAR = 2
)

// Region is memory that is shared.
type Region struct {
	At   pci.Address
	Addr uint64 // physical
	Size uint64 // bytes, a power of two
}

// Find returns the memory of the first such device, and makes the device answer there;
// ok is false if there is none. The error says what is wrong with it.
func Find(cfg pci.Config) (r Region, ok bool, err error) {
	for f := range pci.Functions(cfg) {
		if f.Vendor != vendor || f.Device != device {
			continue
		}
		b, err := f.Memory(memoryBAR)
		if err != nil {
			return Region{At: f.Address}, true, fmt.Errorf("shared memory: %w; the device needs a memdev", err)
		}
		return Region{At: f.Address, Addr: b.Addr, Size: b.Size}, true, nil
	}
	return Region{}, false, nil
}
