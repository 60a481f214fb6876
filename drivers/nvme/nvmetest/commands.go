package nvmetest

import (
	"encoding/binary"
	"fmt"

	"nidus/mm"
)

// Statuses (figure 128).
const (
	invalidOp    = 0x01
	invalidField = 0x02
	aborted      = 0x07
	invalidNS    = 0x0b
	beyondEnd    = 0x80
)

// do does a command. Preconditions: mu.
func (d *Device) do(c Command) (result uint32, status uint16) {
	kind := 0
	if c.Queue != 0 {
		kind = 1
	}
	d.Seen[kind][c.Op]++
	if d.Status != nil {
		if s := d.Status(c); s != 0 {
			return 0, s
		}
	}
	if kind == 1 {
		return 0, d.io(c)
	}
	switch which := uint16(c.Words[0]); c.Op {
	case 0x01: // create a submission queue
		cq := uint16(c.Words[1] >> 16)
		if which == 0 || which > d.Queues || d.cqs[cq] == nil || d.sqs[which] != nil || c.Words[1]&1 == 0 {
			panic(fmt.Sprintf("nvmetest: submission queue %d for %d", which, cq))
		}
		d.sqs[which] = &submission{base: d.queueMemory(c), size: c.Words[0]>>16 + 1, cq: cq}
	case 0x05: // create a completion queue
		vector := int(c.Words[1] >> 16)
		if which == 0 || which > d.Queues || d.cqs[which] != nil || c.Words[1]&3 != 3 || vector >= d.Vectors {
			panic(fmt.Sprintf("nvmetest: completion queue %d with interrupt %d", which, vector))
		}
		d.cqs[which] = &completion{base: d.queueMemory(c), size: c.Words[0]>>16 + 1, phase: true, vector: vector}
	case 0x06:
		return 0, d.identify(c)
	case 0x08: // abort
		for i, h := range d.held {
			if h.Queue == which && h.ID == uint16(c.Words[0]>>16) {
				d.held = append(d.held[:i:i], d.held[i+1:]...)
				d.finish(h, 0, aborted)
				return 0, 0
			}
		}
		return 1, 0
	case 0x09: // set features
		if c.Words[0]&0xff != 7 {
			return 0, invalidField
		}
		n := uint32(d.Queues - 1)
		return min(c.Words[1]&0xffff, n) | min(c.Words[1]>>16, n)<<16, 0
	default:
		return 0, invalidOp
	}
	return 0, 0
}

func (d *Device) queueMemory(c Command) uint64 {
	if c.Data[0]&mm.PageMask != 0 || c.Words[0]>>16 >= d.Depth {
		panic(fmt.Sprintf("nvmetest: a queue of %d at %#x", c.Words[0]>>16+1, c.Data[0]))
	}
	return c.Data[0]
}

func (d *Device) identify(c Command) uint16 {
	b := make([]byte, mm.PageSize)
	le := binary.LittleEndian
	switch c.Words[0] {
	case 0:
		if c.NSID == 0 || int(c.NSID) > len(d.Namespaces) {
			return invalidNS
		}
		n := d.Namespaces[c.NSID-1]
		if n.Gone {
			break // zeroes
		}
		le.PutUint64(b, uint64(len(n.Trimmed)))
		b[25], b[26] = 1, 1 // two formats, the second is used
		le.PutUint16(b[132:], n.Metadata)
		b[128+2], b[132+2] = 7, n.Shift
		if n.Grain > 0 {
			b[24] = 1 << 4
			le.PutUint16(b[68:], n.Grain-1)
		}
		if n.Protected {
			b[99] = 1
		}
	case 1:
		copy(b[24:64], fmt.Sprintf("%-40s", "Model\x01 of nvmetest"))
		b[77] = d.MostPages
		le.PutUint32(b[516:], uint32(len(d.Namespaces)))
		if d.Discard {
			le.PutUint16(b[520:], 4)
		}
		if d.Cache {
			b[525] = 1
		}
		if d.SGL {
			le.PutUint32(b[536:], 1)
		}
	case 2:
		if d.Version < 0x10100 {
			return invalidField
		}
		at := 0
		for i, n := range d.Namespaces {
			if !n.Gone && uint32(i+1) > c.NSID {
				le.PutUint32(b[at:], uint32(i+1))
				at += 4
			}
		}
	default:
		return invalidField
	}
	d.Host.Page(d.frame(c.Data[0])).Write(0, b)
	return 0
}

