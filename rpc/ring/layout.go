package ring

import "fmt"

// The layout of a region, byte for byte the tables of docs/ring.md (a test compares
// them). Every word is 64 bits, little-endian, and is loaded and stored whole. Words
// of the two sides, and words that change at different rates, lie on different cache
// lines.

// Magic is the first word of a region that has a host: "NIDURING".
const Magic = 0x474e49525544494e

// Version of the layout: a client refuses another major version; a minor version adds
// words where zeros were.
const (
	VersionMajor = 1
	VersionMinor = 1
)

// Offsets in a region's header, which the host alone writes.
const (
	offMagic      = 0x000
	offVersion    = 0x008 // major<<32 | minor
	offGeneration = 0x010 // another one each time that a host starts
	offFeatures   = 0x018 // what the host offers, low 32 bits
	offSlots      = 0x020
	offSlotSize   = 0x028 // bytes from one slot to the next
	offRingSize   = 0x030 // bytes of one direction's ring
	offHostBeat   = 0x040

	headerSize = 0x1000
)

// Offsets in a slot.
const (
	// The host writes these...
	offOffer      = 0x000 // epoch<<32 | stateFree or stateOpen
	offLast       = 0x008 // epoch<<32 | why that connection ended
	offHostTail   = 0x040 // index: producer of host-to-client bytes
	offHostHead   = 0x080 // index: consumer of client-to-host bytes
	offHostRdWait = 0x0c0 // 1 while the host's reader sleeps and wants a bell
	offHostWrWait = 0x100 // 1 while its writer does

	// ... and the client these.
	offClaim        = 0x200 // epoch<<32 | lockedClaim or any number; compare-and-swap
	offHello        = 0x208 // epoch<<32 | features taken
	offDead         = 0x210 // epoch<<32: another client found this epoch's dead (1.1)
	offClientTail   = 0x240
	offClientHead   = 0x280
	offClientRdWait = 0x2c0
	offClientWrWait = 0x300
	offClientBeat   = 0x340

	slotHeader = 0x1000 // then the client-to-host ring, then the host-to-client ring
)

// States of a slot, in the low half of its offer word.
const (
	stateFree = 1
	stateOpen = 2
)

// lockedClaim is the low half of the claim of a client that holds the lock of its slot
// (Locks) from before it claims until after it has closed.
const lockedClaim = 0x4b434f4c // "LOCK"

// featureBell: both sides ring each other's doorbell. Without it both poll.
const featureBell = 1 << 0

// Limits of what a host may choose, and of what a client believes.
const (
	minRingSize = 1 << 12
	maxRingSize = 1 << 30 // half of what a position counts, so that full and empty differ
	maxSlots    = 1 << 10
)

// An index word holds a position together with what makes it valid, so that one load
// sees a consistent whole: the connection's epoch, whether this end is closed (no byte
// will be added, or none will be taken), and the bytes moved so far, modulo 2^31.
const (
	closedBit = 1 << 31
	posMask   = closedBit - 1
)

// tagged joins an epoch and a low half.
func tagged(epoch, low uint32) uint64 { return uint64(epoch)<<32 | uint64(low) }

// epochOf returns the epoch that a word is tagged with.
func epochOf(w uint64) uint32 { return uint32(w >> 32) }

// geometry is the part of a header that says where everything lies. It is checked once
// and then kept outside the region, where the peer can't change it.
type geometry struct {
	slots    int
	ringSize int
}

func (g geometry) slotSize() int    { return slotHeader + 2*g.ringSize }
func (g geometry) size() int        { return headerSize + g.slots*g.slotSize() }
func (g geometry) slot(i int) int   { return headerSize + i*g.slotSize() }
func (g geometry) toHost(i int) int { return g.slot(i) + slotHeader }
func (g geometry) toClient(i int) int {
	return g.slot(i) + slotHeader + g.ringSize
}

// check says whether a region of size bytes can hold g.
func (g geometry) check(size int) error {
	switch {
	case g.slots < 1 || g.slots > maxSlots:
		return fmt.Errorf("%w: %d slots, need 1 to %d", ErrFormat, g.slots, maxSlots)
	case g.ringSize < minRingSize || g.ringSize > maxRingSize || g.ringSize&(g.ringSize-1) != 0:
		return fmt.Errorf("%w: rings of %d bytes, need a power of two from %d to %d",
			ErrFormat, g.ringSize, minRingSize, maxRingSize)
	case g.size() > size:
		return fmt.Errorf("%w: %d slots with rings of %d bytes need a region of %d bytes, this one has %d",
			ErrFormat, g.slots, g.ringSize, g.size(), size)
	}
	return nil
}

// wordName names a slot's word in errors as docs/ring.md does.
func wordName(off int) string {
	switch off {
	case offOffer:
		return "offer"
	case offHello:
		return "hello"
	case offClaim:
		return "claim"
	case offDead:
		return "dead"
	case offHostTail:
		return "host_tail"
	case offHostHead:
		return "host_head"
	case offClientTail:
		return "client_tail"
	case offClientHead:
		return "client_head"
	}
	return fmt.Sprintf("word %#x", off)
}
