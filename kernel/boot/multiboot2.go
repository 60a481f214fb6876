package boot

// Tags of multiboot 2's information (version 2.0, section 3.6).
const (
	mb2End         = 0
	mb2CmdLine     = 1
	mb2LoaderName  = 2
	mb2Module      = 3
	mb2BasicMem    = 4
	mb2Mmap        = 6
	mb2Framebuffer = 8
	mb2EFI64       = 12
	mb2RSDPOld     = 14
	mb2RSDPNew     = 15
	mb2EFIMmap     = 17
)

// Sizes of the root pointer before and since ACPI 2.0 (ACPI 6.5, section
// 5.2.5.3).
const (
	rsdpOldSize = 20
	rsdpNewSize = 36
)

// scanMultiboot2 reads the multiboot 2 information at info: a total size, a
// reserved word, then tags of type, size and content, each aligned to 8 bytes.
func (e *Early) scanMultiboot2(info uint64, mem Phys) Status {
	if info == 0 || info%8 != 0 || !e.read(mem, info, 8) {
		return StatusBadInfo
	}
	total := uint64(e.u32(0))
	if total < 16 || total > maxInfo2 || info > MaxPhys-total {
		return StatusBadInfo
	}
	e.keep(info, total)

	var lower, upper uint32
	var mmap Place
	var mmapEntry uint32
	for off := uint64(8); off+8 <= total; {
		at := info + off
		if !e.read(mem, at, 8) {
			return StatusBadInfo
		}
		typ, size := e.u32(0), uint64(e.u32(4))
		if size < 8 || size > total-off {
			return StatusBadInfo // the tags behind it can't be found
		}
		if typ == mb2End {
			break
		}
		// need is the fixed part of a tag, header included.
		need := mb2TagSize(typ)
		if uint64(need) > size {
			e.Problems |= ProblemTag
			off += (size + 7) &^ 7
			continue
		}
		if !e.read(mem, at, need) {
			return StatusBadInfo
		}
		switch typ {
		case mb2CmdLine:
			e.CommandLine = e.tagString(mem, at+8, size-8, ProblemCommandLine)
		case mb2LoaderName:
			e.LoaderName = e.tagString(mem, at+8, size-8, ProblemLoaderName)
		case mb2Module:
			start, end := uint64(e.u32(8)), uint64(e.u32(12))
			line := e.tagString(mem, at+16, size-16, ProblemModuleString)
			e.addModule(start, end, line)
		case mb2BasicMem:
			lower, upper = e.u32(8), e.u32(12)
		case mb2Mmap:
			mmap, mmapEntry = Place{at + 16, size - 16}, e.u32(8)
		case mb2Framebuffer:
			// The colour fields are there for RGB only.
			if e.buf[29] == uint8(FramebufferRGB)-1 {
				if size < 38 || !e.read(mem, at, 38) {
					e.Problems |= ProblemFramebuffer
					break
				}
			}
			e.setFramebuffer(8, 32)
		case mb2EFI64:
			e.EFISystemTable = e.u64(8)
		case mb2RSDPOld:
			if e.RSDPCopy.Len < rsdpNewSize {
				e.RSDPCopy = Place{at + 8, rsdpOldSize}
				e.RSDP = at + 8
			}
		case mb2RSDPNew:
			e.RSDPCopy = Place{at + 8, rsdpNewSize}
			e.RSDP = at + 8
		case mb2EFIMmap:
			e.EFIEntry = e.u32(8)
			e.EFIMap = Place{at + 16, size - 16}
			if e.EFIEntry < efiDescriptor || e.EFIEntry > maxMapSize {
				e.EFIEntry, e.EFIMap = 0, Place{}
				e.Problems |= ProblemTag
			} else if !e.readable(mem, e.EFIMap) {
				e.EFIEntry, e.EFIMap = 0, Place{}
				e.Problems |= ProblemMemoryMap
			}
		}
		off += (size + 7) &^ 7
	}
	return e.chooseMap2(mmap, mmapEntry, lower, upper, mem)
}

// chooseMap2 fills the memory table from the best of what the loader gave: the
// memory map, EFI's map, the two basic numbers.
func (e *Early) chooseMap2(mmap Place, entry, lower, upper uint32, mem Phys) Status {
	if mmap.Len > 0 {
		if s := e.scanMap2(mmap, entry, mem); s != StatusOK || e.memory.n > 0 {
			return s
		}
	}
	if e.EFIMap.Len > 0 {
		if s := e.scanMapEFI(mem); s != StatusOK || e.memory.n > 0 {
			return s
		}
	}
	return e.addBasic(lower, upper)
}

// mb2TagSize returns how many bytes a tag must have at least; 8 if it is not one
// that is read here.
func mb2TagSize(typ uint32) int {
	switch typ {
	case mb2Module, mb2BasicMem, mb2Mmap, mb2EFI64, mb2EFIMmap:
		return 16
	case mb2Framebuffer:
		return 32
	case mb2RSDPOld:
		return 8 + rsdpOldSize
	case mb2RSDPNew:
		return 8 + rsdpNewSize
	}
	return 8
}

// tagString finds the end of the string in the n bytes at addr. It lies within
// the information, which is kept as a whole.
func (e *Early) tagString(mem Phys, addr, n uint64, p Problem) Place {
	for i := uint64(0); i < min(n, MaxString+1); {
		step := min(n-i, uint64(len(e.buf)))
		if !e.read(mem, addr+i, int(step)) {
			e.Problems |= p
			return Place{}
		}
		for j := uint64(0); j < step; j++ {
			if e.buf[j] == 0 || i+j >= MaxString {
				if e.buf[j] != 0 {
					e.Problems |= p
				}
				return Place{addr, i + j}
			}
		}
		i += step
	}
	return Place{addr, n} // not terminated: the tag's size ends it
}

// scanMap2 reads the memory map tag: entries of base, length, type, reserved.
func (e *Early) scanMap2(at Place, entry uint32, mem Phys) Status {
	if entry < 24 || entry%8 != 0 || entry > maxMapSize || at.Len > maxMapSize {
		e.Problems |= ProblemMemoryMap
		return StatusOK
	}
	for off := uint64(0); off+uint64(entry) <= at.Len; off += uint64(entry) {
		if !e.read(mem, at.Addr+off, 24) {
			e.Problems |= ProblemMemoryMap
			e.memory.n = 0
			return StatusOK
		}
		if s := e.addMemory(e.u64(0), e.u64(8), memTypeE820(e.u32(16))); s != StatusOK {
			return s
		}
	}
	return StatusOK
}

// efiDescriptor is the least size of EFI_MEMORY_DESCRIPTOR (UEFI 2.10, section
// 7.2.3): Type, pad, PhysicalStart, VirtualStart, NumberOfPages, Attribute.
const efiDescriptor = 40

// scanMapEFI reads EFI's memory map.
func (e *Early) scanMapEFI(mem Phys) Status {
	for off := uint64(0); off+uint64(e.EFIEntry) <= e.EFIMap.Len; off += uint64(e.EFIEntry) {
		if !e.read(mem, e.EFIMap.Addr+off, efiDescriptor) {
			e.Problems |= ProblemMemoryMap
			e.memory.n = 0
			return StatusOK
		}
		pages := min(e.u64(24), MaxPhys>>12)
		if s := e.addMemory(e.u64(8), pages<<12, memTypeEFI(e.u32(0))); s != StatusOK {
			return s
		}
	}
	return StatusOK
}
