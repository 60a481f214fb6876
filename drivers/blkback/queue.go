package blkback

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/block"
	"nidus/mm"
)

// queue is one ring. A goroutine takes requests from it and submits them; responses are
// written by whoever finishes a request.
type queue struct {
	*conn
	ring
	grants []backend.Grant // of the ring's pages
	port   uint32          // ours; 0: none yet
	wake   chan struct{}

	// serving is held by the goroutine, or the guest's vcpu, that takes requests: of these are
	serving sync.Mutex
	broken  bool   // nothing is taken any more
	cons    uint32 // next request
	buf     [maxSlot]byte
	descr   [maxIndirect * segmentSize]byte
	kept    map[uint32]backend.Grant // persistent grants by reference; nil: none are kept
	near    mm.Near
	pace    pace

	mu      sync.Mutex
	idle    sync.Cond // signalled when busy becomes 0
	rspProd uint32    // next answer
	told    uint32    // answers that the guest knows of
	holding bool      // it is told of the others when takeAll has taken what there is
	free    []*slot   // made when they are needed
	busy    int
	large   int       // requests that have lists of the Quota's
	fewer   sync.Cond // signalled when large becomes less
}

// slot is a request in flight. There are at most as many as the ring has slots, by the check
// of the ring's indexes, and they are kept: nothing is allocated for a request, but
// for slices that grow to the largest that there was.
type slot struct {
	q  *queue
	id uint64
	op uint8
	*lists
	small   lists // of a request with up to maxDirect segments; others have the Quota's
	done    func(*block.Request, error)
	pending atomic.Int32
	status  atomic.Int32
}

// get returns a slot that is free. There is one, or fewer were made than the ring has.
func (q *queue) get() *slot {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy++
	if k := len(q.free); k > 0 {
		s := q.free[k-1]
		q.free = q.free[:k-1]
		return s
	}
	s := &slot{q: q}
	s.lists, s.done = &s.small, s.finished
	return s
}

// enlarge gives s lists for many segments, as soon as the queue may have them.
func (q *queue) enlarge(s *slot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if l := q.quota.get(q.large); l != nil {
			s.lists = l
			q.large++
			return
		}
		q.fewer.Wait()
	}
}

// reduce takes the lists back that enlarge gave.
func (q *queue) reduce(s *slot) {
	q.quota.put(s.lists)
	s.lists = &s.small
	q.mu.Lock()
	q.large--
	q.fewer.Signal()
	q.mu.Unlock()
}

// poke says that there may be requests.
func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// serve takes requests until ctx ends, or the guest breaks the protocol.
func (q *queue) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.serving.Lock()
		if q.broken {
			q.serving.Unlock()
			return
		}
		err := q.takeAll(ctx)
		q.broken = err != nil
		q.serving.Unlock()
		if err != nil {
			q.fail(err)
			return
		}
	}
}

// answered is where the next answer goes.
func (q *queue) answered() uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rspProd
}

// more asks for an event by the next request, and tells whether that is there already.
func (q *queue) more() bool {
	q.store(ringReqEvent, q.cons+1)
	return q.load(ringReqProd) != q.cons
}

// takeAll takes requests until there are none, and has asked for an event by the next.
func (q *queue) takeAll(ctx context.Context) error {
	large := false
	for ctx.Err() == nil {
		prod := q.load(ringReqProd)
		if prod == q.cons {
			if !(large && q.linger(ctx)) && !q.more() {
				return nil
			}
			continue
		}
		large = q.disk.Linger > 0 && q.segmentsTo(prod) > maxDirect
		done := q.answered()
		// What is unanswered must fit into the ring; cons is never before done.
		if prod-done > q.size || q.cons-done >= prod-done {
			return fmt.Errorf("the ring of %d slots has requests up to %d, and answers up to %d", q.size, prod, done)
		}
		if err := q.takeTo(prod); err != nil {
			return err
		}
	}
	return nil
}

// linger looks for the next request for a while, and tells whether it has come.
func (q *queue) linger(ctx context.Context) bool {
	const looks = 50 // between two at the clock, which is slow under an emulator
	for end := time.Now().Add(q.disk.Linger); ctx.Err() == nil && time.Now().Before(end); runtime.Gosched() {
		for range looks {
			if q.load(ringReqProd) != q.cons {
				return true
			}
		}
	}
	return false
}

