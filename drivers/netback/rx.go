package netback

import (
	"context"
	"fmt"
	"sync"
	"time"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/mm"
)

const pageSize = mm.PageSize

// rxQueue is a ring of pages that the guest wants frames in. Who sends copies into them;
// what there is no room for waits, and its sender's requests are not answered meanwhile, so
// that the sender slows down. A response is in the slot of its request.
type rxQueue struct {
	end // shown: under mu

	mu      sync.Mutex
	prod    uint32 // next request, and response
	closed  bool
	near    mm.Near
	stalled bool // the guest has made no room for stallLimit
	backlog [backlogSize]*link.Frame
	head, n int       // of backlog
	since   time.Time // when the backlog began, or got shorter
}

// slotsFor is how many slots a frame takes.
func slotsFor(f *link.Frame) uint32 {
	n := uint32(f.Len()+pageSize-1) / pageSize
	if f.Segmentation != link.Whole {
		n++
	}
	return n
}

// room tells whether the guest has n requests in the ring, and asks for an event when it
// has if not. q.mu is held.
func (q *rxQueue) room(n uint32) (bool, error) {
	for asked := false; ; asked = true {
		have := q.load(ringReqProd) - q.prod
		if have > q.size {
			return false, fmt.Errorf("the rx ring of %d slots has %d requests", q.size, have)
		}
		if have >= n || asked {
			return have >= n, nil
		}
		q.store(ringReqEvent, q.prod+n)
	}
}

// send gives frames to the guest, or keeps them until there is room.
func (q *rxQueue) send(frames []*link.Frame) {
	s := &q.c.stats
	dropped := 0
	q.mu.Lock()
	for _, f := range frames {
		if n := f.Len(); q.closed || n < link.HeaderSize || n > pageSize && !q.c.takes.gather || !q.c.groups.wants(packet.Dst(f.Head)) {
			dropped++
			f.Done(f)
			continue
		}
		ok := false
		if q.n == 0 {
			ok = q.tryPut(f)
		}
		switch {
		case ok:
			f.Done(f)
		case q.closed || q.stalled || q.n == backlogSize || !q.c.takes.notify || !q.c.waiting.add(f):
			dropped++
			f.Done(f)
		default:
			q.backlog[(q.head+q.n)%backlogSize] = f
			if q.n++; q.n == 1 {
				q.since = time.Now()
				q.poke() // somebody has to look at the time
			}
		}
	}
	q.tell(q.prod)
	q.mu.Unlock()
	if dropped > 0 {
		s.sentDropped.Add(uint64(dropped))
	}
}

// tryPut gives the guest a frame, if there is room. Its sender has it back by Done, then. q.mu is held.
func (q *rxQueue) tryPut(f *link.Frame) bool {
	ok, err := q.room(slotsFor(f))
	if err == nil && ok {
		if err = q.put(f); err == nil {
			q.stalled = false
			q.c.stats.sentFrames.Add(1)
			q.c.stats.sentBytes.Add(uint64(f.Len()))
			return true
		}
	}
	if err != nil {
		q.closed = true // what waits is dropped when the device's worker closes it
		q.c.fail(err)
	}
	return false
}

// put copies a frame into the guest's pages. There are enough. q.mu is held.
func (q *rxQueue) put(f *link.Frame) error {
	src := link.NewReader(q.c.cfg.Memory, f, 0)
	left := f.Len()
	flags := uint16(0)
	switch f.Checksum {
	case link.Partial:
		flags = rxCsumBlank | rxValidated
	case link.Verified:
		flags = rxValidated
	}
	if f.Segmentation != link.Whole {
		flags |= rxExtra
	}
	for first := true; left > 0; first = false {
		n := min(left, pageSize)
		left -= n
		if left > 0 {
			flags |= rxMore
		}
		if err := q.fill(&src, n, flags); err != nil {
			return err
		}
		if first && flags&rxExtra != 0 {
			q.putGSO(f)
		}
		flags = 0
	}
	return nil
}

// fill uses the next request for n bytes.
func (q *rxQueue) fill(src *link.Reader, n int, flags uint16) error {
	var b [rxSlot]byte
	q.read(q.prod, b[:])
	g := q.c.cfg.Guest
	x, err := g.AcquireNear(le.Uint32(b[4:]), true, &q.near)
	if err != nil {
		return fmt.Errorf("rx request %d: %w", q.prod, err)
	}
	src.Copy(q.c.page(x), 0, n)
	g.Release(x)
	// The id is the request's; the offset is 0.
	le.PutUint16(b[2:], 0)
	le.PutUint16(b[4:], flags)
	le.PutUint16(b[6:], uint16(n))
	q.write(q.prod, b[:])
	q.prod++
	return nil
}

// putGSO uses the next request for the extra info of a frame that is to be cut.
func (q *rxQueue) putGSO(f *link.Frame) {
	b := [rxSlot]byte{0: extraGSO, 4: gsoTCPv4}
	if f.Segmentation == link.TCPv6 {
		b[4] = gsoTCPv6
	}
	le.PutUint16(b[2:], f.MSS)
	q.write(q.prod, b[:])
	q.prod++
}

// serve gives the guest what waits, as it makes room, until ctx ends.
func (q *rxQueue) serve(ctx context.Context) {
	timer := time.NewTimer(stallLimit)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		if wait := q.advance(); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// advance gives the guest what waits, as far as there is room, and returns when to look
// again, if not when the guest says so.
func (q *rxQueue) advance() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	moved := false
	for q.n > 0 && q.tryPut(q.backlog[q.head]) {
		f := q.pop()
		f.Done(f)
		moved = true
	}
	q.tell(q.prod)
	if q.n == 0 || q.closed {
		return 0 // a closed queue's frames are dropped by close
	}
	now := time.Now()
	if moved {
		q.since = now
	}
	wait := stallLimit - now.Sub(q.since)
	if wait <= 0 {
		q.stalled = true
		q.dropAll()
	}
	return wait
}

// pop takes the first frame out of the backlog. q.mu is held.
func (q *rxQueue) pop() *link.Frame {
	f := q.backlog[q.head]
	q.backlog[q.head] = nil
	q.head, q.n = (q.head+1)%backlogSize, q.n-1
	q.c.waiting.remove(f)
	return f
}

// dropAll drops what waits. q.mu is held.
func (q *rxQueue) dropAll() {
	for q.n > 0 {
		f := q.pop()
		q.c.stats.sentDropped.Add(1)
		f.Done(f)
	}
}

// close drops what waits, and takes nothing more.
func (q *rxQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.dropAll()
}
