package blkback

import (
	"encoding/binary"
	"math"
	"time"
)

// little is how many segments are begun in the guest's hypercall, of all requests together.
const little = 32

// event is what an event of the guest's does. Small requests are begun by the
// vcpu that sends the event: waking a goroutine, on another CPU, takes longer than that. Larger
// ones are for a goroutine, which copies while the guest prepares the next.
func (q *queue) event() {
	if !q.info.Prompt || !q.serving.TryLock() {
		q.poke()
		return
	}
	more, err := false, error(nil)
	if !q.broken {
		more, err = q.takeLittle()
		q.broken = err != nil
	}
	q.serving.Unlock()
	if err != nil {
		q.fail(err)
	}
	if more {
		q.poke()
	}
}

// takeLittle takes reads and writes, each when the one before is done, if they are little together; more tells that
// there are some for the goroutine. It waits for nothing: with no other request in flight there are lists for one of many segments.
func (q *queue) takeLittle() (more bool, err error) {
	prod := q.load(ringReqProd)
	n := q.segmentsTo(prod)
	if n > little {
		return true, nil
	}
	if n > maxDirect {
		begin := time.Now()
		if !q.pace.allows(begin) {
			return true, nil
		}
		defer func() { q.pace.took(begin, time.Now()) }()
	}
	q.hold(true)
	defer q.hold(false)
	b := q.buf[:q.slot]
	for ; q.cons != prod; q.cons++ {
		if q.answered() != q.cons {
			return true, nil
		}
		if q.read(q.cons, b); segments(b) > little { // since segmentsTo the guest may have changed it
			return true, nil
		}
		if err := q.begin(b); err != nil {
			return false, err
		}
	}
	return q.more(), nil
}

// segmentsTo is how many segments the requests before prod have, or more than little.
func (q *queue) segmentsTo(prod uint32) (n int) {
	b := q.buf[:reqIndirectN+2]
	for i := q.cons; i != prod && n <= little; i++ {
		q.read(i, b)
		n += max(segments(b), 1)
	}
	return n
}

// segments is how many segments the request b says it has; more than there can be if it is not a read or write.
func segments(b []byte) int {
	switch b[reqOp] {
	case opRead, opWrite:
		return int(b[reqSegments])
	case opIndirect:
		return int(binary.LittleEndian.Uint16(b[reqIndirectN:]))
	}
	return math.MaxInt32
}

// pace tells whether requests of more than a few segments are better done by the vcpu that sends them. They are if
// the guest waits for them; one that sends the next within twice the time that this one took, of which
// a part is the exit, would have prepared it meanwhile. So does Linux, which cuts what is long in pieces of 32 segments.
type pace struct {
	begin, end time.Time // the last that a vcpu did
	rest       int       // requests that a goroutine does before a vcpu tries again
}

// restFor is pace.rest after a guest was too fast.
const restFor = 64

// allows tells whether the vcpu may do what it sends now.
func (p *pace) allows(now time.Time) bool {
	if p.rest == 0 && now.Sub(p.end) < 2*p.end.Sub(p.begin) {
		*p = pace{rest: restFor}
	}
	if p.rest > 0 {
		p.rest--
		return false
	}
	return true
}

// took notes what the vcpu did.
func (p *pace) took(begin, end time.Time) { p.begin, p.end = begin, end }
