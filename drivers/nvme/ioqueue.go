package nvme

import (
	"sync"

	"nidus/drivers/block"
	"nidus/mm"
)

// mostDiscard is how many blocks one command discards: a larger range is done in steps, so
// that none takes longer than commands may.
const mostDiscard = 1 << 23

// ioQueue is a pair of queues for commands of namespaces.
type ioQueue struct {
	c     *Controller
	index uint16 // its number, from 1
	mu    sync.Mutex
	room  sync.Cond // waits for free slots, for the end of a reset, and for the last one in flight
	r     rings
	lists []mm.MFN // of each slot: PRPs, SGL, discard's range, or a block that is copied
	state queueState

	flying [maxDepth]flight // by slot
}

// queueState is what an ioQueue does.
type queueState uint8

const (
	paused  queueState = iota // the controller is being reset: who submits waits
	working                   // commands go to the device
	ended                     // for good: who submits gets block.ErrGone
)

// flight is a request that the device has.
type flight struct {
	r       *block.Request
	disk    *Disk
	piece   piece
	sectors uint64 // done, and being done
	since   uint64 // of the controller's ticks
	aborted bool
}

// allocate takes the memory.
func (q *ioQueue) allocate(depth uint16) error {
	if err := q.r.allocate(q.c.host, depth); err != nil {
		return err
	}
	for range depth - 1 {
		m, err := q.c.host.Alloc(0, mm.ZoneAny)
		if err != nil {
			return err
		}
		q.lists = append(q.lists, m)
	}
	return nil
}

// release gives the memory back. Preconditions: ended, and the device does not reach it.
func (q *ioQueue) release() {
	q.r.release()
	for _, m := range q.lists {
		q.c.host.Free(m, 0)
	}
	q.lists = nil
}

// submit starts a request, when there is room.
func (q *ioQueue) submit(d *Disk, r *block.Request) {
	q.mu.Lock()
	for q.state != working || len(q.r.free) == 0 {
		if q.state == ended || d.closed.Load() {
			break
		}
		q.room.Wait()
	}
	if q.state == ended || d.closed.Load() {
		q.mu.Unlock()
		r.Done(r, block.ErrGone)
		return
	}
	d.flying.Add(1)
	slot := q.r.take()
	q.flying[slot] = flight{r: r, disk: d}
	q.start(slot)
	q.mu.Unlock()
}

// start gives the device the next command of a slot's request. Preconditions: mu.
func (q *ioQueue) start(slot uint16) {
	f := &q.flying[slot]
	d, list := f.disk, q.lists[slot]
	cmd := command{nsid: d.nsid}
	f.since, f.aborted = q.c.ticks.Load(), false
	switch f.r.Op {
	case block.Flush:
		cmd.op = cmdFlush
	case block.Discard:
		blocks := min(f.r.Sectors-f.sectors, mostDiscard<<d.shift) >> d.shift
		page := q.c.host.Page(list)
		page.Store64(0, blocks<<32) // no attributes
		page.Store64(8, (f.r.Sector+f.sectors)>>d.shift)
		f.sectors += blocks << d.shift
		cmd.op, cmd.data[0], cmd.words[1] = cmdDataset, q.c.host.DMA(list), datasetTrim
	default:
		first := (f.r.Sector + f.sectors) >> d.shift
		var sgl bool
		f.piece, sgl = d.desc.plan(f.r.Segments, f.piece.to)
		f.sectors += uint64(f.piece.bytes) >> block.SectorShift
		if cmd.op = cmdWrite; f.r.Op == block.Read {
			cmd.op = cmdRead
		} else if f.piece.bounce {
			d.desc.copyBlock(f.r.Segments, f.piece, list, false)
		}
		if sgl {
			cmd.op |= cmdUseSGL
			cmd.data = d.desc.scatter(f.r.Segments, list)
		} else {
			cmd.data = d.desc.prp(f.r.Segments, f.piece, list)
		}
		cmd.words = [3]uint32{uint32(first), uint32(first >> 32), f.piece.bytes/d.info.SectorSize - 1}
		if f.r.Op == block.WriteFUA {
			cmd.words[2] |= cmdFUA
		}
	}
	q.r.put(slot, &cmd)
}

// more takes in what a command did, and tells whether its request needs another.
func (f *flight) more(list mm.MFN) bool {
	switch f.r.Op {
	case block.Flush:
		return false
	case block.Discard:
		return f.sectors < f.r.Sectors
	}
	if f.piece.bounce && f.r.Op == block.Read {
		f.disk.desc.copyBlock(f.r.Segments, f.piece, list, true)
	}
	return f.piece.to.seg < len(f.r.Segments)
}

// end is a request that is done.
type end struct {
	flight
	err error
}

func (e *end) done() {
	e.r.Done(e.r, e.err)
	e.disk.flying.Done()
}

// interrupt takes what the device has done.
func (q *ioQueue) interrupt() {
	var batch [32]end
	for more := true; more; {
		n, took := 0, false
		q.mu.Lock()
		if q.state != working {
			q.mu.Unlock()
			return
		}
		var bad error
		for n < len(batch) {
			slot, _, status, ok, err := q.r.next()
			if !ok {
				bad, more = err, false
				break
			}
			took = true
			f := &q.flying[slot]
			err = statusOf(status)
			if err == nil && f.more(q.lists[slot]) {
				q.start(slot)
				continue
			}
			batch[n] = end{*f, err}
			n++
			*f = flight{}
			q.r.give(slot)
		}
		if took {
			q.r.taken()
		}
		if n > 0 {
			q.room.Broadcast()
		}
		q.mu.Unlock()
		for _, e := range batch[:n] {
			e.done()
		}
		if bad != nil {
			q.c.report(bad)
		}
	}
}

// set changes what the queue does, unless it has ended.
func (q *ioQueue) set(s queueState) {
	q.mu.Lock()
	if q.state != ended {
		q.state = s
	}
	q.room.Broadcast()
	q.mu.Unlock()
}

// abandon ends what is in flight, with an error. Preconditions: not working, and the
// device does not reach memory.
func (q *ioQueue) abandon(why error) {
	q.mu.Lock()
	var left []end
	for i := range q.flying {
		if q.flying[i].r != nil {
			left = append(left, end{q.flying[i], why})
			q.flying[i] = flight{}
		}
	}
	q.r.reset()
	q.room.Broadcast()
	q.mu.Unlock()
	for _, e := range left {
		e.done()
	}
}

// refuse has those who wait for room see that their disk is closed. Afterwards nobody
// starts a request of that disk.
func (q *ioQueue) refuse() {
	q.mu.Lock()
	q.room.Broadcast()
	q.mu.Unlock()
}

// oldest returns how many ticks the oldest command in flight has been there; some is false
// if there is none.
func (q *ioQueue) oldest(now uint64) (age uint64, some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != working {
		return 0, false
	}
	for i := range q.flying {
		if f := &q.flying[i]; f.r != nil {
			age, some = max(age, now-f.since), true
		}
	}
	return age, some
}

// late returns the identifiers of commands that are older than so many ticks and that it
// has not returned before.
func (q *ioQueue) late(now, most uint64) (ids []uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.flying {
		if f := &q.flying[i]; f.r != nil && !f.aborted && now-f.since > most {
			f.aborted = true
			ids = append(ids, q.r.identifier(uint16(i)))
		}
	}
	return ids
}