func (d *Device) frame(addr uint64) mm.MFN {
	if addr&mm.PageMask != 0 {
		panic(fmt.Sprintf("nvmetest: %#x is no page", addr))
	}
	return mm.MFN(addr>>mm.PageShift) - mm.MFN(d.Host.DMA(0)>>mm.PageShift)
}

// io does a command of a namespace.
func (d *Device) io(c Command) uint16 {
	if c.NSID == 0 || int(c.NSID) > len(d.Namespaces) {
		return invalidNS
	}
	n := d.Namespaces[c.NSID-1]
	switch c.Op {
	case 0x00:
		if !d.Cache {
			panic("nvmetest: a flush of what has no cache")
		}
		copy(n.Safe, n.Now)
	case 0x01, 0x02:
		first, blocks := uint64(c.Words[0])|uint64(c.Words[1])<<32, uint64(c.Words[2]&0xffff)+1
		if first+blocks > uint64(len(n.Trimmed)) {
			return beyondEnd
		}
		from, to := first<<n.Shift, (first+blocks)<<n.Shift
		if d.MostPages > 0 && to-from > mm.PageSize<<d.MostPages {
			return invalidField
		}
		for _, s := range d.data(c, to-from) {
			p, off := d.Host.At(s.addr)
			if part := n.Now[from : from+s.size]; c.Op == 0x01 {
				p.Read(off, part)
			} else {
				p.Write(off, part)
			}
			from += s.size
		}
		if c.Op == 0x01 && (c.Words[2]>>30&1 != 0 || !d.Cache) {
			first, last := first<<n.Shift, to
			copy(n.Safe[first:last], n.Now[first:last])
		}
	case 0x09:
		if c.Words[1] != 4 || !d.Discard {
			return invalidField
		}
		for i := range c.Words[0]&0xff + 1 {
			a := c.Data[0] + uint64(i)*16
			blocks, first := uint64(d.load32(a+4)), d.load64(a+8)
			if first+blocks > uint64(len(n.Trimmed)) {
				return beyondEnd
			}
			for j := range blocks {
				n.Trimmed[first+j]++
			}
		}
	default:
		return invalidOp
	}
	return 0
}

type span struct{ addr, size uint64 }

// data finds the memory of a command, in pieces of a page at most.
func (d *Device) data(c Command, size uint64) (all []span) {
	if c.SGL {
		d.Scattered++
		return d.scattered(c, size)
	}
	add := func(addr uint64) {
		n := min(size, mm.PageSize-addr&mm.PageMask)
		if len(all) > 0 && addr&mm.PageMask != 0 {
			panic(fmt.Sprintf("nvmetest: PRP %d is %#x, in the middle of a page", len(all), addr))
		}
		if addr&3 != 0 {
			panic("nvmetest: data is not aligned")
		}
		all = append(all, span{addr, n})
		size -= n
	}
	add(c.Data[0])
	switch {
	case size == 0:
	case size <= mm.PageSize:
		add(c.Data[1])
	default:
		d.frame(c.Data[1])
		for at := c.Data[1]; size > 0; at += 8 {
			add(d.load64(at))
		}
	}
	return all
}

func (d *Device) scattered(c Command, size uint64) (all []span) {
	if !d.SGL {
		panic("nvmetest: SGLs are not offered")
	}
	add := func(addr, v uint64) {
		n := v & 0xffffffff
		if v>>32 != 0 || n == 0 || n > size || addr&mm.PageMask+n > mm.PageSize {
			panic(fmt.Sprintf("nvmetest: an SGL descriptor %#x, %#x", addr, v))
		}
		all = append(all, span{addr, n})
		size -= n
	}
	switch c.Data[1] >> 60 {
	case 0:
		add(c.Data[0], c.Data[1])
	case 3: // the last segment
		n := c.Data[1] & 0xffffffff
		if n%16 != 0 || n > mm.PageSize {
			panic(fmt.Sprintf("nvmetest: an SGL of %d bytes", n))
		}
		for at := range n / 16 {
			add(d.load64(c.Data[0]+16*at), d.load64(c.Data[0]+16*at+8))
		}
	default:
		panic(fmt.Sprintf("nvmetest: an SGL descriptor of type %d", c.Data[1]>>60))
	}
	if size != 0 {
		panic(fmt.Sprintf("nvmetest: an SGL is %d bytes short", size))
	}
	return all
}
