package mm

import "math/bits"

// MaxOrder is the largest block that Frames hands out: 1 GiB.
const MaxOrder = 18

// lowFrames is the first frame that a device with 32-bit DMA can't reach.
const lowFrames = 1 << (32 - PageShift)

// FrameKind says what a frame is used for.
type FrameKind uint8

// The kinds of frames. A frame that is free, or not RAM at all, is FrameNone.
const (
	FrameNone    FrameKind = iota
	frameFree              // head of a free block
	FrameKernel            // the hypervisor's own: image, heap, stacks
	FrameGuest             // a domain's RAM
	FrameSpecial           // the hypervisor's, and mapped by a guest (shared info, grant table)
	FrameMMIO              // device memory
	FrameTable             // a nested or shadow page table
	numKinds
)

// Zone says from where Alloc takes frames.
type Zone uint8

const (
	// ZoneAny takes memory above 4 GiB first and keeps the low for devices.
	ZoneAny Zone = iota
	// ZoneLow takes only memory below 4 GiB (32-bit DMA).
	ZoneLow
)

// FrameStatus is the result of an operation on frames. It is a code and not an
// error, because this code also runs where nothing may be allocated.
type FrameStatus uint8

// What an operation on frames says.
const (
	FrameOK       FrameStatus = iota
	FrameBadRange             // outside the table, misaligned, or empty
	FrameBadState             // not of the kind or owner that the operation needs
	FrameBusy                 // somebody else holds a reference
	FrameOverflow             // too many references
)

// String names the status.
func (s FrameStatus) String() string {
	switch s {
	case FrameOK:
		return "ok"
	case FrameBadRange:
		return "bad range"
	case FrameBadState:
		return "bad state"
	case FrameBusy:
		return "busy"
	case FrameOverflow:
		return "too many references"
	}
	return "unknown"
}

// FrameInfo describes one frame in 16 bytes without pointers. The zero value is
// a frame that is not RAM, or that is inside a free block: thus a fresh table
// costs nothing to set up, and memory of a free block is not touched.
type FrameInfo struct {
	// state holds references (32 bits), owner (16), kind (8), order (8, heads of
	// free blocks). One word, so that a reference is taken only from the owner
	// that was checked.
	state uint64
	// next and prev link heads of free blocks. In a used frame they hold its
	// place in its owner (SetGFN).
	next, prev uint32
}

// FrameInfoSize is the size of FrameInfo in bytes.
const FrameInfoSize = 16

// MetadataBytes returns how much memory the table of a machine needs whose
// frames are all below max.
func MetadataBytes(max MFN) uint64 { return uint64(max) * FrameInfoSize }

const noFrame = ^uint32(0)

// Frames is the machine's frame table and a buddy allocator over it.
//
// Locking: there is none inside. Init, AddRange, Reserve, Alloc, AllocAt, Free
// and Stats need the caller's spin lock, held with interrupts off where kernel
// entry code allocates too. Ref, Unref, Claim, Unclaim, SetOwner and Info are
// single atomic operations on a frame and need no lock.
//
// The methods allocate nothing, store no pointers and take no Go lock; they run
// outside the Go runtime as well.
type Frames struct {
	meta  []FrameInfo
	avail [2]uint32 // per zone: bit n is set while a block of order n is free
	free  [2][MaxOrder + 1]uint32
	stats FrameStats

	ranges  [256][2]MFN // of RAM, start and end
	nranges int
}

// FrameStats counts frames.
type FrameStats struct {
	Total  uint64                // frames of RAM that were added
	Free   uint64                // of them free
	Low    uint64                // free and below 4 GiB
	Blocks [MaxOrder + 1]uint64  // free blocks of each order
	Kinds  [int(numKinds)]uint64 // used frames of each kind
}

// Init gives f its table: one entry for each frame below the machine's highest.
//
// Preconditions: meta is zeroed memory, stays mapped, and is not longer than
// 1<<32 - 1 entries (16 TiB).
func (f *Frames) Init(meta []FrameInfo) {
	*f = Frames{meta: meta}
	for z := range f.free {
		for o := range f.free[z] {
			f.free[z][o] = noFrame
		}
	}
}

// inRange tells whether [start, start+n) has entries.
func (f *Frames) inRange(start MFN, n uint64) bool {
	return n > 0 && n <= uint64(len(f.meta)) && uint64(start) <= uint64(len(f.meta))-n
}

