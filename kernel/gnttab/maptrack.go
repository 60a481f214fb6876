package gnttab

import (
	"sync"

	"nidus/mm"
)

// mapping is a grant that the domain has mapped.
type mapping struct {
	granter *Table
	ref     uint32
	use     Use
	at      mm.GFN // of a PV guest: the machine address of the entry, in words
}

// maptrack holds a domain's mappings by handle. The records lie in frames of their
// own and not in Go's heap, so that a guest with many mappings takes memory that can
// run out in an orderly way:
//
//	word 0: guest frame or place of the entry (bits 0 to 48), state (bits 62 and 63)
//	word 1: reference (bits 0 to 31), place in granters (bits 32 to 47), use (bits 48 to 55);
//	        of a free record, the next free one
type maptrack struct {
	mu      sync.Mutex
	frames  FrameAllocator
	limit   int // of frames
	pages   []frame
	free    uint32 // first free record plus 1; 0: none
	used    int
	granter []granter
	byTable map[*Table]uint16
}

// granter is a table of which pages are mapped. It stays for as long as that, also
// when its domain is gone.
type granter struct {
	table *Table
	maps  int
}

const (
	mapSize      = 16
	mapsPerFrame = mm.PageSize / mapSize

	gfnBits      = 49
	gfnMask      = 1<<gfnBits - 1
	trackState   = uint64(3) << 62
	trackFree    = uint64(0)
	trackPending = uint64(1) << 62 // taken, not mapped yet
	trackMapped  = uint64(2) << 62

	maxGranters = 1 << 16
)

// record returns where the record of a handle is, or false if there is none.
func (k *maptrack) record(handle uint32) (mm.Page, int, bool) {
	if int(handle/mapsPerFrame) >= len(k.pages) {
		return mm.Page{}, 0, false
	}
	return k.pages[handle/mapsPerFrame].page, int(handle%mapsPerFrame) * mapSize, true
}

// take reserves a handle; it fails at the limit, and without memory.
func (k *maptrack) take() (handle uint32, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.free == 0 && !k.grow() {
		return 0, false
	}
	handle = k.free - 1
	pg, off, _ := k.record(handle)
	k.free = uint32(pg.Load64(off + 8))
	pg.Store64(off, trackPending)
	k.used++
	return handle, true
}

// grow adds a frame of free records.
func (k *maptrack) grow() bool {
	if len(k.pages) >= k.limit {
		return false
	}
	pg, mfn, err := k.frames.AllocPrivate()
	if err != nil {
		return false
	}
	first := uint32(len(k.pages)) * mapsPerFrame
	k.pages = append(k.pages, frame{pg, mfn})
	for i := range uint32(mapsPerFrame) {
		pg.Store64(int(i)*mapSize+8, uint64(first+i+2))
	}
	pg.Store64(mm.PageSize-8, uint64(k.free))
	k.free = first + 1
	return true
}

// set fills a reserved record; it fails if there are too many granters.
func (k *maptrack) set(handle uint32, m mapping) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	g, ok := k.byTable[m.granter]
	if !ok {
		n := k.freeGranter()
		if n == maxGranters {
			return false
		}
		g = uint16(n)
		if k.byTable == nil {
			k.byTable = map[*Table]uint16{}
		}
		k.granter[g].table = m.granter
		k.byTable[m.granter] = g
	}
	k.granter[g].maps++
	pg, off, _ := k.record(handle)
	pg.Store64(off+8, uint64(m.ref)|uint64(g)<<32|uint64(m.use)<<48)
	pg.Store64(off, trackMapped|uint64(m.at))
	return true
}

// freeGranter returns an unused place in granter, or maxGranters. It is looked for only
// when a domain meets another one for the first time.
func (k *maptrack) freeGranter() int {
	for i := range k.granter {
		if k.granter[i].table == nil {
			return i
		}
	}
	if len(k.granter) == maxGranters {
		return maxGranters
	}
	k.granter = append(k.granter, granter{})
	return len(k.granter) - 1
}

// get returns the mapping of a handle, if it is one. The lock is held.
func (k *maptrack) get(handle uint32) (mapping, bool) {
	pg, off, ok := k.record(handle)
	if !ok {
		return mapping{}, false
	}
	w, v := pg.Load64(off), pg.Load64(off+8)
	if w&trackState != trackMapped {
		return mapping{}, false
	}
	return mapping{k.granter[uint16(v>>32)].table, uint32(v), Use(v >> 48), mm.GFN(w & gfnMask)}, true
}

// drop frees a handle, reserved or mapped. The lock is held.
func (k *maptrack) drop(handle uint32) {
	pg, off, _ := k.record(handle)
	if pg.Load64(off)&trackState == trackMapped {
		g := &k.granter[uint16(pg.Load64(off+8)>>32)]
		if g.maps--; g.maps == 0 {
			delete(k.byTable, g.table)
			g.table = nil
		}
	}
	pg.Store64(off, trackFree)
	pg.Store64(off+8, uint64(k.free))
	k.free = handle + 1
	k.used--
}

// giveBack is drop of a handle that take returned and set did not fill.
func (k *maptrack) giveBack(handle uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(handle)
}

// Mappings returns how many grants the domain has mapped.
func (t *Table) Mappings() int {
	t.tracks.mu.Lock()
	defer t.tracks.mu.Unlock()
	return t.tracks.used
}
