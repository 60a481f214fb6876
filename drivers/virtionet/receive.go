package virtionet

import (
	"encoding/binary"
	"fmt"
	"sync"

	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/virtio"
	"nidus/mm"
)

// pair is a queue of each direction, with one interrupt.
type pair struct {
	c   *Card
	run sync.Mutex // held by the interrupt's handler
	tx  transmitter
	rx  receiver
}

func (p *pair) setup(i int) error {
	p.tx.c, p.rx.c = p.c, p.c
	p.tx.Sender = nic.Sender{Counts: &p.c.Counts, Info: &p.c.info, Queue: &p.tx}
	if err := p.c.dev.Vector(i+1, i, p.interrupt); err != nil {
		return err
	}
	if err := p.rx.setup(2*i, i+1); err != nil {
		return err
	}
	return p.tx.setup(2*i+1, i+1)
}

// interrupt takes what the device has done.
func (p *pair) interrupt() {
	for {
		p.run.Lock()
		if p.c.gone.Load() {
			p.run.Unlock()
			return
		}
		sending, err := p.tx.Interrupt()
		receiving, bad := p.rx.interrupt()
		p.run.Unlock()
		if err == nil {
			err = bad
		}
		if err != nil {
			p.c.Lose(err)
			return
		}
		if !sending && !receiving {
			return
		}
	}
}

// receiver is a queue of buffers for what comes in. It is the interrupt handler's.
type receiver struct {
	c      *Card
	q      *virtio.Queue
	flying [virtio.MaxQueue]*nic.Buffer // by the chain's id: what is in it
	bufs   [mm.PageSize / 64]virtio.Buffer
	pieces [mm.PageSize / 64]nic.Piece
	batch  [64]*link.Frame // here, as what a Receiver is given escapes
}

func (r *receiver) setup(index, vector int) error {
	var err error
	r.q, err = r.c.dev.QueueOn(virtio.QueueOptions{Index: index, Size: depth, Vector: vector, Direct: r.c.each == 1 && !r.c.apart})
	if err != nil {
		return err
	}
	if r.c.each+1 > r.q.MostBuffers() {
		return fmt.Errorf("its queue is too short for frames of %d bytes: %w", r.c.info.MTU, virtio.ErrUnusable)
	}
	for {
		list := r.c.pool.Get(r.c.each)
		if list == nil {
			return fmt.Errorf("buffers for what comes in: %w", mm.ErrNoMemory)
		}
		if !r.post(list) {
			r.c.pool.Put(list)
			return nil
		}
	}
}

// post gives the device the buffers of a chain. It is false if there is no room.
func (r *receiver) post(list *nic.Buffer) bool {
	bufs := r.bufs[:0]
	skip := uint32(0)
	if r.c.apart {
		skip = uint32(r.c.header)
		bufs = append(bufs, virtio.Buffer{Addr: list.Addr, Len: skip, Write: true})
	}
	for b := list; b != nil; b = b.Next {
		bufs = append(bufs, virtio.Buffer{Addr: b.Addr + uint64(skip), Len: nic.BufferSize - skip, Write: true})
		skip = 0
	}
	id, ok := r.q.Add(bufs)
	if ok {
		r.flying[id] = list
	}
	return ok
}

// take returns the next chain that the device is done with.
func (r *receiver) take() (list *nic.Buffer, written uint32, ok bool, err error) {
	id, written, ok, err := r.q.Next()
	if ok {
		list, r.flying[id] = r.flying[id], nil
	}
	return list, written, ok, err
}

// interrupt takes what came in. more tells that there is more by now.
func (r *receiver) interrupt() (more bool, err error) {
	batch, n := &r.batch, 0
	for n < len(batch) {
		list, written, ok, bad := r.take()
		if !ok {
			if err = bad; err == nil {
				more = !r.q.Rearm()
			}
			break
		}
		f, bad := r.collect(list, written)
		if bad != nil {
			err = bad
			break
		}
		if f != nil {
			batch[n] = f
			n++
		}
		more = n == len(batch)
	}
	r.q.Kick()
	r.c.Deliver(batch[:n])
	clear(batch[:n])
	return more, err
}

// collect makes a frame of a chain and those that the device merged with it, and puts as
// many new chains in their place. If it can't have those, it drops the frame, so that the
// device always has buffers. f is nil then, and if the frame is none.
func (r *receiver) collect(list *nic.Buffer, written uint32) (f *link.Frame, err error) {
	var head [headerSize]byte
	list.Page.Read(0, head[:])
	chains := 1
	pieces := r.pieces[:0]
	skip := uint16(r.c.header)
	add := func(b *nic.Buffer, written uint32) (last *nic.Buffer) {
		for ; b != nil; b = b.Next {
			n := max(uint16(min(written, nic.BufferSize)), skip)
			pieces = append(pieces, nic.Piece{Off: skip, Len: n - skip})
			skip, written, last = 0, written-min(written, nic.BufferSize), b
		}
		return last
	}
	last := add(list, written)
	if r.c.features&featMerge != 0 {
		chains = int(binary.LittleEndian.Uint16(head[10:]))
		if chains < 1 || chains > r.q.Size() || chains > len(r.pieces) {
			r.c.pool.Put(list)
			return nil, fmt.Errorf("a frame that is in %d chains: %w", chains, virtio.ErrBroken)
		}
		for i := 1; i < chains; i++ {
			next, written, ok, err := r.take()
			if !ok {
				r.c.pool.Put(list)
				if err == nil {
					err = fmt.Errorf("%d of a frame's %d chains are done: %w", i, chains, virtio.ErrBroken)
				}
				return nil, err
			}
			last.Next = next
			last = add(next, written)
		}
	}
	spare := r.c.pool.Get(chains * r.c.each)
	if spare == nil {
		r.c.NoBuffer.Add(1)
		r.refill(list, chains)
		return nil, nil
	}
	r.refill(spare, chains)
	if f = r.c.pool.Frame(list, pieces); f == nil {
		r.c.pool.Put(list)
	} else if understand(head[:], f, r.c.features) {
		return f, nil
	} else {
		f.Done(f)
	}
	r.c.ReceivedBad.Add(1)
	return nil, nil
}

// refill makes chains of a list of buffers and gives them to the device.
func (r *receiver) refill(list *nic.Buffer, chains int) {
	for range chains {
		first, last := list, list
		for range r.c.each - 1 {
			last = last.Next
		}
		list, last.Next = last.Next, nil
		if !r.post(first) { // the queue is broken
			r.c.pool.Put(first)
		}
	}
}

// abandon takes the buffers back. Preconditions: the device was reset.
func (r *receiver) abandon() {
	for i, list := range r.flying {
		if list != nil {
			r.c.pool.Put(list)
			r.flying[i] = nil
		}
	}
}