func (f *Frames) block(mfn MFN, order uint) FrameStatus {
	if order > MaxOrder || uint64(mfn)&(1<<order-1) != 0 || !f.inRange(mfn, 1<<order) {
		return FrameBadRange
	}
	return FrameOK
}

// AddRange makes the RAM [start, end) available. It returns FrameBadState, with
// no effect, if a part of it was added or reserved before, and FrameOverflow
// after too many ranges. It does not touch the entries inside of blocks: call it
// before Reserve and Alloc, or it has to look at them all.
func (f *Frames) AddRange(start, end MFN) FrameStatus {
	if end <= start || !f.inRange(start, uint64(end-start)) {
		return FrameBadRange
	}
	if f.nranges == len(f.ranges) {
		return FrameOverflow
	}
	for i := range f.nranges {
		if r := &f.ranges[i]; start < r[1] && r[0] < end {
			return FrameBadState
		}
	}
	if f.anyUsed() {
		for m := start; m < end; m++ {
			if f.meta[m].load() != 0 {
				return FrameBadState
			}
		}
	}
	f.ranges[f.nranges] = [2]MFN{start, end}
	f.nranges++
	f.stats.Total += uint64(end - start)
	for m := start; m < end; {
		o := uint(bits.TrailingZeros64(uint64(m) | 1<<MaxOrder))
		for uint64(end-m) < 1<<o {
			o--
		}
		f.give(m, o)
		m += 1 << o
	}
	return FrameOK
}

func (f *Frames) anyUsed() bool {
	for _, n := range f.stats.Kinds {
		if n != 0 {
			return true
		}
	}
	return false
}

// freeBlock finds the free block that holds mfn.
func (f *Frames) freeBlock(mfn MFN) (head MFN, order uint, ok bool) {
	for o := uint(0); o <= MaxOrder; o++ {
		h := mfn &^ (1<<o - 1)
		if s := f.meta[h].load(); s.kind() == frameFree && s.order() >= o {
			return h, s.order(), true
		}
	}
	return 0, 0, false
}

// Reserve takes [start, end) out of use for kind and owner: RAM that is free is
// carved out of its blocks, and a frame that is not RAM (a hole, MMIO) only gets
// its description. Each frame has one reference then. If a frame is in use, it
// returns FrameBadState and changes nothing.
func (f *Frames) Reserve(start, end MFN, kind FrameKind, owner DomID) FrameStatus {
	if end <= start || !f.inRange(start, uint64(end-start)) || !usable(kind) {
		return FrameBadRange
	}
	for m := start; m < end; m++ {
		if k := f.meta[m].load().kind(); k != FrameNone && k != frameFree {
			return FrameBadState
		}
	}
	for m := start; m < end; {
		head, o, ok := f.freeBlock(m)
		switch {
		case !ok:
			f.label(m, 0, kind, owner)
			f.stats.Kinds[kind]++
			m++
		case head >= start && end-head >= 1<<o:
			f.unlink(head, o)
			f.stats.Kinds[kind] += 1 << o
			f.label(head, o, kind, owner)
			m = head + 1<<o
		default: // reaches over an end: look again at its halves
			f.unlink(head, o)
			f.link(head, o-1)
			f.link(head+1<<(o-1), o-1)
		}
	}
	return FrameOK
}

// Alloc returns a block of 1<<order frames, aligned to its size, each with one
// reference. It does not clear them.
func (f *Frames) Alloc(order uint, kind FrameKind, owner DomID, zone Zone) (MFN, bool) {
	m, ok := f.Take(order, kind, zone)
	if ok {
		f.label(m, order, kind, owner)
	}
	return m, ok
}

// AllocAt is Alloc of one particular block.
func (f *Frames) AllocAt(mfn MFN, order uint, kind FrameKind, owner DomID) FrameStatus {
	if s := f.block(mfn, order); s != FrameOK {
		return s
	}
	if _, o, ok := f.freeBlock(mfn); !ok || o < order {
		return FrameBadState
	}
	return f.Reserve(mfn, mfn+1<<order, kind, owner)
}

// Take is Alloc without the descriptions of the frames, which nobody else looks
// at until label: so a large block keeps the lock only for a moment. For Pool's
// FrameLists.
func (f *Frames) Take(order uint, kind FrameKind, zone Zone) (MFN, bool) {
	if order > MaxOrder || !usable(kind) {
		return InvalidMFN, false
	}
	z := 1 // high
	if zone == ZoneLow || f.avail[1]>>order == 0 {
		z = 0
	}
	fit := f.avail[z] >> order << order
	if fit == 0 {
		return InvalidMFN, false
	}
	o := uint(bits.TrailingZeros32(fit))
	m := MFN(f.free[z][o])
	f.unlink(m, o)
	for o > order { // keep the upper half, give the lower back
		o--
		f.link(m, o)
		m += 1 << o
	}
	f.stats.Kinds[kind] += 1 << order
	return m, true
}

