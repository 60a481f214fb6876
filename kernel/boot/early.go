package boot

import "encoding/binary"

// Place is where bytes lie in physical memory; Len 0 means there are none.
type Place struct {
	Addr, Len uint64
}

// EarlyModule is a module as the loader placed it. Start == End is an empty
// file.
type EarlyModule struct {
	Start, End  uint64
	CommandLine Place
}

// Early is the loader's information in a fixed size, without a pointer. It is
// about 16 KiB: it belongs in a package variable, not on a stack.
type Early struct {
	Loader      Loader
	Problems    Problem
	CommandLine Place
	LoaderName  Place
	// RSDP is the address of ACPI's root pointer, or of the loader's copy of
	// it, or 0 if the loader named none (multiboot 1 can't).
	RSDP uint64
	// RSDPCopy is where multiboot 2's copy of the root pointer lies.
	RSDPCopy Place
	// Framebuffer is the screen; Kind is FramebufferNone if there is none.
	Framebuffer Framebuffer
	// EFISystemTable is the address of the 64-bit EFI system table, or 0.
	EFISystemTable uint64
	// EFIMap is where the EFI memory map's copy lies, and EFIEntry the size of
	// one of its descriptors.
	EFIMap   Place
	EFIEntry uint32

	nmod    int
	modules [MaxModules]EarlyModule
	nown    int
	own     [maxOwn]Place
	memory  rangeTable
	// buf is what Phys reads into. It is here because a buffer on the stack
	// would escape through the interface, and there is no heap yet.
	buf [256]byte
}

// Scan reads what the loader left: magic is EAX and info is EBX at the entry
// point; for the PVH entry magic is PVHMagic whatever EAX holds. It replaces all
// of e. Unless it returns StatusOK, e is incomplete: do not hand out memory by
// it.
//
// It runs before the Go runtime: it does not allocate, does not panic and needs
// no package to be initialised.
func (e *Early) Scan(magic uint32, info uint64, mem Phys) Status {
	e.reset()
	var s Status
	switch magic {
	case Multiboot1Magic:
		e.Loader = LoaderMultiboot1
		s = e.scanMultiboot1(info, mem)
	case Multiboot2Magic:
		e.Loader = LoaderMultiboot2
		s = e.scanMultiboot2(info, mem)
	case PVHMagic:
		e.Loader = LoaderPVH
		s = e.scanPVH(info, mem)
	default:
		s = StatusBadMagic
	}
	if s != StatusOK {
		return s
	}
	for i := 0; i < e.memory.n; i++ {
		if e.memory.list[i].Type == MemUsable {
			return StatusOK
		}
	}
	return StatusNoMemory
}

// reset forgets everything. Lists are emptied by their counts: the struct is too
// large to assign from a zero value on a boot stack.
func (e *Early) reset() {
	e.Loader, e.Problems = LoaderUnknown, 0
	e.CommandLine, e.LoaderName = Place{}, Place{}
	e.RSDPCopy, e.EFIMap = Place{}, Place{}
	e.RSDP, e.EFISystemTable, e.EFIEntry = 0, 0, 0
	e.Framebuffer = Framebuffer{}
	e.nmod, e.nown, e.memory.n = 0, 0, 0
}

// NumMemory returns the number of memory ranges.
func (e *Early) NumMemory() int { return e.memory.n }

// Memory returns range i < NumMemory: ranges are sorted and disjoint, and
// neighbours of the same type are one.
func (e *Early) Memory(i int) Range {
	if uint(i) >= uint(e.memory.n) {
		return Range{}
	}
	return e.memory.list[i]
}

// NumModules returns the number of modules.
func (e *Early) NumModules() int { return e.nmod }

// Module returns module i < NumModules, in the loader's order.
func (e *Early) Module(i int) EarlyModule {
	if uint(i) >= uint(e.nmod) {
		return EarlyModule{}
	}
	return e.modules[i]
}

// NumOwn returns the number of places that the loader's information occupies.
func (e *Early) NumOwn() int { return e.nown }

// Own returns place i < NumOwn: memory that holds the loader's information
// (tables and strings, not modules), to be left alone until it was read.
func (e *Early) Own(i int) Place {
	if uint(i) >= uint(e.nown) {
		return Place{}
	}
	return e.own[i]
}

