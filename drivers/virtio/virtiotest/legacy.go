package virtiotest

import "fmt"

// oldRegisters are the ports of a device of before 1.0 (virtio 1.2, section 4.1.4.8).
type oldRegisters struct{ registers }

func (r *oldRegisters) Load8(off uint64) uint8       { return uint8(r.load(off, 1)) }
func (r *oldRegisters) Load16(off uint64) uint16     { return uint16(r.load(off, 2)) }
func (r *oldRegisters) Load32(off uint64) uint32     { return r.load(off, 4) }
func (r *oldRegisters) Store8(off uint64, v uint8)   { r.store(off, 1, uint32(v)) }
func (r *oldRegisters) Store16(off uint64, v uint16) { r.store(off, 2, uint32(v)) }
func (r *oldRegisters) Store32(off uint64, v uint32) { r.store(off, 4, v) }

const oldConfig = 24

func (r *oldRegisters) load(off uint64, n int) uint32 {
	r.check(off, n)
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Gone != nil {
		return d.gone(n)
	}
	q := d.selected()
	switch {
	case off >= oldConfig+uint64(len(d.Config)):
		return 0
	case off >= oldConfig:
		return get(d.Config[off-oldConfig:], n)
	case off == 0:
		return uint32(d.Features)
	case off == 12:
		return uint32(q.size)
	case off == 18:
		return uint32(d.common[20])
	case off == 20:
		return get(d.common[16:], 2)
	case off == 22:
		return uint32(q.vector)
	}
	panic(fmt.Sprintf("virtiotest: port %d is read", off))
}

func (r *oldRegisters) store(off uint64, n int, v uint32) {
	r.check(off, n)
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Gone != nil {
		return
	}
	q := d.selected()
	switch off {
	case 4:
		if d.got = uint64(v); d.got&^d.Features != 0 {
			panic("virtiotest: a feature was taken that is not there")
		}
	case 8:
		q.desc = uint64(v) << 12
		q.avail = q.desc + 16*uint64(q.size)
		q.used = (q.avail + 6 + 2*uint64(q.size) + 4095) &^ 4095
		q.on = v != 0
	case 14:
		set(d.common[22:], 2, v)
	case 16:
		d.Kicks++
		d.kicks <- int(v)
	case 18:
		if v == 0 {
			d.reset()
			return
		}
		d.common[20] = byte(v)
	case 20:
		set(d.common[16:], 2, v)
	case 22:
		q.vector = uint16(v)
	default:
		panic(fmt.Sprintf("virtiotest: port %d is written", off))
	}
}