// label describes frames that take returned.
func (f *Frames) label(mfn MFN, order uint, kind FrameKind, owner DomID) {
	s := makeState(1, owner, kind)
	for m := mfn; m < mfn+1<<order; m++ {
		f.meta[m].next, f.meta[m].prev = noFrame, noFrame
		f.meta[m].store(s)
	}
}

// Free gives a block back, however its frames were allocated, if all of them
// are of one kind and nobody but the owner references them (or all are claimed).
// Otherwise it changes nothing: FrameBadState for frames that are free (or
// MMIO), FrameBusy for those that are referenced.
func (f *Frames) Free(mfn MFN, order uint) FrameStatus {
	kind, s := f.strip(mfn, order)
	if s == FrameOK {
		f.Release(mfn, order, kind)
	}
	return s
}

// strip takes the descriptions off the frames of a block; only then release may
// give it back. It needs no lock: from the first step on nobody can take a
// reference.
func (f *Frames) strip(mfn MFN, order uint) (FrameKind, FrameStatus) {
	if s := f.block(mfn, order); s != FrameOK {
		return FrameNone, s
	}
	head := f.meta[mfn].load()
	kind, refs := head.kind(), min(head.refs(), 1)
	if !usable(kind) || kind == FrameMMIO {
		return FrameNone, FrameBadState
	}
	for i := MFN(0); i < 1<<order; i++ {
		if s := f.meta[mfn+i].freeze(kind, refs); s != FrameOK {
			if refs == 1 {
				f.unclaim(mfn, i)
			}
			return FrameNone, s
		}
	}
	for i := MFN(0); i < 1<<order; i++ {
		f.meta[mfn+i].store(0)
	}
	return kind, FrameOK
}

// Release is the second half of Free: it takes back a block that strip has
// emptied of its description. For Pool's FrameLists.
func (f *Frames) Release(mfn MFN, order uint, kind FrameKind) {
	f.stats.Kinds[kind] -= 1 << order
	f.give(mfn, order)
}

// give makes a block free and joins it with its buddies.
func (f *Frames) give(m MFN, o uint) {
	for ; o < MaxOrder; o++ {
		b := m ^ 1<<o
		if uint64(b) >= uint64(len(f.meta)) || f.meta[b].load() != makeFree(o) {
			break
		}
		f.unlink(b, o)
		m &^= 1 << o
	}
	f.link(m, o)
}

func zoneOf(m MFN) int {
	if m < lowFrames {
		return 0
	}
	return 1
}

func (f *Frames) link(m MFN, o uint) {
	z := zoneOf(m)
	head := f.free[z][o]
	e := &f.meta[m]
	e.next, e.prev = head, noFrame
	if head != noFrame {
		f.meta[head].prev = uint32(m)
	}
	f.free[z][o] = uint32(m)
	f.avail[z] |= 1 << o
	e.store(makeFree(o))
	f.count(z, o, 1)
}

func (f *Frames) unlink(m MFN, o uint) {
	z := zoneOf(m)
	e := &f.meta[m]
	if e.next != noFrame {
		f.meta[e.next].prev = e.prev
	}
	if e.prev != noFrame {
		f.meta[e.prev].next = e.next
	} else {
		f.free[z][o] = e.next
		if e.next == noFrame {
			f.avail[z] &^= 1 << o
		}
	}
	e.store(0)
	f.count(z, o, ^uint64(0))
}

// count adds d (1, or all ones for -1) blocks of order o.
func (f *Frames) count(z int, o uint, d uint64) {
	f.stats.Blocks[o] += d
	f.stats.Free += d << o
	if z == 0 {
		f.stats.Low += d << o
	}
}

// Stats returns the counts.
func (f *Frames) Stats() FrameStats { return f.stats }

// CountOwner counts the used frames of a domain. It reads the whole table: for
// diagnosis, not for accounting.
func (f *Frames) CountOwner(d DomID) (n uint64) {
	for i := range f.meta {
		if s := f.meta[i].load(); usable(s.kind()) && s.owner() == d {
			n++
		}
	}
	return n
}

// End is one more than the highest frame that f describes.
func (f *Frames) End() MFN { return MFN(len(f.meta)) }
