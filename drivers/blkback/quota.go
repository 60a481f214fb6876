package blkback

import (
	"fmt"
	"sync"

	"nidus/drivers/backend"
	"nidus/drivers/block"
)

// Quotas of the disks of a domain.
const (
	// maxSlots is how many requests their rings may have room for: 32 disks with four rings
	// of two pages.
	maxSlots = 8192
	// maxLarge is how many requests with more segments than fit into a ring are in flight
	// beside the first one of each ring: 64 MiB.
	maxLarge = 128
)

// Quota bounds the host's memory for requests of disks that belong together, a domain's:
// some KiB for each request with indirect segments, and a few hundred bytes for others. The
// zero value is ready.
type Quota struct {
	mu    sync.Mutex
	slots int // of the rings that there are
	large int // lists that requests have
	free  []*lists
}

// lists are what a request consists of.
type lists struct {
	grants []backend.Grant
	segs   []block.Segment
	reqs   []block.Request
}

// reset makes l's lists empty, and keeps their memory.
func (l *lists) reset() {
	l.grants, l.segs, l.reqs = l.grants[:0], l.segs[:0], l.reqs[:0]
}

// add counts n slots of a ring.
func (q *Quota) add(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if all := q.slots + n; all > maxSlots {
		return fmt.Errorf("a ring for %d requests makes %d in all rings of the domain's disks; %d is the most: it needs fewer queues or smaller rings (multi-queue-num-queues, ring-page-order)", n, all, maxSlots)
	}
	q.slots += n
	return nil
}

// remove ends what add counted.
func (q *Quota) remove(n int) {
	q.mu.Lock()
	q.slots -= n
	q.mu.Unlock()
}

// get returns lists for a request of a ring that has lists for so many; nil: it has to wait
// until one of those is done. A ring has at most as many as it leaves to the next one, so
// that a medium that hangs does not keep other disks waiting; one it always has.
func (q *Quota) get(has int) *lists {
	q.mu.Lock()
	defer q.mu.Unlock()
	if has > 0 && has+1 > maxLarge-q.large {
		return nil
	}
	q.large++
	if k := len(q.free); k > 0 {
		l := q.free[k-1]
		q.free = q.free[:k-1]
		return l
	}
	return &lists{}
}

// put takes lists back.
func (q *Quota) put(l *lists) {
	clear(l.reqs) // their Done would keep a disk that is gone
	l.reset()
	q.mu.Lock()
	q.large--
	q.free = append(q.free, l)
	q.mu.Unlock()
}
