package virtio

import (
	"errors"
	"fmt"

	"nidus/drivers/device"
	"nidus/mm"
)

// Buffer is memory that a device reads, or writes.
type Buffer struct {
	Addr  uint64 // as the device names it
	Len   uint32
	Write bool // by the device
}

// ErrBroken says that a device has put into a queue what can't be there.
var ErrBroken = errors.New("the device does not keep to the protocol")

const (
	// MaxQueue is the largest queue: each of its three parts fits into a frame.
	MaxQueue = 256
	// MaxBuffers is what one chain has at most, with indirect descriptors.
	MaxBuffers = mm.PageSize / descSize

	descSize     = 16
	descNext     = 1 << 32
	descWrite    = 2 << 32
	descIndirect = 4 << 32

	ringEntries = 4 // offset in both rings, behind flags and index
)

// Queue is a split virtqueue (section 2.7). It copies nothing: buffers are where the
// driver says. The driver's own state is not in the shared memory, and so is not the
// device's to change.
//
// Its methods need the caller's lock.
type Queue struct {
	mem               device.Memory
	rings             []mm.MFN // desc, avail, used; or one piece of 1<<order frames
	order             uint
	frames            []mm.MFN // of tables
	desc, avail, used mm.Page
	availAt           int       // its offset in the page; those of the others are 0
	tables            []mm.Page // indirect descriptors of each chain; nil: not offered
	tableAddr         []uint64
	eventIndex        bool
	notify            func()

	size     uint16
	free     uint16 // first free descriptor
	nfree    uint16
	chains   []chain // by their first descriptor
	next     []uint16
	ring     []uint16 // what is in avail
	availIdx uint16
	kicked   uint16 // availIdx at the last Kick
	usedIdx  uint16
	inFlight uint16
	usedBad  error
}

// chain is what one request has.
type chain struct {
	busy  bool
	descs uint16
	room  uint64 // bytes that the device may write
}

// newQueue makes a queue of size descriptors, a power of two from 2 to MaxQueue. If it is
// whole, its parts lie as devices of before 1.0 expect them (section 2.7.2).
func newQueue(mem device.Memory, size uint16, features uint64, whole bool, notify func()) (*Queue, error) {
	q := &Queue{mem: mem, size: size, notify: notify, eventIndex: features&FeatureEventIndex != 0,
		chains: make([]chain, size), next: make([]uint16, size), ring: make([]uint16, size), nfree: size}
	for i := range q.next {
		q.next[i] = uint16(i + 1)
	}
	if err := q.alloc(features, whole); err != nil {
		q.close()
		return nil, fmt.Errorf("a queue's memory: %w", err)
	}
	return q, nil
}

func (q *Queue) alloc(features uint64, whole bool) error {
	pieces := 3
	if whole {
		q.order, pieces = 2, 1
	}
	for range pieces {
		m, err := q.mem.Alloc(q.order, mm.ZoneAny)
		if err != nil {
			return err
		}
		q.rings = append(q.rings, m)
	}
	if whole {
		availAt := int(q.size) * descSize
		usedAt := (availAt + ringEntries + 2*int(q.size) + 2 + mm.PageMask) &^ mm.PageMask
		page := func(at int) mm.Page { return q.mem.Page(q.rings[0] + mm.MFN(at>>mm.PageShift)) }
		q.desc, q.avail, q.used, q.availAt = page(0), page(availAt), page(usedAt), availAt&mm.PageMask
	} else {
		q.desc, q.avail, q.used = q.mem.Page(q.rings[0]), q.mem.Page(q.rings[1]), q.mem.Page(q.rings[2])
	}
	if features&FeatureIndirect == 0 {
		return nil
	}
	for range q.size {
		m, err := q.mem.Alloc(0, mm.ZoneAny)
		if err != nil {
			return err
		}
		q.frames = append(q.frames, m)
		q.tables = append(q.tables, q.mem.Page(m))
		q.tableAddr = append(q.tableAddr, q.mem.DMA(m))
	}
	return nil
}

// close gives the memory back. Preconditions: the device was reset.
func (q *Queue) close() {
	for _, m := range q.rings {
		q.mem.Free(m, q.order)
	}
	for _, m := range q.frames {
		q.mem.Free(m, 0)
	}
	q.rings, q.frames = nil, nil
}

// Size is how many descriptors there are.
func (q *Queue) Size() int { return int(q.size) }

