package virtiotest

import (
	"fmt"
	"runtime"

	"nidus/drivers/virtio"
	"nidus/mm"
)

// queue is the device's side of a virtqueue.
type queue struct {
	size              uint16
	vector            uint16
	on                bool
	desc, avail, used uint64
	taken, done       uint16
}

func (d *Device) load32(a uint64) uint32 {
	p, off := d.Host.At(a)
	return p.Load32(off)
}

func (d *Device) load16(a uint64) uint16 { return uint16(d.load32(a&^3) >> (8 * (a & 3))) }

func (d *Device) store32(a uint64, v uint32) {
	p, off := d.Host.At(a)
	p.Store32(off, v)
}

// run takes what is in a queue and does it, shuffled. Preconditions: mu.
func (d *Device) run(i int) {
	q := &d.queues[i]
	const driverOK, master = 4, 4
	if !q.on || d.common[20]&driverOK == 0 || d.regs[1]&master == 0 {
		return
	}
	event := d.got&virtio.FeatureEventIndex != 0
	var heads []uint16
	for {
		for d.load16(q.avail+2) != q.taken {
			heads = append(heads, d.load16(q.avail+4+2*uint64(q.taken%q.size)))
			q.taken++
		}
		if !event {
			break
		}
		d.store32(q.used+4+8*uint64(q.size), uint32(q.taken))
		if d.load16(q.avail+2) == q.taken {
			break
		}
	}
	d.rnd.Shuffle(len(heads), func(a, b int) { heads[a], heads[b] = heads[b], heads[a] })
	for _, head := range heads {
		bufs := d.chain(q, head)
		id, written := uint32(head), d.Serve(i, bufs)
		if d.Corrupt != nil {
			d.Corrupt(&id, &written)
		}
		at := q.used + 4 + 8*uint64(q.done%q.size)
		d.store32(at, id)
		d.store32(at+4, written)
		q.done++
		d.store32(q.used, uint32(q.done)<<16)
		if !event || d.load16(q.avail+4+2*uint64(q.size)) == q.done-1 {
			d.interrupt(q.vector)
		}
		if d.rnd.IntN(4) == 0 {
			d.mu.Unlock()
			runtime.Gosched()
			d.mu.Lock()
			if !q.on || i >= len(d.queues) || q != &d.queues[i] {
				return // it was reset
			}
		}
	}
}

// Input does the next n chains of a queue of Waits, all at once: fill writes into them and
// says how much. It is false, and nothing happens, if there are less.
func (d *Device) Input(i, n int, fill func(chains [][]virtio.Buffer) []uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := &d.queues[i]
	if !q.on || d.common[20]&4 == 0 || d.regs[1]&4 == 0 || int(d.load16(q.avail+2)-q.taken) < n {
		return false
	}
	var chains [][]virtio.Buffer
	var heads []uint16
	for range n {
		heads = append(heads, d.load16(q.avail+4+2*uint64(q.taken%q.size)))
		chains = append(chains, d.chain(q, heads[len(heads)-1]))
		q.taken++
	}
	before := q.done
	for k, written := range fill(chains) {
		id := uint32(heads[k])
		if d.Corrupt != nil {
			d.Corrupt(&id, &written)
		}
		at := q.used + 4 + 8*uint64(q.done%q.size)
		d.store32(at, id)
		d.store32(at+4, written)
		q.done++
	}
	d.store32(q.used, uint32(q.done)<<16)
	event := d.load16(q.avail + 4 + 2*uint64(q.size))
	if d.got&virtio.FeatureEventIndex == 0 || q.done-event-1 < q.done-before {
		d.interrupt(q.vector)
	}
	return true
}

// Copy writes data into a chain's buffers, or reads as much from them.
func (d *Device) Copy(bufs []virtio.Buffer, data []byte, toDriver bool) {
	for _, b := range bufs {
		if b.Write != toDriver {
			panic("virtiotest: a buffer of the wrong direction")
		}
		for at, left := b.Addr, int(b.Len); left > 0 && len(data) > 0; {
			p, off := d.Host.At(at)
			n := min(left, len(data), mm.PageSize-off)
			if toDriver {
				p.Write(off, data[:n])
			} else {
				p.Read(off, data[:n])
			}
			data, at, left = data[n:], at+uint64(n), left-n
		}
	}
	if len(data) > 0 {
		panic("virtiotest: more than fits into the buffers")
	}
}

// chain reads the buffers of a chain, and panics where the driver got it wrong.
func (d *Device) chain(q *queue, head uint16) (bufs []virtio.Buffer) {
	table, n, at := q.desc, uint64(q.size), uint64(head)
	for range 2 * 256 {
		if at >= n {
			panic(fmt.Sprintf("virtiotest: descriptor %d of %d", at, n))
		}
		addr := uint64(d.load32(table+16*at)) | uint64(d.load32(table+16*at+4))<<32
		size, flags := d.load32(table+16*at+8), d.load32(table+16*at+12)
		if flags&4 != 0 {
			if table != q.desc || flags&1 != 0 || d.got&virtio.FeatureIndirect == 0 {
				panic("virtiotest: a wrong indirect descriptor")
			}
			table, n, at = addr, uint64(size/16), 0
			continue
		}
		b := virtio.Buffer{Addr: addr, Len: size, Write: flags&2 != 0}
		if len(bufs) > 0 && bufs[len(bufs)-1].Write && !b.Write {
			panic("virtiotest: what is read comes after what is written")
		}
		bufs = append(bufs, b)
		if flags&1 == 0 {
			return bufs
		}
		at = uint64(flags >> 16)
	}
	panic("virtiotest: a chain without end")
}
