// Package ring carries byte streams through a region of shared memory: it is the
// transport under the control plane's calls, between parts of one image, between
// domains, and between QEMU's guest and a program beside QEMU (ivshmem-plain).
//
// One side is the host: it lays the region out and accepts connections (Listen). Any
// number of clients attach to it (Dial). A region has a fixed number of slots, each of
// which carries one connection at a time: two single-producer single-consumer rings and
// the words that control them, each written by one side only. docs/ring.md describes
// the region to the byte.
//
// Neither side trusts the other. Every word of the peer is loaded once and checked; a
// peer that breaks the protocol loses its connection with a ProtocolError. What arrives
// in a Read's buffer is a copy, which the peer can't change any more.
package ring

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Options of a host or a client. The zero value polls and has usable sizes.
type Options struct {
	// Slots is how many connections the region carries at a time; 0 means 8. Only for
	// the host.
	Slots int
	// RingSize is the bytes of each direction's ring, a power of two from 4 KiB to
	// 1 GiB; 0 means the largest that fits, up to 1 MiB. Only for the host.
	RingSize int
	// Doorbell wakes the other side and this one. nil means that both poll; they also do
	// if the other side has none.
	Doorbell Doorbell
	// Locks tell living clients from dead ones; nil: only their heartbeats do. Only for a
	// client; DialFile has its own.
	Locks Locks
	// Dropped is told of each connection, or attempt at one, that the host ended for
	// another reason than that both sides had closed: the slot, and why. It must not
	// block. Only for the host.
	Dropped func(slot int, why error)
	// PeerTimeout is how long the peer's heartbeat may stand still; 0 means 15 s. A client's
	// may do so for a fifth of it before its first beat, and once the host has closed. A heart
	// beats once a second, or PeerTimeout/15 if that is shorter: below a few seconds, both
	// sides have to choose the same.
	PeerTimeout time.Duration
	// MaxPause is the longest sleep between two looks while polling; 0 means 5 ms. A
	// shorter one finds the first bytes after a rest sooner, and costs more when idle.
	MaxPause time.Duration
}

const (
	defaultSlots       = 8
	defaultRingSize    = 1 << 20
	defaultPeerTimeout = 15 * time.Second
	defaultMaxPause    = 5 * time.Millisecond

	// missedBeats is how many looks in a row at a heart that stands still end a
	// connection. Looks are counted, not time: a side that was stopped itself (by a
	// debugger, with its machine) must not take that for the peer's silence.
	missedBeats = 15
	// startBeats is how many are enough of a client that has nothing to lose yet, or any
	// more: it has claimed its slot and says no hello, its heart has not begun to beat, or
	// the host has closed.
	startBeats = 3
)

func (o Options) withDefaults() Options {
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	if o.PeerTimeout <= 0 {
		o.PeerTimeout = defaultPeerTimeout
	}
	if o.MaxPause <= 0 {
		o.MaxPause = defaultMaxPause
	}
	return o
}

// beat is the time between two of our own heartbeats, and between two looks at the
// peer's.
func (o Options) beat() time.Duration {
	return max(min(o.PeerTimeout/missedBeats, time.Second), time.Millisecond)
}

// geometry chooses the layout of a region of size bytes.
func (o Options) geometry(size int) (geometry, error) {
	g := geometry{slots: o.Slots, ringSize: o.RingSize}
	if g.ringSize == 0 && g.slots > 0 && g.slots <= maxSlots {
		for g.ringSize = defaultRingSize; g.ringSize > minRingSize && g.size() > size; {
			g.ringSize /= 2
		}
	}
	return g, g.check(size)
}

// Size returns the bytes of a region for that many slots (0: the default) with rings of
// ringSize bytes (0: 1 MiB).
func Size(slots, ringSize int) int {
	if slots == 0 {
		slots = defaultSlots
	}
	if ringSize == 0 {
		ringSize = defaultRingSize
	}
	return geometry{slots, ringSize}.size()
}

// Format lays the region out and offers its slots, without serving them; Listen does
// this too. Every connection there was is reset. The region starts at a multiple of 64
// and holds at least Size bytes.
func Format(region []byte, opts Options) error {
	_, err := format(region, opts.withDefaults())
	return err
}

// formatted is a region that was laid out, as the host keeps it to itself.
type formatted struct {
	mem   memory
	geo   geometry
	epoch []uint32 // of each slot
}

func format(region []byte, opts Options) (*formatted, error) {
	mem, err := newMemory(region)
	if err != nil {
		return nil, err
	}
	geo, err := opts.geometry(len(region))
	if err != nil {
		return nil, err
	}
	f := &formatted{mem: mem, geo: geo, epoch: make([]uint32, geo.slots)}

	// Without the magic nobody attaches; who was attached sees another epoch.
	mem.word(offMagic).Store(0)
	for i := range f.epoch {
		was := epochOf(mem.word(geo.slot(i) + offOffer).Load())
		f.epoch[i] = nextEpoch(rand.Uint32())
		if f.epoch[i] == was {
			f.epoch[i] = nextEpoch(was)
		}
		for off := 0; off < slotHeader; off += 8 {
			mem.word(geo.slot(i) + off).Store(0)
		}
		f.offer(i)
	}
	var features uint64
	if opts.Doorbell != nil {
		features |= featureBell
	}
	for off := 8; off < headerSize; off += 8 {
		mem.word(off).Store(0)
	}
	mem.word(offVersion).Store(tagged(VersionMajor, VersionMinor))
	mem.word(offGeneration).Store(rand.Uint64())
	mem.word(offFeatures).Store(features)
	mem.word(offSlots).Store(uint64(geo.slots))
	mem.word(offSlotSize).Store(uint64(geo.slotSize()))
	mem.word(offRingSize).Store(uint64(geo.ringSize))
	mem.word(offMagic).Store(Magic)
	return f, nil
}

// offer makes slot i free for a client, under its present epoch.
func (f *formatted) offer(i int) {
	epoch, at := f.epoch[i], f.geo.slot(i)
	f.mem.word(at + offHostTail).Store(tagged(epoch, 0))
	f.mem.word(at + offHostHead).Store(tagged(epoch, 0))
	f.mem.word(at + offHostRdWait).Store(0)
	f.mem.word(at + offHostWrWait).Store(0)
	f.mem.word(at + offOffer).Store(tagged(epoch, stateFree))
}

// advance chooses the epoch of slot i's next connection: the next one with which none of
// the clients' words of state is tagged already. Nobody can have claimed it; who has
// written it lies, and would otherwise have the slot again, for each word once.
func (f *formatted) advance(i int) {
	words := [...]int{offClaim, offHello, offDead}
	f.epoch[i] = nextEpoch(f.epoch[i])
	for range words { // each stands in the way of one epoch
		for _, off := range words {
			if epochOf(f.mem.word(f.geo.slot(i)+off).Load()) == f.epoch[i] {
				f.epoch[i] = nextEpoch(f.epoch[i])
			}
		}
	}
}

// nextEpoch skips 0, which is no epoch: zeroed words belong to none.
func nextEpoch(e uint32) uint32 { return max(e+1, 1) }

// Addr is the address of one end of a connection.
type Addr struct {
	Host  bool
	Slot  int
	Epoch uint32 // of the connection; other connections of the slot have others
}

// Network returns "ring".
func (Addr) Network() string { return "ring" }

func (a Addr) String() string {
	side := "client"
	if a.Host {
		side = "host"
	}
	return fmt.Sprintf("%s/%d/%08x", side, a.Slot, a.Epoch)
}
