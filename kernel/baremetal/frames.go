//go:build tamago

package baremetal

import (
	"unsafe"

	"nidus/kernel/boot"
	"nidus/mm"
)

// The machine's memory, from the loader's map to the frame table.

var (
	// Early is what the loader told, read before there was a heap.
	Early boot.Early
	// Frames is the machine's frame table. Its methods that change lists are
	// for kernel entry code; Go code uses FrameLists.
	Frames mm.Frames

	bump, bumpEnd uint64 // physical: what the first page tables come from
	framesReady   bool
)

// bumpSize is enough for the direct map of 4 TiB by 1 GiB pages, or 1 TiB by
// 2 MiB pages, and for the image's own tables.
const bumpSize = 4 << 20

// physReader reads physical memory through the direct map.
type physReader struct{}

type physError struct{}

func (physError) Error() string { return "physical address beyond the mapped memory" }

// ReadPhys implements boot.Phys.
func (physReader) ReadPhys(a uint64, b []byte) error {
	limit := uint64(4 << 30)
	if framesReady {
		limit = directEnd
		if a+uint64(len(b)) > lowEnd && a < 4<<30 {
			return physError{}
		}
	}
	if a > limit || uint64(len(b)) > limit-a {
		return physError{}
	}
	copy(b, unsafe.Slice((*byte)(Pointer(DirectMap+a)), len(b)))
	return nil
}

// PhysMem reads RAM and ACPI memory by physical address.
var PhysMem boot.Phys = physReader{}

// scanMemory reads the loader's map and finds room for the first page tables.
func scanMemory(h *handoverBlock) {
	const pvhMagic = 0x336ec578
	if Loader != boot.Multiboot1Magic && Loader != boot.Multiboot2Magic && ld32(DirectMap+LoaderInfo) == pvhMagic {
		Loader = boot.PVHMagic
	}
	if s := Early.Scan(Loader, LoaderInfo, physReader{}); s != boot.StatusOK {
		puts("Nidus: can't use what the boot loader handed over: ")
		puts(s.String())
		puts("\n")
		fatal("no memory map")
	}
	for i := 0; i < Early.NumMemory(); i++ {
		r := Early.Memory(i)
		if r.Type != boot.MemUsable && r.Type != boot.MemACPI && r.Type != boot.MemNVS {
			continue
		}
		if r.Start < 3<<30 {
			// firmware keeps its tables right above, in memory called reserved
			lowEnd = max(lowEnd, min((min(r.End, 3<<30)+64<<20-1)&^(64<<20-1), 3<<30))
		} else if r.Start < 4<<30 {
			lowEnd = max(lowEnd, min(r.End+page2M-1, 4<<30)&^(page2M-1))
		}
		directEnd = max(directEnd, (r.End+page2M-1)&^(page2M-1))
	}
	// what is beyond the direct map's four TiB is left alone
	directEnd = min(max(directEnd, lowEnd), DirectEnd-DirectMap)
	exclude(h)
	addExclusion(directEnd, boot.MaxPhys)
	for i := 0; i < Early.NumMemory() && bump == 0; i++ {
		if r := Early.Memory(i); r.Type == boot.MemUsable {
			free(r, func(lo, hi uint64) {
				lo = (lo + page4K - 1) &^ (page4K - 1)
				if bump == 0 && lo >= 1<<20 && hi <= 4<<30 && lo+bumpSize <= hi {
					bump, bumpEnd = lo, lo+bumpSize
				}
			})
		}
	}
	if bump == 0 {
		fatal("no 4 MiB of free memory below 4 GiB")
	}
	addExclusion(bump, bumpEnd)
}

// What is not to be handed out although the map calls it usable: sorted, disjoint
// or not.
var (
	excluded  [512]vrange
	nexcluded int
)

func addExclusion(lo, hi uint64) {
	lo, hi = lo&^(page4K-1), (hi+page4K-1)&^(page4K-1)
	if nexcluded == len(excluded) {
		fatal("the boot loader's information is in too many pieces")
	}
	i := nexcluded
	for ; i > 0 && excluded[i-1].lo > lo; i-- {
		excluded[i] = excluded[i-1]
	}
	excluded[i] = vrange{lo, hi}
	nexcluded++
}

func exclude(h *handoverBlock) {
	addExclusion(0, 1<<20)
	addExclusion(handover, handover+page2M/4) // the stub and its tables
	for i := uint64(0); i < h.nseg; i++ {
		s := &h.segs[i]
		addExclusion(s.va-ImageBase, s.va-ImageBase+s.size)
	}
	for i := 0; i < Early.NumModules(); i++ {
		m := Early.Module(i)
		addExclusion(m.Start, m.End)
	}
	for i := 0; i < Early.NumOwn(); i++ {
		o := Early.Own(i)
		addExclusion(o.Addr, o.Addr+o.Len)
	}
}

// free calls f for each part of r that is not excluded.
func free(r boot.Range, f func(lo, hi uint64)) {
	at := r.Start
	for i := 0; i < nexcluded; i++ {
		x := excluded[i]
		if x.hi <= at || x.lo >= r.End {
			continue
		}
		if x.lo > at {
			f(at, x.lo)
		}
		at = max(at, x.hi)
	}
	if at < r.End {
		f(at, r.End)
	}
}

// framesInit makes the frame table. The direct map is complete.
func framesInit() {
	top := mm.MFN(0)
	for i := 0; i < Early.NumMemory(); i++ {
		if r := Early.Memory(i); r.Type == boot.MemUsable {
			top = max(top, mm.MFN(min(r.End, directEnd)>>mm.PageShift))
		}
	}
	size := mm.MetadataBytes(top)
	place := uint64(0)
	for i := Early.NumMemory() - 1; i >= 0 && place == 0; i-- { // high memory first
		if r := Early.Memory(i); r.Type == boot.MemUsable {
			free(r, func(lo, hi uint64) {
				lo = (lo + page4K - 1) &^ (page4K - 1)
				if place == 0 && hi >= lo+size {
					place = lo
				}
			})
		}
	}
	if place == 0 {
		fatal("no room for the frame table")
	}
	for i := 0; i < nexcluded; i++ { // what the first tables did not need
		if excluded[i].hi == bumpEnd && excluded[i].lo <= bump {
			excluded[i].hi = bump
		}
	}
	bumpEnd = bump
	addExclusion(place, place+size)
	clear64(DirectMap+place, (size+7)&^7)
	Frames.Init(unsafe.Slice((*mm.FrameInfo)(Pointer(DirectMap+place)), top))
	for i := 0; i < Early.NumMemory(); i++ {
		if r := Early.Memory(i); r.Type == boot.MemUsable {
			free(r, func(lo, hi uint64) {
				lo, hi = (lo+page4K-1)>>mm.PageShift, hi>>mm.PageShift
				if lo < hi {
					Frames.AddRange(mm.MFN(lo), mm.MFN(hi))
				}
			})
		}
	}
	framesReady = true
}

// kernelFrame returns the physical address of a zeroed page, 0 if there is none.
// Preconditions: memlock, once other CPUs run.
func kernelFrame() uint64 {
	var f uint64
	if framesReady {
		m, ok := Frames.Alloc(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			return 0
		}
		f = uint64(m) << mm.PageShift
	} else {
		if bump == bumpEnd {
			fatal("the first page tables need too much memory")
		}
		f = bump
		bump += page4K
	}
	clear64(DirectMap+f, page4K)
	return f
}