// MostBuffers is what Add takes at once, when nothing is in flight.
func (q *Queue) MostBuffers() int {
	if q.tables != nil {
		return MaxBuffers
	}
	return int(q.size)
}

// Add puts a chain of buffers into the queue; those that the device reads come first.
// The id names it until Next returns it. ok is false if there is no room now.
// Preconditions: 1 to MostBuffers buffers.
func (q *Queue) Add(bufs []Buffer) (id uint16, ok bool) {
	indirect := q.tables != nil && len(bufs) > 1
	need := uint16(len(bufs))
	if indirect {
		need = 1
	}
	if q.usedBad != nil || q.nfree < need {
		return 0, false
	}
	id = q.free
	c := chain{busy: true, descs: need}
	at := id
	for i, b := range bufs {
		v := uint64(b.Len)
		if b.Write {
			v |= descWrite
			c.room += uint64(b.Len)
		}
		more := i < len(bufs)-1
		if indirect {
			if more {
				v |= descNext | uint64(i+1)<<48
			}
			put(q.tables[id], i, b.Addr, v)
			continue
		}
		if more {
			v |= descNext | uint64(q.next[at])<<48
		}
		put(q.desc, int(at), b.Addr, v)
		if more {
			at = q.next[at]
		}
	}
	if indirect {
		put(q.desc, int(id), q.tableAddr[id], uint64(len(bufs)*descSize)|descIndirect)
	}
	q.free = q.next[at]
	q.nfree -= need
	q.chains[id] = c
	q.inFlight++

	// The ring's entries have 16 bits, its memory is written by 32: two are rewritten.
	slot := q.availIdx & (q.size - 1)
	q.ring[slot] = id
	even := slot &^ 1
	q.avail.Store32(q.availAt+ringEntries+int(even)*2, uint32(q.ring[even])|uint32(q.ring[even+1])<<16)
	q.availIdx++
	q.avail.Store32(q.availAt, uint32(q.availIdx)<<16)
	return id, true
}

func put(p mm.Page, i int, addr, v uint64) {
	p.Store64(i*descSize, addr)
	p.Store64(i*descSize+8, v)
}

// Kick tells the device what was added, if it wants to know.
func (q *Queue) Kick() {
	old := q.kicked
	if old == q.availIdx {
		return
	}
	q.kicked = q.availIdx
	// Add's last store was a locked instruction: this load is after it.
	if q.eventIndex {
		event := uint16(q.used.Load32(ringEntries + int(q.size)*8))
		if q.availIdx-event-1 >= q.availIdx-old {
			return
		}
	} else if q.used.Load32(0)&1 != 0 {
		return
	}
	q.notify()
}

// Next returns a chain that the device is done with and the bytes it wrote; ok is false
// if there is none. The error wraps ErrBroken: the queue is of no use from then on, and
// what is in flight is the device's until it was reset.
func (q *Queue) Next() (id uint16, written uint32, ok bool, err error) {
	if q.usedBad != nil {
		return 0, 0, false, q.usedBad
	}
	n := uint16(q.used.Load32(0)>>16) - q.usedIdx
	if n == 0 {
		return 0, 0, false, nil
	}
	bad := func(format string, args ...any) (uint16, uint32, bool, error) {
		q.usedBad = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrBroken)
		return 0, 0, false, q.usedBad
	}
	if n > q.inFlight {
		return bad("%d of %d requests are done", n, q.inFlight)
	}
	at := ringEntries + int(q.usedIdx&(q.size-1))*8
	first, written := q.used.Load32(at), q.used.Load32(at+4)
	if first >= uint32(q.size) || !q.chains[first].busy {
		return bad("request %d is done, which is not in flight", first)
	}
	id = uint16(first)
	c := &q.chains[id]
	if uint64(written) > c.room {
		return bad("%d bytes were written into %d", written, c.room)
	}
	q.usedIdx++
	q.inFlight--
	c.busy = false
	last := id
	for range c.descs - 1 {
		last = q.next[last]
	}
	q.next[last], q.free = q.free, id
	q.nfree += c.descs
	return id, written, true, nil
}

// Rearm asks for an interrupt when the next chain is done. It is false if one is by now:
// look again.
func (q *Queue) Rearm() bool {
	if q.eventIndex {
		q.avail.Store32(q.availAt+ringEntries+int(q.size)*2, uint32(q.usedIdx))
	}
	return q.usedBad != nil || uint16(q.used.Load32(0)>>16) == q.usedIdx
}
