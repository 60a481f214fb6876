package virtiotest

import "fmt"

// registers is a part of the device's window.
type registers struct {
	d       *Device
	from, n uint64
}

func (r *registers) Size() uint64                 { return r.n }
func (r *registers) Load8(off uint64) uint8       { return uint8(r.load(off, 1)) }
func (r *registers) Load16(off uint64) uint16     { return uint16(r.load(off, 2)) }
func (r *registers) Load32(off uint64) uint32     { return r.load(off, 4) }
func (r *registers) Store8(off uint64, v uint8)   { r.store(off, 1, uint32(v)) }
func (r *registers) Store16(off uint64, v uint16) { r.store(off, 2, uint32(v)) }
func (r *registers) Store32(off uint64, v uint32) { r.store(off, 4, v) }

func (r *registers) check(off uint64, n int) {
	if off+uint64(n) > r.n || off%uint64(n) != 0 {
		panic(fmt.Sprintf("virtiotest: %d bytes at %#x of %#x", n, off, r.n))
	}
}

func (r *registers) load(off uint64, n int) uint32 {
	r.check(off, n)
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Gone != nil {
		return d.gone(n)
	}
	at := r.from + off
	switch {
	case at >= atTable:
		return get(d.table[at-atTable:], n)
	case at >= atConfig:
		return get(d.Config[at-atConfig:], n)
	case at >= atNotify:
		return 0
	}
	q := d.selected()
	switch at {
	case 4:
		return uint32((d.Features | 1<<32) >> (32 * uint64(d.common[0])))
	case 18:
		return uint32(len(d.queues))
	case 24:
		return uint32(q.size)
	case 26:
		return uint32(q.vector)
	case 30:
		return get(d.common[22:], 2) // its number
	}
	return get(d.common[at:], n)
}

// gone is what a register of n bytes reads as when the device is not there.
func (d *Device) gone(n int) (v uint32) {
	for range n {
		v = v<<8 | uint32(*d.Gone)
	}
	return v
}

func (d *Device) selected() *queue {
	if i := int(get(d.common[22:], 2)); i < len(d.queues) {
		return &d.queues[i]
	}
	return &queue{}
}

func (r *registers) store(off uint64, n int, v uint32) {
	r.check(off, n)
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Gone != nil {
		return
	}
	at := r.from + off
	switch {
	case at >= atTable:
		set(d.table[at-atTable:], n, v)
		return
	case at >= atConfig:
		return
	case at >= atNotify:
		d.Kicks++
		d.kicks <- int(v)
		return
	}
	q := d.selected()
	half := func(a *uint64, shift int) { *a = *a&^(0xffffffff<<shift) | uint64(v)<<shift }
	switch at {
	case 12:
		half(&d.got, 32*int(d.common[8]))
	case 20:
		if v == 0 {
			d.reset()
			return
		}
		if v&8 != 0 && d.got&^(d.Features|1<<32) != 0 {
			v &^= 8
		}
	case 24:
		q.size = uint16(v)
	case 26:
		q.vector = uint16(v)
	case 28:
		q.on = true
	case 32, 36:
		half(&q.desc, int(at-32)*8)
	case 40, 44:
		half(&q.avail, int(at-40)*8)
	case 48, 52:
		half(&q.used, int(at-48)*8)
	}
	set(d.common[at:], n, v)
}
