package ring

import (
	"nidus/drivers/link"
	"nidus/drivers/nic"
)

// receiver is the ring of buffers for what comes in. All of its slots have one.
type receiver struct {
	c     *Card
	bufs  []*nic.Buffer // by slot
	next  int           // slot that the card fills next
	piece [1]nic.Piece
	batch [64]*link.Frame // here, as what a Receiver is given escapes
}

// fill gives all slots buffers; false if there are not enough.
func (r *receiver) fill() bool {
	for i := range r.bufs {
		b := r.c.pool.Get(1)
		if b == nil {
			return false
		}
		r.bufs[i] = b
		r.c.chip.Post(i, b.Addr)
	}
	return true
}

// again gives the card all buffers again, from slot 0 on. Preconditions: it was reset.
func (r *receiver) again() {
	for i, b := range r.bufs {
		r.c.chip.Post(i, b.Addr)
	}
	r.next = 0
}

// interrupt takes what came in. more tells that there may be more by now.
func (r *receiver) interrupt() (more bool) {
	batch, n, slots := &r.batch, 0, 0
	// No more than there are slots, so that the card gets buffers back meanwhile.
	for n < len(batch) && slots < len(r.bufs)/2 {
		came, ok := r.c.chip.Came(r.next)
		if !ok {
			break
		}
		if f := r.take(came); f != nil {
			batch[n] = f
			n++
		}
		r.next = (r.next + 1) % len(r.bufs)
		slots++
	}
	if slots > 0 {
		r.c.chip.Posted(r.next)
	}
	r.c.Deliver(batch[:n])
	clear(batch[:n])
	return slots > 0
}

// take makes a frame of what came in, and puts a new buffer in its place. If there is
// none, it drops the frame, so that the card always has buffers. It returns nil then, and
// if there is no frame.
func (r *receiver) take(came Came) (f *link.Frame) {
	b := r.bufs[r.next]
	defer func() { r.c.chip.Post(r.next, r.bufs[r.next].Addr) }()
	if came.Bad || came.Len < 1 || came.Len > nic.Longest(&r.c.o.Info) {
		r.c.ReceivedBad.Add(1)
		return nil
	}
	spare := r.c.pool.Get(1)
	if spare == nil {
		r.c.NoBuffer.Add(1)
		return nil
	}
	r.piece[0] = nic.Piece{Len: uint16(came.Len)}
	if f = r.c.pool.Frame(b, r.piece[:]); f == nil { // less than a header
		r.c.ReceivedBad.Add(1)
		r.c.pool.Put(spare)
		return nil
	}
	r.bufs[r.next] = spare
	f.Checksum = came.Checksum
	return f
}

// abandon takes the buffers back. Preconditions: the card was reset.
func (r *receiver) abandon() {
	for i, b := range r.bufs {
		if b != nil {
			r.c.pool.Put(b)
			r.bufs[i] = nil
		}
	}
}
