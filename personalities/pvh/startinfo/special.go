package startinfo

import "nidus/mm"

// The pages that Xen's tools keep for themselves in an HVM or PVH guest: eight
// that end at 0xff000000. The guest learns their frames by HVMOP_get_param.
const (
	specialBase  mm.GuestPhys = 0xfeff8000
	specialCount              = 8
)

// SpecialPages are the frames of the special pages. All of them are memory,
// beside the guest's own, and the map calls them reserved.
type SpecialPages struct {
	// Pages is all of them.
	Pages Range
	// BufIOReq and IOReq are for HVM_PARAM_BUFIOREQ_PFN and IOREQ_PFN.
	BufIOReq, IOReq mm.GFN
	// Xenstore is the ring of HVM_PARAM_STORE_PFN.
	Xenstore mm.GFN
	// IdentPT is the page directory of HVM_PARAM_IDENT_PT, with which
	// processors that need paging run a guest without.
	IdentPT mm.GFN
	// Console is the ring of HVM_PARAM_CONSOLE_PFN.
	Console mm.GFN
	// VM86TSS is for HVM_PARAM_VM86_TSS_SIZED.
	VM86TSS mm.GFN
}

func specialPages() SpecialPages {
	first := specialBase.Frame()
	return SpecialPages{
		Pages:    Range{specialBase, specialCount << mm.PageShift},
		VM86TSS:  first,
		BufIOReq: first + 3,
		Xenstore: first + 4,
		IOReq:    first + 5,
		IdentPT:  first + 6,
		Console:  first + 7,
	}
}

// MapType is the type of a range in the memory map (start_info.h,
// XEN_HVM_MEMMAP_TYPE_*, as in the BIOS's E820).
type MapType uint32

// Types of memory (start_info.h).
const (
	MapRAM      MapType = 1
	MapReserved MapType = 2
	MapACPI     MapType = 3
	MapNVS      MapType = 4
	MapUnusable MapType = 5
	MapDisabled MapType = 6
	MapPMEM     MapType = 7
)

// MapEntry is one range of the memory map.
type MapEntry struct {
	Range
	Type MapType
}

// memoryMap describes the RAM to the guest. The first MiB looks as on a PC, so
// that a guest which knows PCs by heart is right.
func memoryMap(ram []Range) []MapEntry {
	m := []MapEntry{
		{Range{0, uint64(lowRAMEnd)}, MapRAM},
		{Range{acpiBase, uint64(acpiEnd - acpiBase)}, MapACPI},
		{Range{acpiEnd, ram[0].Size - uint64(acpiEnd)}, MapRAM},
		{Range{specialBase, specialCount << mm.PageShift}, MapReserved},
	}
	for _, r := range ram[1:] {
		m = append(m, MapEntry{r, MapRAM})
	}
	return m
}
