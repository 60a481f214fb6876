//go:build tamago

package baremetal

import (
	"math/bits"

	"nidus/kernel/cpu"
)

// The host's page tables: built once at boot, and extended in the VMap window, from
// which memory also goes back (see vmap.go).

var (
	hostL4    uint64 // physical
	directEnd uint64 // first physical address beyond the direct map
	lowEnd    uint64 // the part of it below 4 GiB that is cached memory
)

func table(t, i uint64) uint64 { return DirectMap + t + i*8 }

// child returns the physical address of the table below entry i of t, and makes
// it if there is none.
func child(t, i uint64) uint64 {
	e := table(t, i)
	if ld64(e)&ptePresent == 0 {
		f := kernelFrame()
		if f == 0 {
			return 0
		}
		st64(e, f|ptePresent|pteWrite)
	}
	return ld64(e) & pteAddr
}

// mapPage maps a page of size (4 KiB, 2 MiB or 1 GiB) at va. False: no memory
// for a table.
func mapPage(va, pa, flags, size uint64) bool { return mapIn(hostL4, va, pa, flags, size) }

// mapIn is mapPage in the page tables below an L4.
func mapIn(t, va, pa, flags, size uint64) bool {
	shift := uint(39)
	last := uint(12)
	if size != page4K {
		flags |= pteLarge
		last = uint(bits.TrailingZeros64(size))
	}
	for ; shift > last; shift -= 9 {
		if t = child(t, va>>shift&511); t == 0 {
			return false
		}
	}
	st64(table(t, va>>last&511), pa|flags)
	return true
}

// HoleEntries returns the L4 entries 256 to 271 of the host's page tables, which stay as
// they are: what each address space has there.
func HoleEntries() (e [16]uint64) {
	for i := range e {
		e[i] = ld64(table(hostL4, 256+uint64(i)))
	}
	return e
}

// lookup returns the entry that maps va, or 0.
func lookup(va uint64) uint64 {
	t := hostL4
	for shift := uint(39); ; shift -= 9 {
		e := ld64(table(t, va>>shift&511))
		if e&ptePresent == 0 || shift == 12 || shift < 39 && e&pteLarge != 0 {
			return e
		}
		t = e & pteAddr
	}
}

// buildMap replaces the stub's tables: direct map of all RAM, the image with each
// segment's rights, the devices uncached, and nothing else but a low identity
// map, without page 0, that bringing up CPUs needs.
func buildMap(h *handoverBlock) {
	hostL4 = kernelFrame()
	for i := uint64(256); i < 272; i++ { // a guest's copy of these never goes stale
		child(hostL4, i)
	}
	imgLo, imgHi := ^uint64(0), uint64(0)
	for i := uint64(0); i < h.nseg; i++ {
		s := &h.segs[i]
		flags := uint64(ptePresent | pteGlobal)
		const elfX, elfW = 1, 2
		if s.flags&elfX == 0 {
			flags |= pteNX
		}
		if s.flags&elfW != 0 {
			flags |= pteWrite
		}
		lo, hi := s.va&^(page4K-1), (s.va+s.size+page4K-1)&^(page4K-1)
		for va := lo; va < hi; va += page4K {
			mapPage(va, va-ImageBase, flags, page4K)
		}
		imgLo, imgHi = min(imgLo, lo-ImageBase), max(imgHi, hi-ImageBase)
	}
	_, _, _, d := cpu.CPUID(0x80000001, 0)
	giant := d>>26&1 != 0
	for pa := uint64(0); pa < directEnd; {
		size := uint64(page2M)
		switch {
		case pa >= lowEnd && pa < 4<<30: // devices
			pa = 4 << 30
			continue
		case giant && pa >= 4<<30 && pa+page1G <= directEnd:
			size = page1G
		case pa < imgHi && pa+page2M > imgLo:
			// no writable alias of the image's text
			for p := pa; p < pa+page2M; p += page4K {
				if p < imgLo || p >= imgHi {
					mapPage(DirectMap+p, p, pteData, page4K)
				}
			}
			pa += page2M
			continue
		}
		mapPage(DirectMap+pa, pa, pteData, size)
		pa += size
	}
	for pa := uint64(3 << 30); pa < 4<<30; pa += page2M {
		if pa >= lowEnd {
			mapPage(MMIOBase+pa, pa, pteMMIO, page2M)
		}
	}
	for pa := uint64(page4K); pa < page2M; pa += page4K {
		mapPage(pa, pa, ptePresent|pteWrite, page4K)
	}
	wrcr3(hostL4)
}

// MapMMIO returns the kernel address of n bytes of device registers at a physical
// address; 0 if there is no room.
func MapMMIO(pa, n uint64) uint64 {
	if pa >= 3<<30 && pa >= lowEnd && pa+n <= 4<<30 {
		return MMIOBase + pa
	}
	return call(callMapDevice, pa, n, pteMMIO, 0)
}

// MapShared returns the kernel address of n bytes of a device's memory that is shared
// with other processors, cached as RAM is; 0 if there is no room.
func MapShared(pa, n uint64) uint64 { return call(callMapDevice, pa, n, pteData, 0) }