// takeTo takes the requests before prod. Where they are done at once, the guest learns of many answers together.
func (q *queue) takeTo(prod uint32) error {
	q.hold(q.info.Prompt)
	defer q.hold(false)
	for ; q.cons != prod; q.cons++ {
		if err := q.take(); err != nil {
			return err
		}
		// A guest that fills its rings as fast as we empty them has as many of
		// these goroutines as it has queues, and each would run for Go's 10 ms.
		if q.cons&(yieldEvery-1) == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	return nil
}

// hold has answers held back, or tells the guest of those that were.
func (q *queue) hold(on bool) {
	q.mu.Lock()
	q.holding = on
	notify := q.tell()
	q.mu.Unlock()
	if notify {
		q.notify()
	}
}

// tell publishes the answers, unless they are held back and few, and returns whether the guest asked for an event
// by one of them (io/ring.h, RING_PUSH_RESPONSES_AND_CHECK_NOTIFY); q.mu is held.
func (q *queue) tell() bool {
	n := q.rspProd - q.told
	if n == 0 || q.holding && n < maxHeld {
		return false
	}
	q.told = q.rspProd
	q.store(ringRspProd, q.told)
	return q.told-q.load(ringRspEvent) < n
}

func (q *queue) notify() { _ = q.disk.Guest.Local.Send(q.port) }

// take begins the request at cons. An error is a breach of the protocol.
func (q *queue) take() error {
	b := q.buf[:q.slot]
	q.read(q.cons, b)
	return q.begin(b)
}

// begin begins the request b, which is the one at cons.
func (q *queue) begin(b []byte) error {
	le := binary.LittleEndian
	s := q.get()
	s.id, s.op = le.Uint64(b[q.id:]), b[reqOp]
	s.status.Store(rspOkay)
	sector, n, segs, op := le.Uint64(b[q.sector:]), int(b[reqSegments]), b[q.segments:], s.op
	switch s.op {
	case opRead, opWrite, opBarrier:
		if n > maxDirect || n == 0 && s.op != opBarrier {
			return q.refuse(s, "%d segments; there are 1 to %d", n, maxDirect)
		}
	case opIndirect:
		op, n = b[reqIndirect], int(le.Uint16(b[reqIndirectN:]))
		if op != opRead && op != opWrite || n == 0 || n > maxIndirect {
			return q.refuse(s, "an indirect operation %d of %d segments; there are read and write of 1 to %d", op, n, maxIndirect)
		}
		if err := q.indirect(le.Uint32(b[q.grefs:]), n); err != nil {
			return q.refuse(s, "indirect segments: %w", err)
		}
		segs = q.descr[:]
		s.op = op // which is what Linux wants to see in the answer
	case opFlush:
		if n != 0 {
			return q.refuse(s, "a flush with %d segments", n)
		}
		if !q.info.CanFlush { // what is written is on the medium
			s.complete(rspOkay)
			return nil
		}
		s.submit(block.Request{Op: block.Flush})
		return nil
	case opDiscard:
		if q.disk.NoDiscard {
			s.complete(rspUnsupported)
			return nil
		}
		s.submit(block.Request{Op: block.Discard, Sector: sector, Sectors: le.Uint64(b[q.sectors:])})
		return nil
	default:
		s.complete(rspUnsupported)
		return nil
	}
	if n > maxDirect {
		q.enlarge(s)
	}
	for i := range n {
		if err := s.add(parseSegment(segs[i*segmentSize:]), op == opRead); err != nil {
			return q.refuse(s, "segment %d: %w", i, err)
		}
	}
	switch op {
	case opBarrier:
		q.barrier(s, sector)
	case opWrite:
		s.transfer(block.Write, sector)
	default:
		s.transfer(block.Read, sector)
	}
	return nil
}

// refuse answers s and says what is wrong with it.
func (q *queue) refuse(s *slot, format string, args ...any) error {
	op := s.op
	s.complete(rspError)
	return fmt.Errorf("request %d (operation %d): %w", q.cons, op, fmt.Errorf(format, args...))
}

// indirect copies the n segments that are in the page of grant ref to descr.
func (q *queue) indirect(ref uint32, n int) error {
	g := q.disk.Guest
	x, err := g.Acquire(ref, false)
	if err != nil {
		return err
	}
	defer g.Release(x)
	q.page(x).Read(0, q.descr[:n*segmentSize])
	return nil
}

// barrier does what BLKIF_OP_WRITE_BARRIER asks for: what came before is on the medium,
// then s is, and then what comes later begins.
func (q *queue) barrier(s *slot, sector uint64) {
	q.settle(1) // all but s
	if q.info.CanFlush {
		done := make(chan error, 1)
		q.disk.Device.Submit(&block.Request{Op: block.Flush, Done: func(r *block.Request, err error) { done <- err }})
		if err := <-done; err != nil {
			s.complete(statusOf(err))
			return
		}
	}
	if len(s.segs) == 0 {
		s.complete(rspOkay)
		return
	}
	s.transfer(block.WriteFUA, sector)
	q.drain()
}

// drain waits until nothing is in flight.
func (q *queue) drain() { q.settle(0) }

func (q *queue) settle(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.busy > n {
		q.idle.Wait()
	}
}

// add appends a segment; the device is to write the guest's page if write is set.
func (s *slot) add(g segment, write bool) error {
	if g.first > g.last || g.last >= sectorsPerPage {
		return fmt.Errorf("sectors %d to %d of a page, which has %d", g.first, g.last, sectorsPerPage)
	}
	x, err := s.hold(g.gref, write)
	if err != nil {
		return err
	}
	s.segs = append(s.segs, block.Segment{
		Frame: x.Frame, Off: uint16(g.first) << block.SectorShift, Len: uint16(g.last-g.first+1) << block.SectorShift,
	})
	return nil
}

// hold acquires a grant for s, or finds it kept.
func (s *slot) hold(ref uint32, write bool) (backend.Grant, error) {
	q := s.q
	if x, ok := q.kept[ref]; ok {
		return x, nil
	}
	keep := q.kept != nil && len(q.kept) < maxPersistent
	x, err := q.disk.Guest.AcquireNear(ref, write || keep, &q.near)
	switch {
	case err != nil:
	case keep:
		q.kept[ref] = x
	default:
		s.grants = append(s.grants, x)
	}
	return x, err
}

// transfer submits the segments, in as many requests as the device's limits need.
func (s *slot) transfer(op block.Op, sector uint64) {
	info := &s.q.info
	s.reqs = s.reqs[:0]
	unit := int(info.SectorSize) - 1
	start, bytes, cut := 0, 0, 0 // cut: the last place where a request may end
	cutBytes := 0
	end := func(to, n int) {
		s.reqs = append(s.reqs, block.Request{Op: op, Sector: sector, Segments: s.segs[start:to], Done: s.done})
		sector += uint64(n) >> block.SectorShift
		start, bytes = to, bytes-n
	}
	for i := range s.segs {
		n := int(s.segs[i].Len)
		if (i-start == info.MaxSegments || bytes+n > info.MaxBytes) && cut > start {
			end(cut, cutBytes)
		}
		if bytes += n; bytes&unit == 0 {
			cut, cutBytes = i+1, bytes
		}
	}
	end(len(s.segs), bytes)
	s.start()
}

// submit submits one request without segments.
func (s *slot) submit(r block.Request) {
	r.Done = s.done
	s.reqs = append(s.reqs[:0], r)
	s.start()
}

// start submits reqs. Once the last is submitted, s may be somebody else's.
func (s *slot) start() {
	dev, reqs := s.q.disk.Device, s.reqs
	s.pending.Store(int32(len(reqs)))
	for i := range reqs {
		dev.Submit(&reqs[i])
	}
}

// finished is the Done of the requests.
func (s *slot) finished(r *block.Request, err error) {
	if err != nil {
		s.status.CompareAndSwap(rspOkay, statusOf(err))
		if !blame(err) {
			s.q.disk.complain(r, err)
		}
	}
	if s.pending.Add(-1) == 0 {
		s.complete(s.status.Load())
	}
}

// complete lets the guest's pages go, answers, and makes s free.
func (s *slot) complete(status int32) {
	q := s.q
	for _, x := range s.grants {
		q.disk.Guest.Release(x)
	}
	if s.lists == &s.small {
		s.reset()
	} else {
		q.reduce(s)
	}
	var b [rspSize]byte
	binary.LittleEndian.PutUint64(b[rspID:], s.id)
	b[rspOp] = s.op
	binary.LittleEndian.PutUint16(b[rspStatus:], uint16(status))
	q.mu.Lock()
	q.write(q.rspProd, b[:])
	q.rspProd++
	notify := q.tell()
	q.free = append(q.free, s) // the guest may fill the ring at once
	q.mu.Unlock()
	if notify {
		q.notify()
	}
	q.mu.Lock() // not before: Close may come then, and close the port
	if q.busy--; q.busy <= 1 {
		q.idle.Broadcast()
	}
	q.mu.Unlock()
}
