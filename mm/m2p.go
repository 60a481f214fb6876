package mm

import (
	"fmt"
	"sync/atomic"
)

// M2P is the machine-to-physical table of PV guests (arch-x86/xen-x86_64.h,
// machine_to_phys_mapping): for each frame of the machine the number that its domain
// gave it. Guests read all of it, and write it by MMU_MACHPHYS_UPDATE for frames of
// their own.
type M2P struct {
	mem    FrameMemory
	frames MFN
	blocks []MFN // of 512 pages each
	narrow []MFN // the same in words of 32 bits, for 32-bit guests
	tables []MFN
	top    MFN
}

// InvalidM2P is what a frame has that no PV domain owns (arch-x86/xen.h,
// INVALID_M2P_ENTRY).
const InvalidM2P = ^uint64(0)

const (
	m2pPerPage  = PageSize / 8
	m2pPerBlock = m2pPerPage << tableBits

	narrowPerPage  = PageSize / 4
	narrowPerBlock = narrowPerPage << tableBits
	// narrowBlocks is what fits between 0xf5800000 and 4 GiB (arch-x86/xen-x86_32.h,
	// __MACH2PHYS_VIRT_START).
	narrowBlocks = (1<<32 - 0xf5800000) >> (PageShift + tableBits)
)

// Bits of a table's entries as guests get it: user, read-only, never executed. It has no
// lower copy that is writable.
const (
	m2pTable = 1<<0 | 1<<2 | 1<<5
	m2pLeaf  = 1<<0 | 1<<2 | 1<<5 | 1<<6 | 1<<7 | 1<<63
)

// NewM2P makes the table for a machine whose frames are below max: 2 MiB for each GiB.
func NewM2P(mem FrameMemory, max MFN) (*M2P, error) {
	t := &M2P{mem: mem, frames: max, top: InvalidMFN}
	if err := t.fill(); err != nil {
		t.Free()
		return nil, fmt.Errorf("machine-to-physical table for %d frames: %w", max, err)
	}
	return t, nil
}

func (t *M2P) fill() error {
	var ok bool
	if t.top, ok = t.table(); !ok {
		return ErrNoMemory
	}
	var mid MFN
	for i := MFN(0); i*m2pPerBlock < t.frames; i++ {
		if i%tableEntries == 0 {
			if mid, ok = t.table(); !ok {
				return ErrNoMemory
			}
			atomic.StoreUint64(&t.mem.Table(t.top)[i/tableEntries], uint64(mid)<<PageShift|m2pTable)
		}
		b, ok := t.block()
		if !ok {
			return ErrNoMemory
		}
		t.blocks = append(t.blocks, b)
		atomic.StoreUint64(&t.mem.Table(mid)[i%tableEntries], uint64(b)<<PageShift|m2pLeaf)
	}
	for i := MFN(0); i*narrowPerBlock < t.frames && i < narrowBlocks; i++ {
		b, ok := t.block()
		if !ok {
			return ErrNoMemory
		}
		t.narrow = append(t.narrow, b)
	}
	return nil
}

// block makes a part of the table, without an entry that means anything.
func (t *M2P) block() (MFN, bool) {
	b, ok := t.mem.AllocFrames(tableBits, FrameKernel, DomIDXen, ZoneAny)
	if ok {
		for p := range MFN(tableEntries) {
			for off := 0; off < PageSize; off += 8 {
				t.mem.Page(b+p).Store64(off, InvalidM2P)
			}
		}
	}
	return b, ok
}

func (t *M2P) table() (MFN, bool) {
	m, ok := t.mem.AllocFrames(0, FrameKernel, DomIDXen, ZoneAny) // the kernel's: they stay
	if ok {
		t.mem.Page(m).Clear()
		t.tables = append(t.tables, m)
	}
	return m, ok
}

// Free gives the memory back. No guest may have the table any more.
func (t *M2P) Free() {
	for _, b := range append(t.blocks, t.narrow...) {
		t.mem.FreeFrames(b, tableBits)
	}
	for _, m := range t.tables {
		t.mem.FreeFrames(m, 0)
	}
	*t = M2P{mem: t.mem, top: InvalidMFN}
}

// Entry is what belongs in L4 slot 256 of a PV guest's tables.
func (t *M2P) Entry() uint64 { return uint64(t.top)<<PageShift | m2pTable }

// Entries32 is what belongs in the L2 table of a 32-bit guest's highest GiB, from the entry
// for 0xf5800000 on.
func (t *M2P) Entries32() (e []uint64) {
	for _, b := range t.narrow {
		e = append(e, uint64(b)<<PageShift|m2pLeaf)
	}
	return e
}

// Extents are the first frames of the table's parts of 2 MiB each, in order; with narrow, of
// the table of 32-bit guests. Nobody may change them.
func (t *M2P) Extents(narrow bool) []MFN {
	if narrow {
		return t.narrow
	}
	return t.blocks
}

// Frames is one more than the highest frame that the table has.
func (t *M2P) Frames() MFN { return t.frames }

// Set makes pfn what guests find for m; the caller knows that m is its domain's.
func (t *M2P) Set(m MFN, pfn uint64) {
	if pg, off, ok := t.at(m); ok {
		pg.Store64(off, pfn)
	}
	if page := m / narrowPerPage; m < t.frames && int(page>>tableBits) < len(t.narrow) {
		t.mem.Page(t.narrow[page>>tableBits]+page&(tableEntries-1)).Store32(int(m%narrowPerPage)*4, uint32(pfn))
	}
}

// Get returns what Set stored last, or InvalidM2P.
func (t *M2P) Get(m MFN) uint64 {
	if pg, off, ok := t.at(m); ok {
		return pg.Load64(off)
	}
	return InvalidM2P
}

func (t *M2P) at(m MFN) (Page, int, bool) {
	if m >= t.frames {
		return Page{}, 0, false
	}
	page := m / m2pPerPage
	return t.mem.Page(t.blocks[page>>tableBits] + page&(tableEntries-1)), int(m%m2pPerPage) * 8, true
}
