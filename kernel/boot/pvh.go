package boot

// Offsets in struct hvm_start_info and its tables (start_info.h).
const (
	pvhMagic      = 0
	pvhVersion    = 4
	pvhNrModules  = 12
	pvhModList    = 16
	pvhCmdLine    = 24
	pvhRSDP       = 32
	pvhSizeV0     = 40
	pvhMemMap     = 40
	pvhMemEntries = 48
	pvhSize       = 56

	pvhModule   = 32 // struct hvm_modlist_entry
	pvhMemEntry = 24 // struct hvm_memmap_table_entry
)

// scanPVH reads the hvm_start_info at info.
func (e *Early) scanPVH(info uint64, mem Phys) Status {
	if info == 0 || !e.read(mem, info, pvhSizeV0) || e.u32(pvhMagic) != PVHMagic {
		return StatusBadInfo
	}
	nmods, mods := e.u32(pvhNrModules), e.u64(pvhModList)
	cmdline := e.u64(pvhCmdLine)
	e.RSDP = e.u64(pvhRSDP)
	if e.u32(pvhVersion) == 0 {
		return StatusNoMemory // the map came with version 1
	}
	if !e.read(mem, info, pvhSize) {
		return StatusBadInfo
	}
	memmap, entries := e.u64(pvhMemMap), e.u32(pvhMemEntries)
	e.keep(info, pvhSize)

	e.CommandLine = e.cString(mem, cmdline, ProblemCommandLine)
	nmods = e.fewModules(nmods)
	if mods >= MaxPhys || memmap >= MaxPhys {
		return StatusBadInfo
	}
	e.keep(mods, uint64(nmods)*pvhModule)
	for i := uint32(0); i < nmods; i++ {
		if !e.read(mem, mods+uint64(i)*pvhModule, pvhModule) {
			return StatusBadInfo
		}
		start, size, str := e.u64(0), e.u64(8), e.u64(16)
		line := e.cString(mem, str, ProblemModuleString)
		if start >= MaxPhys || size > MaxPhys-start {
			e.Problems |= ProblemModule
			continue
		}
		e.addModule(start, start+size, line)
	}
	if entries > maxMapSize/pvhMemEntry {
		return StatusTooManyRanges
	}
	e.keep(memmap, uint64(entries)*pvhMemEntry)
	for i := uint32(0); i < entries; i++ {
		if !e.read(mem, memmap+uint64(i)*pvhMemEntry, pvhMemEntry) {
			return StatusBadInfo
		}
		if s := e.addMemory(e.u64(0), e.u64(8), memTypeE820(e.u32(16))); s != StatusOK {
			return s
		}
	}
	return StatusOK
}
