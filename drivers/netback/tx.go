package netback

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/mm"
)

// txQueue is a ring of what the guest sends. A goroutine takes frames from it, or a vcpu; a
// frame's requests are answered when all who got it are done.
type txQueue struct {
	end   // shown: under mu
	heads []mm.MFN

	// serving is held by the goroutine, or the guest's vcpu, that takes frames.
	serving sync.Mutex
	broken  bool   // nothing is taken any more
	cons    uint32 // next request
	reqs    [maxSlots]txRequest
	infos   extras
	near    mm.Near
	batch   []*link.Frame

	mu   sync.Mutex
	idle sync.Cond // signalled when busy becomes 0
	prod uint32    // next response
	held bool      // it is told when the batch ends
	free []*txFrame
	busy int
}

// txFrame is a frame in flight. There are as many as the ring has slots, and the check of
// the ring's indexes lets a guest have no more: nothing is allocated for a frame, but
// for slices that grow to the most that there was.
type txFrame struct {
	link.Frame
	q      *txQueue
	room   []byte // of Head
	ids    []uint16
	nulls  int // slots with extra infos
	grants []backend.Grant
	status int16
}

// headsPerPage is how many heads one page has.
const headsPerPage = mm.PageSize / link.HeadSize

// prepare makes the frames.
func (q *txQueue) prepare() error {
	frames := make([]txFrame, q.size)
	q.free = make([]*txFrame, 0, q.size)
	q.batch = make([]*link.Frame, 0, batchSize)
	for i := range frames {
		f := &frames[i]
		if i%headsPerPage == 0 {
			m, ok := q.c.cfg.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
			if !ok {
				return fmt.Errorf("the host's memory: %w", mm.ErrNoMemory)
			}
			q.heads = append(q.heads, m)
		}
		m, off := q.heads[len(q.heads)-1], i%headsPerPage*link.HeadSize
		f.From = q.c.id
		f.q, f.room = q, q.c.cfg.Memory.Page(m).Bytes(off, link.HeadSize)
		f.HeadAt = link.Segment{Frame: m, Off: uint16(off)}
		f.Done = func(*link.Frame) { f.finish() }
		q.free = append(q.free, f)
	}
	return nil
}

// release frees the heads.
func (q *txQueue) release() {
	for _, m := range q.heads {
		q.c.cfg.Memory.FreeFrames(m, 0)
	}
	q.heads = nil
}

// little is how many requests are served in the guest's hypercall. More are not: they may
// be of 64 KiB each, which a goroutine copies while the guest prepares the next ones.
const little = 2

// event is what an event of the guest's does. A frame that comes alone is taken by the vcpu
// that sends the event: waking a goroutine, on another CPU, takes longer than all that is
// done for it.
func (q *txQueue) event() {
	if !q.serving.TryLock() {
		q.poke()
		return
	}
	more, wait, err := true, time.Duration(0), error(nil)
	for n := 0; more && n < 2 && !q.broken && err == nil && q.load(ringReqProd)-q.cons <= little; n++ {
		more, wait, err = q.takeBatch()
	}
	if err != nil {
		q.broken = true
		q.c.fail(err)
	}
	q.serving.Unlock()
	if more || wait > 0 {
		q.poke()
	}
}

// serve takes frames until ctx ends, or the guest breaks the protocol.
func (q *txQueue) serve(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		for more := true; more && ctx.Err() == nil; {
			var wait time.Duration
			var err error
			q.serving.Lock()
			if q.broken {
				q.serving.Unlock()
				return
			}
			more, wait, err = q.takeBatch()
			q.broken = err != nil
			q.serving.Unlock()
			if err != nil {
				q.c.fail(err)
				return
			}
			if wait > 0 {
				timer.Reset(wait)
			}
			runtime.Gosched() // others send, too
		}
	}
}

// takeBatch takes some frames and hands them on. more is set if there may be others at
// once; wait is how long the rate's limit keeps the next one from being sent.
func (q *txQueue) takeBatch() (more bool, wait time.Duration, err error) {
	prod := q.load(ringReqProd)
	if prod == q.cons {
		q.store(ringReqEvent, q.cons+1)
		return q.load(ringReqProd) != q.cons, 0, nil
	}
	q.mu.Lock()
	// What is unanswered must fit into the ring, and begin with what we took.
	if done := q.prod; prod-done > q.size || q.cons-done > prod-done {
		q.mu.Unlock()
		return false, 0, fmt.Errorf("the tx ring of %d slots has requests up to %d, and answers up to %d", q.size, prod, done)
	}
	q.held = true
	q.mu.Unlock()
	q.batch = q.batch[:0]
	more = true
	for q.cons != prod && len(q.batch) < batchSize && err == nil {
		if l := q.c.limit; l != nil {
			if wait = l.wait(time.Now()); wait > 0 {
				more = false
				break
			}
		}
		var f *txFrame
		if f, err = q.take(prod); f != nil {
			q.batch = append(q.batch, &f.Frame)
		}
	}
	if len(q.batch) > 0 {
		q.c.deliver(q.batch)
	}
	q.mu.Lock()
	q.held = false
	q.tell(q.prod)
	q.mu.Unlock()
	return more, wait, err
}

// get gives a frame that is free.
func (q *txQueue) get() *txFrame {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	q.busy++
	f.ids, f.grants, f.Segments, f.nulls, f.status = f.ids[:0], f.grants[:0], f.Segments[:0], 0, rspOkay
	return f
}

// finish lets the guest's pages go, and answers.
func (f *txFrame) finish() {
	q := f.q
	for _, x := range f.grants {
		q.c.cfg.Guest.Release(x)
	}
	var b [4]byte
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range f.ids {
		le.PutUint16(b[:], id)
		le.PutUint16(b[2:], uint16(f.status))
		q.write(q.prod, b[:])
		q.prod++
	}
	for range f.nulls { // extra infos have no id
		le.PutUint32(b[:], rspNull<<16)
		q.write(q.prod, b[:])
		q.prod++
	}
	if !q.held {
		q.tell(q.prod)
	}
	q.free = append(q.free, f)
	if q.busy--; q.busy == 0 {
		q.idle.Broadcast()
	}
}

// drain waits until nothing is in flight.
func (q *txQueue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.busy > 0 {
		q.idle.Wait()
	}
}
