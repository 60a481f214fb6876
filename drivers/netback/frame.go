package netback

import (
	"encoding/binary"
	"fmt"

	"nidus/drivers/link"
	"nidus/drivers/link/offload"
	"nidus/drivers/link/packet"
)

// extras are the extra infos of a frame.
type extras struct {
	n         int // slots
	gso       bool
	mss       uint16
	gsoType   uint8
	mcast     uint8 // extraMcastAdd or Del, 0: none
	mcastAddr link.MAC
}

// next reads the request at cons, which must be there.
func (q *txQueue) next(prod uint32, b *[txSlot]byte) error {
	if q.cons == prod {
		return fmt.Errorf("tx request %d: the frame's last requests are missing", q.cons)
	}
	q.read(q.cons, b[:])
	q.cons++
	return nil
}

// take takes the frame that begins at cons; nil if it is none for the host's side. An
// error is a breach of the protocol.
func (q *txQueue) take(prod uint32) (*txFrame, error) {
	first := q.cons
	n, err := q.readRequests(prod)
	if err != nil {
		return nil, err
	}
	f := q.get()
	f.nulls = q.infos.n
	for i := range n {
		f.ids = append(f.ids, q.reqs[i].id)
	}
	if q.infos.mcast != 0 {
		if !q.c.groups.change(q.infos.mcast == extraMcastAdd, q.infos.mcastAddr) {
			f.status = rspError
		}
		f.finish()
		return nil, nil
	}
	if err := f.fill(q.reqs[:n]); err != nil {
		f.status = rspError
		f.finish()
		return nil, fmt.Errorf("tx request %d: %w", first, err)
	}
	if !f.describe(&q.infos, q.reqs[0].flags) {
		q.c.stats.receivedBad.Add(1)
		f.status = rspError
		f.finish()
		return nil, nil
	}
	length := f.Len()
	q.c.stats.receivedFrames.Add(1)
	q.c.stats.receivedBytes.Add(uint64(length))
	if l := q.c.limit; l != nil {
		l.spend(length)
	}
	return f, nil
}

// readRequests reads the n requests of a frame into reqs, and its extra infos. The first
// request's size becomes that of its own bytes.
func (q *txQueue) readRequests(prod uint32) (n int, err error) {
	var b [txSlot]byte
	first := q.cons
	if err := q.next(prod, &b); err != nil {
		return 0, err
	}
	q.reqs[0] = parseTx(&b)
	r := &q.reqs[0]
	q.infos = extras{}
	for more := r.flags&txExtra != 0; more; more = b[1]&extraMore != 0 {
		if q.infos.n++; q.infos.n >= extraMax {
			return 0, fmt.Errorf("tx request %d has more than %d extra infos", first, extraMax-1)
		}
		if err := q.next(prod, &b); err != nil {
			return 0, err
		}
		if err := q.infos.add(&b); err != nil {
			return 0, fmt.Errorf("tx request %d: %w", first, err)
		}
	}
	n = 1
	rest := 0
	for more := r.flags&txMore != 0; more; n++ {
		if n == maxSlots {
			return 0, fmt.Errorf("tx request %d has more than %d slots", first, maxSlots)
		}
		if err := q.next(prod, &b); err != nil {
			return 0, err
		}
		q.reqs[n] = parseTx(&b)
		rest += int(q.reqs[n].size)
		more = q.reqs[n].flags&txMore != 0
	}
	if rest > int(r.size) || rest == int(r.size) && n > 1 {
		return 0, fmt.Errorf("tx request %d: %d bytes in all, and %d without the first slot", first, r.size, rest)
	}
	r.size -= uint16(rest)
	for i := range n {
		if s := &q.reqs[i]; s.end() > pageSize || s.size == 0 && n > 1 {
			return 0, fmt.Errorf("tx request %d, slot %d: %d bytes from %d on of a page", first, i, s.size, s.off)
		}
	}
	return n, nil
}

