package boot

// Offsets in the multiboot 1 information structure (0.6.96, section 3.3).
const (
	mb1Flags       = 0
	mb1MemLower    = 4
	mb1MemUpper    = 8
	mb1CmdLine     = 16
	mb1ModsCount   = 20
	mb1ModsAddr    = 24
	mb1MmapLength  = 44
	mb1MmapAddr    = 48
	mb1LoaderName  = 64
	mb1Framebuffer = 88
	mb1Size        = 88 // up to the framebuffer: all that QEMU writes
	mb1SizeFB      = 116
)

// Bits of mb1Flags: which fields are valid.
const (
	mb1HasMem         = 1 << 0
	mb1HasCmdLine     = 1 << 2
	mb1HasMods        = 1 << 3
	mb1HasMmap        = 1 << 6
	mb1HasLoaderName  = 1 << 9
	mb1HasFramebuffer = 1 << 12
)

// scanMultiboot1 reads the multiboot 1 information at info.
func (e *Early) scanMultiboot1(info uint64, mem Phys) Status {
	if info == 0 || !e.read(mem, info, mb1Size) {
		return StatusBadInfo
	}
	// buf is used again below: take the fields first.
	flags := e.u32(mb1Flags)
	lower, upper := e.u32(mb1MemLower), e.u32(mb1MemUpper)
	cmdline, name := uint64(e.u32(mb1CmdLine)), uint64(e.u32(mb1LoaderName))
	nmods, mods := e.u32(mb1ModsCount), uint64(e.u32(mb1ModsAddr))
	mapSize, mapAddr := e.u32(mb1MmapLength), uint64(e.u32(mb1MmapAddr))

	if flags&mb1HasFramebuffer != 0 {
		if e.read(mem, info, mb1SizeFB) {
			e.keep(info, mb1SizeFB)
			e.setFramebuffer(mb1Framebuffer, mb1Framebuffer+22)
		} else {
			e.Problems |= ProblemFramebuffer
			e.keep(info, mb1Size)
		}
	} else {
		e.keep(info, mb1Size)
	}
	if flags&mb1HasCmdLine != 0 {
		e.CommandLine = e.cString(mem, cmdline, ProblemCommandLine)
	}
	if flags&mb1HasLoaderName != 0 {
		e.LoaderName = e.cString(mem, name, ProblemLoaderName)
	}
	if flags&mb1HasMods != 0 {
		if s := e.scanModules1(mods, nmods, mem); s != StatusOK {
			return s
		}
	}
	if flags&mb1HasMmap != 0 {
		if s := e.scanMap1(mapAddr, mapSize, mem); s != StatusOK {
			return s
		}
	}
	if e.memory.n == 0 && flags&mb1HasMem != 0 {
		return e.addBasic(lower, upper)
	}
	return StatusOK
}

// scanModules1 reads the module list: mod_start, mod_end, string, reserved.
func (e *Early) scanModules1(addr uint64, n uint32, mem Phys) Status {
	const entry = 16
	n = e.fewModules(n)
	e.keep(addr, uint64(n)*entry)
	for i := uint32(0); i < n; i++ {
		if !e.read(mem, addr+uint64(i)*entry, entry) {
			return StatusBadInfo
		}
		start, end, str := uint64(e.u32(0)), uint64(e.u32(4)), uint64(e.u32(8))
		line := e.cString(mem, str, ProblemModuleString)
		e.addModule(start, end, line)
	}
	return StatusOK
}

// scanMap1 reads the memory map: entries of size, base, length, type, where size
// does not count itself. A map that breaks off counts as none at all, because
// what it would have forbidden is unknown.
func (e *Early) scanMap1(addr uint64, size uint32, mem Phys) Status {
	const entry = 24
	if size > maxMapSize {
		e.Problems |= ProblemMemoryMap
		return StatusOK
	}
	e.keep(addr, uint64(size))
	for off := uint64(0); off+entry <= uint64(size); {
		if !e.read(mem, addr+off, entry) || e.u32(0) < entry-4 {
			e.Problems |= ProblemMemoryMap
			e.memory.n = 0
			return StatusOK
		}
		if s := e.addMemory(e.u64(4), e.u64(12), memTypeE820(e.u32(20))); s != StatusOK {
			return s
		}
		off += uint64(e.u32(0)) + 4
	}
	return StatusOK
}
