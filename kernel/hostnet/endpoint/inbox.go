package endpoint

import (
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"

	"nidus/drivers/link"
)

// Limits of what waits to be delivered: frames that come in beyond are dropped. One sender
// has at most as much as is left for the next one, so half of it if it is alone.
const (
	maxWaiting      = 2048
	maxWaitingBytes = 4 << 20
)

// Senders take turns, in which a frame costs its bytes, and at least leastCost, which is
// about what headers cost the stack. A turn has room for the longest frame.
const (
	turn      = link.MaxFrame
	leastCost = 2048
)

// inbound is a frame that waits.
type inbound struct {
	view  *buffer.View
	sound bool // somebody vouches for the transport's checksum
}

// queue is what waits of one sender. It is in the inbox while there is something.
type queue struct {
	from    link.ID
	waiting []inbound
	bytes   int
	credit  int // left of its turns
}

// inbox has frames between the port's receiver, which may not block, and the stack: a
// sender that floods it has its own frames dropped, and keeps nobody else's waiting for
// more than its turns.
type inbox struct {
	mu            sync.Mutex
	turns         []*queue // the next one first; none is empty
	free          []*queue
	frames, bytes int // of all
	closed        bool
	wake          chan struct{}
	dropped       atomic.Uint64
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

// add takes a frame of a sender, or drops it.
func (b *inbox) add(from link.ID, i inbound) {
	n := i.view.Size()
	b.mu.Lock()
	q := b.queue(from)
	ok := !b.closed && len(q.waiting) < maxWaiting-b.frames && q.bytes+n <= maxWaitingBytes-b.bytes
	if ok {
		if len(q.waiting) == 0 {
			b.turns = append(b.turns, q)
		}
		q.waiting, q.bytes = append(q.waiting, i), q.bytes+n
		b.frames, b.bytes = b.frames+1, b.bytes+n
	} else if len(q.waiting) == 0 {
		b.free = append(b.free, q)
	}
	b.mu.Unlock()
	if !ok {
		b.dropped.Add(1)
		i.view.Release()
	}
}

// queue returns a sender's queue, or an empty one that is not in turns. b.mu is held.
func (b *inbox) queue(from link.ID) *queue {
	for _, q := range b.turns {
		if q.from == from {
			return q
		}
	}
	q := &queue{}
	if k := len(b.free); k > 0 {
		q, b.free = b.free[k-1], b.free[:k-1]
	}
	q.from = from
	return q
}

// notify wakes who takes.
func (b *inbox) notify() {
	select {
	case b.wake <- struct{}{}:
	default: // it is about to look
	}
}

// take waits for frames and returns those of the next turn, in got's memory; false: the
// inbox was closed, and all that is left is returned.
func (b *inbox) take(got []inbound) ([]inbound, bool) {
	for {
		b.mu.Lock()
		got = got[:0]
		for len(b.turns) > 0 && (len(got) == 0 || b.closed) {
			got = b.next(got)
		}
		closed := b.closed
		b.mu.Unlock()
		if len(got) > 0 || closed {
			return got, !closed
		}
		<-b.wake
	}
}

// next appends the frames of the next turn. b.mu is held, and there is one.
func (b *inbox) next(got []inbound) []inbound {
	q := b.turns[0]
	q.credit += turn
	k := 0
	for k < len(q.waiting) {
		n := q.waiting[k].view.Size()
		if q.credit < max(n, leastCost) {
			break
		}
		q.credit -= max(n, leastCost)
		q.bytes, b.bytes = q.bytes-n, b.bytes-n
		k++
	}
	got = append(got, q.waiting[:k]...)
	q.waiting = slices.Delete(q.waiting, 0, k)
	b.frames -= k
	b.turns = slices.Delete(b.turns, 0, 1)
	if len(q.waiting) > 0 {
		b.turns = append(b.turns, q)
	} else {
		q.credit = 0
		b.free = append(b.free, q)
	}
	return got
}

func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.notify()
}