// read fills buf[:n] from addr.
func (e *Early) read(mem Phys, addr uint64, n int) bool {
	if addr >= MaxPhys || n < 0 || n > len(e.buf) || uint64(n) > MaxPhys-addr {
		return false
	}
	return mem.ReadPhys(addr, e.buf[:n]) == nil
}

// readable reports whether all of p can be read, for what Info reads later. It
// destroys buf.
func (e *Early) readable(mem Phys, p Place) bool {
	for off := uint64(0); off < p.Len; off += uint64(len(e.buf)) {
		if !e.read(mem, p.Addr+off, int(min(p.Len-off, uint64(len(e.buf))))) {
			return false
		}
	}
	return true
}

// The fields of what read filled buf with. An offset is a constant of the
// caller, below len(buf)-8.
func (e *Early) u16(off int) uint16 { return binary.LittleEndian.Uint16(e.buf[off:]) }
func (e *Early) u32(off int) uint32 { return binary.LittleEndian.Uint32(e.buf[off:]) }
func (e *Early) u64(off int) uint64 { return binary.LittleEndian.Uint64(e.buf[off:]) }

// keep notes that the loader's information occupies size bytes at addr. The
// number of calls is bounded by MaxModules and a constant, so own has room.
func (e *Early) keep(addr, size uint64) {
	if size == 0 || e.nown >= maxOwn {
		return
	}
	if e.nown > 0 {
		last := &e.own[e.nown-1]
		if last.Addr+last.Len == addr {
			last.Len += size
			return
		}
	}
	e.own[e.nown] = Place{addr, size}
	e.nown++
}

// cString finds the NUL-terminated string at addr and keeps its place. A
// failure sets the problem p; the part of a too long string that fits is used.
func (e *Early) cString(mem Phys, addr uint64, p Problem) Place {
	// A chunk that doesn't cross its own alignment doesn't cross a page
	// either, so nothing behind the string's page is touched.
	const chunk = 64
	if addr == 0 {
		return Place{}
	}
	n := uint64(0)
	for n < MaxString {
		step := chunk - (addr+n)%chunk
		if !e.read(mem, addr+n, int(step)) {
			e.Problems |= p
			return Place{}
		}
		for i := uint64(0); i < step; i++ {
			if e.buf[i] == 0 {
				e.keep(addr, n+i+1)
				return Place{addr, n + i}
			}
		}
		n += step
	}
	e.Problems |= p
	e.keep(addr, MaxString)
	return Place{addr, MaxString}
}

// fewModules bounds the length of a loader's list of modules.
func (e *Early) fewModules(n uint32) uint32 {
	if n > MaxModules {
		e.Problems |= ProblemModules
		return MaxModules
	}
	return n
}

// addModule notes a module. It is skipped if it can't be true, or if there are too many.
func (e *Early) addModule(start, end uint64, cmdline Place) {
	if start == 0 || end < start || end > MaxPhys {
		e.Problems |= ProblemModule
		return
	}
	if e.nmod >= MaxModules {
		e.Problems |= ProblemModules
		return
	}
	e.modules[e.nmod] = EarlyModule{start, end, cmdline}
	e.nmod++
}

// addMemory notes a range of memory.
func (e *Early) addMemory(start, size uint64, t MemType) Status {
	if size == 0 {
		return StatusOK // some firmware has empty entries
	}
	if start >= MaxPhys || start+size < start {
		e.Problems |= ProblemMemoryEntry
		if t == MemUsable {
			return StatusOK
		}
		// What forbids memory counts as far as it can be true.
	}
	if !e.memory.add(start, size, t) {
		return StatusTooManyRanges
	}
	return StatusOK
}

// addBasic notes memory by multiboot's old fields: KiB from 0, and KiB from 1
// MiB up to the first hole (multiboot 1 section 3.3, multiboot 2 section 3.6.3).
func (e *Early) addBasic(lowerKiB, upperKiB uint32) Status {
	// Conventional memory ends at 640 KiB on every PC.
	if s := e.addMemory(0, uint64(min(lowerKiB, 640))<<10, MemUsable); s != StatusOK {
		return s
	}
	return e.addMemory(1<<20, uint64(upperKiB)<<10, MemUsable)
}
