package pci

import (
	"errors"
	"fmt"
)

// BAR is the memory that a base address register describes.
type BAR struct {
	Addr, Size   uint64 // physical, bytes; Addr is a multiple of Size, a power of two
	Prefetchable bool
}

// ErrNoMemory says that a base address register describes no memory that can be used.
var ErrNoMemory = errors.New("no memory there")

// ErrNoPorts says that a base address register describes no I/O ports that can be used.
var ErrNoPorts = errors.New("no ports there")

const (
	numBARs      = 6
	barIO        = 1 << 0
	barType      = 3 << 1
	bar64        = 2 << 1
	barBelow1M   = 1 << 1
	barPrefetch  = 1 << 3
	barFlags     = 0xf
	barPortFlags = 3
	leastBAR     = 16
	maxAddress   = 1 << 52 // of any x86-64 processor
	allOnes      = 0xffffffff
	barHighOnes  = uint64(allOnes) << 32
	registerSize = 4
)

// Memory tells what base address register n describes, and makes the function answer
// there. Unless it was measured, the function does not while it finds out: nothing else may
// be using it. The error wraps ErrNoMemory.
func (f *Function) Memory(n int) (BAR, error) {
	bad := func(format string, args ...any) (BAR, error) {
		return BAR{}, fmt.Errorf("PCI function %v, base address register %d: %s: %w", f.Address, n, fmt.Sprintf(format, args...), ErrNoMemory)
	}
	if f.header != headerNormal || n < 0 || n >= numBARs {
		return bad("no such register in a header of type %d", f.header)
	}
	off := uint8(regBAR0 + n*registerSize)
	low := f.cfg.Read(f.Address, off)
	wide := low&barType == bar64
	switch {
	case low&barIO != 0:
		return bad("it is for ports")
	case low&barType == barBelow1M, low&barType == barType:
		return bad("its type is reserved (%#x)", low)
	case wide && n == numBARs-1:
		return bad("it has no upper half")
	}

	ones, highOnes, command := f.masks(off, wide, commandMemory)
	mask, addr := uint64(ones), uint64(low&^barFlags)
	if wide {
		mask |= uint64(highOnes) << 32
		addr |= uint64(f.cfg.Read(f.Address, off+registerSize)) << 32
	} else {
		mask |= barHighOnes
	}
	mask &^= barFlags
	size := -mask
	var why string
	switch {
	case mask == 0 || !wide && mask == barHighOnes:
		why = "it is not there"
	case size&(size-1) != 0 || size < leastBAR:
		why = fmt.Sprintf("ones in it read as %#x, which is no size", mask)
	case addr == 0:
		why = "the firmware gave it no address"
	case addr%size != 0 || addr > maxAddress-size:
		why = fmt.Sprintf("%d bytes at %#x can't be", size, addr)
	}
	if why != "" {
		f.setCommand(command)
		return bad("%s", why)
	}
	f.setCommand(command | commandMemory)
	return BAR{Addr: addr, Size: size, Prefetchable: low&barPrefetch != 0}, nil
}

// Ports tells which I/O ports base address register n describes, and makes the function
// answer there; Addr and Size are below 1<<16. As for Memory, nothing else may be using it
// meanwhile. The error wraps ErrNoPorts.
func (f *Function) Ports(n int) (BAR, error) {
	bad := func(format string, args ...any) (BAR, error) {
		return BAR{}, fmt.Errorf("PCI function %v, base address register %d: %s: %w", f.Address, n, fmt.Sprintf(format, args...), ErrNoPorts)
	}
	if f.header != headerNormal || n < 0 || n >= numBARs {
		return bad("no such register in a header of type %d", f.header)
	}
	off := uint8(regBAR0 + n*registerSize)
	v := f.cfg.Read(f.Address, off)
	if v&barIO == 0 {
		return bad("it is for memory")
	}
	ones, _, command := f.masks(off, false, commandPorts)
	// The upper half need not be there (section 6.2.5.1): no PC has more ports.
	mask := uint64(ones)&0xffff&^barPortFlags | allOnes<<16
	addr, size := uint64(v&^barPortFlags), uint64(-uint32(mask))
	if size == 0 || size&(size-1) != 0 || addr == 0 || addr%size != 0 || addr+size > 1<<16 {
		f.setCommand(command)
		return bad("%d ports at %#x can't be", size, addr)
	}
	f.setCommand(command | commandPorts)
	return BAR{Addr: addr, Size: size}, nil
}
