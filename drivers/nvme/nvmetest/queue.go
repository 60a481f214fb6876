package nvmetest

import (
	"fmt"
	"runtime"
)

// submission is a queue of commands.
type submission struct {
	base             uint64
	size, head, tail uint32
	cq               uint16
}

// completion is a queue of results. What does not fit waits.
type completion struct {
	base             uint64
	size, head, tail uint32
	phase            bool
	vector           int
	backlog          [][4]uint32
}

func (d *Device) load32(a uint64) uint32 {
	p, off := d.Host.At(a)
	return p.Load32(off)
}

func (d *Device) load64(a uint64) uint64 { return uint64(d.load32(a)) | uint64(d.load32(a+4))<<32 }

// ring is a write of a doorbell. Preconditions: mu.
func (d *Device) ring(id uint16, done bool, v uint32) {
	if done {
		q := d.cqs[id]
		if q == nil || v >= q.size {
			panic(fmt.Sprintf("nvmetest: completion queue %d is taken to %d", id, v))
		}
		q.head = v
		if len(q.backlog) > 0 {
			d.bells <- id
		}
		return
	}
	q := d.sqs[id]
	if q == nil || v >= q.size {
		panic(fmt.Sprintf("nvmetest: submission queue %d is filled to %d", id, v))
	}
	q.tail = v
	d.bells <- id
}

// work does what the driver tells of.
func (d *Device) work() {
	defer d.ended.Done()
	for id := range d.bells {
		d.mu.Lock()
		d.run(id)
		d.mu.Unlock()
	}
}

// run takes what is in a queue and does it, shuffled. Preconditions: mu.
func (d *Device) run(id uint16) {
	q := d.sqs[id]
	if q == nil || d.cc&1 == 0 || d.Dead != nil || d.Fatal || !d.pci.Master() {
		return
	}
	d.flush(d.cqs[q.cq])
	var all []Command
	for ; q.head != q.tail; q.head = (q.head + 1) % q.size {
		a := q.base + 64*uint64(q.head)
		w := d.load32(a)
		all = append(all, Command{Queue: id, Op: uint8(w), SGL: w>>14&3 == 1, ID: uint16(w >> 16), NSID: d.load32(a + 4),
			Data: [2]uint64{d.load64(a + 24), d.load64(a + 32)}, Words: [3]uint32{d.load32(a + 40), d.load32(a + 44), d.load32(a + 48)}})
	}
	if id != 0 {
		d.rnd.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	}
	for _, c := range all {
		if d.Hold != nil && d.Hold(c) {
			d.held = append(d.held, c)
			continue
		}
		result, status := d.do(c)
		d.finish(c, result, status)
		if d.rnd.IntN(4) == 0 {
			d.mu.Unlock()
			runtime.Gosched()
			d.mu.Lock()
			if d.sqs[id] != q {
				return // it was reset
			}
		}
	}
}

// Release does what was held.
func (d *Device) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := d.held
	d.held = nil
	for _, c := range held {
		result, status := d.do(c)
		d.finish(c, result, status)
	}
}

// finish posts a completion. Preconditions: mu.
func (d *Device) finish(c Command, result uint32, status uint16) {
	s := d.sqs[c.Queue]
	q := d.cqs[s.cq]
	q.backlog = append(q.backlog, [4]uint32{result, 0, s.head | uint32(c.Queue)<<16, uint32(c.ID) | uint32(status)<<17})
	d.flush(q)
}

// flush posts what there is room for. Preconditions: mu.
func (d *Device) flush(q *completion) {
	for len(q.backlog) > 0 && (q.tail+1)%q.size != q.head {
		e := q.backlog[0]
		q.backlog = q.backlog[1:]
		id, phase := uint16(e[3]), q.phase
		if d.Corrupt != nil {
			d.Corrupt(uint16(e[2]>>16), &id, &phase)
		}
		e[3] = e[3]&^0x1ffff | uint32(id)
		if phase {
			e[3] |= 1 << 16
		}
		p, off := d.Host.At(q.base + 16*uint64(q.tail))
		for i, v := range e {
			p.Store32(off+4*i, v)
		}
		if q.tail = (q.tail + 1) % q.size; q.tail == 0 {
			q.phase = !q.phase
		}
		d.pci.Interrupt(q.vector)
	}
}
