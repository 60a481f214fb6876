// Package device is what drivers have of the machine: registers, memory for DMA,
// interrupts. kernel/machine has the real one; a test has a model of its device.
package device

import "nidus/mm"

// Registers is a window of a device's memory, uncached, or of I/O ports. Offsets are the driver's own:
// one outside the window, or not aligned to the value's size, panics.
type Registers interface {
	Size() uint64
	Load8(off uint64) uint8
	Load16(off uint64) uint16
	Load32(off uint64) uint32
	Store8(off uint64, v uint8)
	Store16(off uint64, v uint16)
	Store32(off uint64, v uint32)
}

// Message is what a device writes, and where, to interrupt a CPU (MSI, MSI-X).
type Message struct {
	Addr uint64
	Data uint32
}

// Memory is RAM, and where a device finds it.
type Memory interface {
	mm.DirectMap
	// Alloc returns 1<<order frames in one piece, zeroed, from the zone; the error
	// wraps mm.ErrNoMemory.
	Alloc(order uint, zone mm.Zone) (mm.MFN, error)
	Free(m mm.MFN, order uint)
	// DMA is the address of a frame as the device has to name it: the physical one,
	// as long as no IOMMU translates.
	DMA(m mm.MFN) uint64
}

// Host is the machine, as one device's driver sees it.
type Host interface {
	Memory
	// Map reaches n bytes of a device's memory at a physical address.
	Map(addr, n uint64) (Registers, error)
	// Ports reaches n I/O ports from one on.
	Ports(first, n uint16) (Registers, error)
	// Interrupt takes a vector. handle is called on a goroutine of its own after each
	// message; several messages may end in one call, none goes without a later one.
	// hint spreads the vectors: those of different hints go to different CPUs, where
	// that can be.
	Interrupt(hint int, handle func()) (Message, error)
	// CPUs is how many there are; CPU is one that the caller runs on, or just ran on.
	CPUs() int
	CPU() int
}