// add reads an extra info.
func (e *extras) add(b *[txSlot]byte) error {
	switch b[0] {
	case extraGSO:
		if e.gso {
			return fmt.Errorf("two extra infos for segmentation")
		}
		e.gso, e.mss, e.gsoType = true, le.Uint16(b[2:]), b[4]
		if e.mss == 0 || e.gsoType != gsoTCPv4 && e.gsoType != gsoTCPv6 {
			return fmt.Errorf("segmentation of type %d into %d bytes", e.gsoType, e.mss)
		}
	case extraMcastAdd, extraMcastDel:
		e.mcast, e.mcastAddr = b[0], link.MAC(b[2:8])
	case extraHash: // the host's side has no use for it
	default:
		return fmt.Errorf("an extra info of type %d", b[0])
	}
	return nil
}

// fill takes the guest's pages, and copies the beginning.
func (f *txFrame) fill(reqs []txRequest) error {
	c := f.q.c
	f.Head = f.room[:0]
	for i := range reqs {
		r := &reqs[i]
		if r.size == 0 {
			continue // an empty frame, which describe refuses
		}
		x, err := c.cfg.Guest.AcquireNear(r.ref, false, &f.q.near)
		if err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		off, left := r.off, r.size
		if have := len(f.Head); have < link.HeadFill {
			n := min(int(left), link.HeadFill-have)
			f.Head = f.room[:have+n]
			c.page(x).Read(int(off), f.Head[have:])
			off, left = off+uint16(n), left-uint16(n)
		}
		if left == 0 {
			c.cfg.Guest.Release(x)
			continue
		}
		f.grants = append(f.grants, x)
		f.Segments = append(f.Segments, link.Segment{Frame: x.Frame, Off: off, Len: left})
	}
	f.HeadAt.Len = uint16(len(f.Head))
	return nil
}

// describe says what is left to do for the frame; false: it is none that can be sent.
func (f *txFrame) describe(e *extras, flags uint16) bool {
	f.Checksum, f.CsumStart, f.CsumOffset, f.Segmentation, f.MSS = link.Complete, 0, 0, link.Whole, 0
	if len(f.Head) < link.HeaderSize {
		return false
	}
	if flags&txValidated != 0 {
		f.Checksum = link.Verified
	}
	if flags&txCsumBlank == 0 && !e.gso {
		return true
	}
	h := packet.Parse(f.Head)
	off, ok := h.SumOffset()
	if !ok {
		return false
	}
	if !e.gso { // what is to be cut is as long as it is
		if h.End < h.Payload || h.End > f.Len() {
			return false
		}
		f.trim(h.End)
	}
	f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(h.L4), uint16(off)
	sum := h.Pseudo(f.Head, f.Len()-h.L4)
	if e.gso {
		want := uint16(packet.IPv4)
		f.Segmentation, f.MSS = link.TCPv4, e.mss
		if e.gsoType == gsoTCPv6 {
			want, f.Segmentation = packet.IPv6, link.TCPv6
		}
		if h.EtherType != want || h.Protocol != packet.TCP || e.mss < offload.LeastMSS {
			return false
		}
		if f.Len() <= h.Payload+int(e.mss) { // one piece is the frame itself
			f.Segmentation, f.MSS = link.Whole, 0
		}
	}
	// The pseudo header's sum as it has to be: not all frontends put it there.
	binary.BigEndian.PutUint16(f.Head[h.L4+off:], packet.Fold(sum))
	return true
}

// trim takes away what is behind the first n bytes, at least the headers: the sum of what
// stays is to be as if it wasn't there.
func (f *txFrame) trim(n int) {
	f.Head = f.Head[:min(len(f.Head), n)]
	f.HeadAt.Len = uint16(len(f.Head))
	n -= len(f.Head)
	for i := range f.Segments {
		s := &f.Segments[i]
		if n == 0 {
			f.Segments = f.Segments[:i]
			return
		}
		s.Len = uint16(min(int(s.Len), n))
		n -= int(s.Len)
	}
}
