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
// there. While it finds out, the function does not: nothing else may be using it. The
// error wraps ErrNoMemory.
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

	// The status half takes ones as "clear", so it is written as zeroes.
	command := f.cfg.Read(f.Address, regCommand) & 0xffff
	f.cfg.Write(f.Address, regCommand, command&^commandMemory)
	mask, addr := f.probe(off, low), uint64(low&^barFlags)
	if wide {
		high := f.cfg.Read(f.Address, off+registerSize)
		mask |= f.probe(off+registerSize, high) << 32
		addr |= uint64(high) << 32
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
		f.cfg.Write(f.Address, regCommand, command)
		return bad("%s", why)
	}
	f.cfg.Write(f.Address, regCommand, command|commandMemory)
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
	command := f.cfg.Read(f.Address, regCommand) & 0xffff
	f.cfg.Write(f.Address, regCommand, command&^commandPorts)
	// The upper half need not be there (section 6.2.5.1): no PC has more ports.
	mask := f.probe(off, v)&0xffff&^barPortFlags | allOnes<<16
	addr, size := uint64(v&^barPortFlags), uint64(-uint32(mask))
	if size == 0 || size&(size-1) != 0 || addr == 0 || addr%size != 0 || addr+size > 1<<16 {
		f.cfg.Write(f.Address, regCommand, command)
		return bad("%d ports at %#x can't be", size, addr)
	}
	f.cfg.Write(f.Address, regCommand, command|commandPorts)
	return BAR{Addr: addr, Size: size}, nil
}

// probe returns the bits of a register that can be set, and leaves it as it was.
func (f *Function) probe(off uint8, was uint32) uint64 {
	f.cfg.Write(f.Address, off, allOnes)
	v := f.cfg.Read(f.Address, off)
	f.cfg.Write(f.Address, off, was)
	return uint64(v)
}
