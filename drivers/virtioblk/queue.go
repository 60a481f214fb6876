package virtioblk

import (
	"errors"
	"fmt"
	"sync"

	"nidus/drivers/block"
	"nidus/drivers/virtio"
	"nidus/mm"
)

// Types and results of requests (section 5.2.6).
const (
	typeIn      = 0
	typeOut     = 1
	typeFlush   = 4
	typeDiscard = 11

	statusOK          = 0
	statusIOError     = 1
	statusUnsupported = 2
	statusNone        = 0xff // written before: the device has to write another
)

// What a request has beside its data, in a frame that all of a queue's share: a header,
// a discard's range, the status.
const (
	slotSize   = 64
	slotRange  = 16
	slotStatus = 32
)

// ErrMedium says that the device could not do it.
var ErrMedium = errors.New("virtio-blk: the device reports an I/O error")

// queue is one virtqueue and what is in flight there.
type queue struct {
	d    *Disk
	mu   sync.Mutex
	room sync.Cond // waits for free slots, and for the last one in flight
	q    *virtio.Queue
	shut bool // nothing more is to be submitted

	frame  mm.MFN
	slots  mm.Page
	free   []uint16
	flying [virtio.MaxQueue]flight // by the chain's id
	bufs   [maxSegments + 2]virtio.Buffer
}

// flight is a request that the device has.
type flight struct {
	r     *block.Request
	slot  uint16
	flush bool   // a FUA's second half
	done  uint64 // sectors of a Discard
}

func (q *queue) setup(index int) error {
	var err error
	if q.frame, err = q.d.host.Alloc(0, mm.ZoneAny); err != nil {
		return err
	}
	q.slots = q.d.host.Page(q.frame)
	for i := range uint16(mm.PageSize / slotSize) {
		q.free = append(q.free, i)
	}
	q.q, err = q.d.dev.Queue(index, 2*depth, q.interrupt)
	return err
}

// submit starts a request, when there is room.
func (q *queue) submit(r *block.Request) {
	q.mu.Lock()
	for {
		if q.shut || q.d.gone.Load() {
			q.mu.Unlock()
			r.Done(r, block.ErrGone)
			return
		}
		if n := len(q.free); n > 0 {
			if q.start(flight{r: r, slot: q.free[n-1]}) {
				q.free = q.free[:n-1]
				break
			}
		}
		q.room.Wait()
	}
	q.q.Kick()
	q.mu.Unlock()
}

// start gives the device a request. It is false if there is no room. Preconditions: mu,
// the slot is the caller's.
func (q *queue) start(f flight) bool {
	base := int(f.slot) * slotSize
	at := q.d.host.DMA(q.frame) + uint64(base)
	typ, sector := uint32(typeFlush), uint64(0)
	bufs := append(q.bufs[:0], virtio.Buffer{Addr: at, Len: 16})
	switch op := f.r.Op; {
	case f.flush || op == block.Flush:
	case op == block.Discard:
		typ = typeDiscard
		q.slots.Store64(base+slotRange, f.r.Sector+f.done)
		q.slots.Store64(base+slotRange+8, min(f.r.Sectors-f.done, q.d.discard)) // 32 bits; no flags
		bufs = append(bufs, virtio.Buffer{Addr: at + slotRange, Len: 16})
	default:
		typ, sector = typeOut, f.r.Sector
		if op == block.Read {
			typ = typeIn
		}
		for _, s := range f.r.Segments {
			bufs = append(bufs, virtio.Buffer{Addr: q.d.host.DMA(s.Frame) + uint64(s.Off), Len: uint32(s.Len), Write: op == block.Read})
		}
	}
	q.slots.Store64(base, uint64(typ))
	q.slots.Store64(base+8, sector)
	q.slots.Store32(base+slotStatus, statusNone)
	id, ok := q.q.Add(append(bufs, virtio.Buffer{Addr: at + slotStatus, Len: 1, Write: true}))
	if ok {
		q.flying[id] = f
	}
	return ok
}

// interrupt takes what the device has done.
func (q *queue) interrupt() {
	type end struct {
		r   *block.Request
		err error
	}
	var batch [32]end
	for {
		n := 0
		var bad error
		q.mu.Lock()
		if q.shut {
			q.mu.Unlock()
			return
		}
		more := true
		for n < len(batch) {
			id, _, ok, err := q.q.Next()
			if !ok {
				if bad = err; err == nil {
					more = !q.q.Rearm()
				}
				break
			}
			f := q.flying[id]
			q.flying[id] = flight{}
			err = status(q.slots.Load8(int(f.slot)*slotSize + slotStatus))
			if err == nil && q.d.next(&f) {
				q.start(f) // the chain that is just free has room for it
				q.q.Kick()
				continue
			}
			q.free = append(q.free, f.slot)
			batch[n] = end{f.r, err}
			n++
		}
		if n > 0 {
			q.room.Broadcast()
		}
		q.mu.Unlock()
		for _, e := range batch[:n] {
			e.r.Done(e.r, e.err)
		}
		if bad != nil {
			q.d.Lose(bad)
			return
		}
		if !more {
			return
		}
	}
}

// next tells whether a request that went well needs another step, and makes it that.
func (d *Disk) next(f *flight) bool {
	switch f.r.Op {
	case block.WriteFUA:
		again := d.info.CanFlush && !f.flush
		f.flush = true
		return again
	case block.Discard:
		f.done += min(f.r.Sectors-f.done, d.discard)
		return f.done < f.r.Sectors
	}
	return false
}

// status makes an error of a request's result.
func status(s uint8) error {
	switch s {
	case statusOK:
		return nil
	case statusIOError:
		return ErrMedium
	case statusUnsupported:
		return block.ErrUnsupported
	}
	return fmt.Errorf("virtio-blk: the device reports the status %#x, which is none", s)
}

// abandon ends what is in flight. Preconditions: shut, and the device does not reach memory.
func (q *queue) abandon() {
	q.mu.Lock()
	var left []*block.Request
	for i := range q.flying {
		if r := q.flying[i].r; r != nil {
			left = append(left, r)
			q.free = append(q.free, q.flying[i].slot)
			q.flying[i] = flight{}
		}
	}
	q.room.Broadcast()
	q.mu.Unlock()
	for _, r := range left {
		r.Done(r, block.ErrGone)
	}
}

// drain waits until nothing is in flight, or ever will be.
func (q *queue) drain() {
	q.mu.Lock()
	for len(q.free) < mm.PageSize/slotSize && !q.shut {
		q.room.Wait()
	}
	q.shut = true
	q.mu.Unlock()
}
