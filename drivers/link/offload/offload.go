// Package offload does for frames what the port that they go to does not: it completes
// checksums (RFC 1071), cuts what is longer than the MTU (RFC 9293), and gathers what is in
// too many pieces. All of that copies; frames that need none of it pass as they are.
package offload

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/mm"
)

const (
	// most is how many copies a Completer has at once. A frame of 64 KiB makes 46 for an
	// MTU of 1500 bytes.
	most = 256
	// batchSize is how many copies are sent at a time.
	batchSize = 32
	// LeastMSS is the smallest piece that a frame is cut into: with less, one frame would be
	// thousands.
	LeastMSS = 48
)

// Full is what a port takes that needs no Completer.
var Full = link.Offloads{Checksum: true, TCPv4: true, TCPv6: true, Gather: link.MaxSegments}

// Completer stands before a port. Its methods may be called by several goroutines.
type Completer struct {
	mem  mm.FrameMemory
	take link.Offloads
	mtu  int
	send func(frames []*link.Frame)
	// Lost counts frames, or pieces of them, that there was no memory for, or whose
	// headers say something that can't be done.
	Lost atomic.Uint64

	pages int // of a copy

	mu     sync.Mutex
	idle   sync.Cond // signalled when all copies are free
	free   []*copied
	made   []*copied
	closed bool
}

// copied is a frame of the Completer's own: its head, and data from link.HeadSize on, in
// pages that follow one another in data but not in memory.
type copied struct {
	link.Frame
	pages []mm.MFN
	segs  [link.MaxSegments]link.Segment
}

// New makes a Completer for a port that takes no more than take, with frames of mtu bytes;
// send is the port's.
func New(mem mm.FrameMemory, take link.Offloads, mtu int, send func(frames []*link.Frame)) *Completer {
	c := &Completer{mem: mem, take: take, mtu: mtu, send: send, pages: min((link.HeadSize+mtu+mm.PageSize-1)/mm.PageSize, max(take.Gather, 1), link.MaxSegments)}
	c.idle.L = &c.mu
	return c
}

// Needs tells whether a port that takes t can't have f as it is.
func Needs(t *link.Offloads, f *link.Frame) bool {
	return f.Checksum == link.Partial && !t.Checksum || f.Segmentation == link.TCPv4 && !t.TCPv4 ||
		f.Segmentation == link.TCPv6 && !t.TCPv6 || len(f.Segments) > t.Gather
}

// Send gives the port the frames, or what they become.
func (c *Completer) Send(frames []*link.Frame) {
	begin := 0
	for i, f := range frames {
		if !Needs(&c.take, f) {
			continue
		}
		if begin < i {
			c.send(frames[begin:i])
		}
		begin = i + 1
		if !c.replace(f) {
			c.Lost.Add(1)
		}
		f.Done(f)
	}
	if begin < len(frames) {
		c.send(frames[begin:])
	}
}

// batches are lists of copies to send; a Completer needs one for each goroutine.
var batches = sync.Pool{New: func() any { return new([batchSize]*link.Frame) }}

// replace sends copies in place of f; false: not all of it could be sent.
func (c *Completer) replace(f *link.Frame) bool {
	if f.Segmentation == link.Whole {
		return c.whole(f)
	}
	h := packet.Parse(f.Head)
	want := uint16(packet.IPv4)
	if f.Segmentation == link.TCPv6 {
		want = packet.IPv6
	}
	if h.EtherType != want || h.Protocol != packet.TCP || h.Payload == 0 || f.MSS < LeastMSS {
		return false
	}
	all := f.Len() - h.Payload
	if h.Payload-h.L3+min(int(f.MSS), all) > c.mtu {
		return false
	}
	list := batches.Get().(*[batchSize]*link.Frame)
	defer batches.Put(list)
	n, ok := 0, true
	src := link.NewReader(c.mem, f, h.Payload)
	for off := 0; off < all && ok; off += int(f.MSS) {
		size := min(int(f.MSS), all-off)
		p := c.get()
		if ok = p != nil && c.fill(p, f.From, f.Head[:h.Payload], &src, size); !ok {
			c.put(p)
			break
		}
		p.number(&h, off, int(f.MSS), off+size == all)
		p.checksum(c.mem, &h)
		if list[n] = &p.Frame; n == batchSize-1 {
			c.send(list[:])
			n = -1
		}
		n++
	}
	if n > 0 {
		c.send(list[:n])
	}
	return ok
}

// whole sends a copy of a frame that is not to be cut.
func (c *Completer) whole(f *link.Frame) bool {
	p := c.get()
	if p == nil {
		return false
	}
	src := link.NewReader(c.mem, f, len(f.Head))
	if !c.fill(p, f.From, f.Head, &src, f.Len()-len(f.Head)) {
		c.put(p)
		return false
	}
	if f.Checksum == link.Partial {
		start, at := int(f.CsumStart), int(f.CsumStart)+int(f.CsumOffset)
		if start > len(p.Head) || at+2 > len(p.Head) { // ports put all headers into the head
			c.put(p)
			return false
		}
		sum := ^packet.Fold(p.sum(c.mem, start))
		if sum == 0 {
			sum = 0xffff // in UDP, 0 is none; in TCP it is the same
		}
		binary.BigEndian.PutUint16(p.Head[at:], sum)
	} else {
		p.Checksum = f.Checksum
	}
	list := batches.Get().(*[batchSize]*link.Frame)
	list[0] = &p.Frame
	c.send(list[:1])
	batches.Put(list)
	return true
}

// fill makes p a frame that came from somebody, with a head and n bytes of src; false: it has no room for them.
func (c *Completer) fill(p *copied, from link.ID, head []byte, src *link.Reader, n int) bool {
	if n > c.pages*mm.PageSize-link.HeadSize || n > 0 && c.take.Gather == 0 {
		return false
	}
	p.Head = c.mem.Page(p.pages[0]).Bytes(0, len(head))
	copy(p.Head, head)
	p.HeadAt = link.Segment{Frame: p.pages[0], Len: uint16(len(head))}
	p.Segments = p.segs[:0]
	off := link.HeadSize
	for _, m := range p.pages {
		if n == 0 {
			break
		}
		k := min(n, mm.PageSize-off)
		src.Copy(c.mem.Page(m), off, k)
		p.Segments = append(p.Segments, link.Segment{Frame: m, Off: uint16(off), Len: uint16(k)})
		n, off = n-k, 0
	}
	p.From, p.Checksum, p.Segmentation = from, link.Complete, link.Whole
	return true
}

// Flags of TCP (RFC 9293, 3.1; RFC 3168), and where its header has them.
const (
	tcpSeq, tcpFlags, tcpSum = 4, 13, 16

	flagFIN, flagPSH, flagCWR = 1 << 0, 1 << 3, 1 << 7
)

// number makes the headers those of the piece of a longer frame that begins off bytes
// behind its headers, where each piece but the last has mss bytes.
func (p *copied) number(h *packet.Headers, off, mss int, last bool) {
	be := binary.BigEndian
	ip, tcp := p.Head[h.L3:], p.Head[h.L4:]
	size := p.Len() - h.L3
	if h.EtherType == packet.IPv4 {
		be.PutUint16(ip[2:], uint16(size))
		be.PutUint16(ip[4:], be.Uint16(ip[4:])+uint16(off/mss))
		be.PutUint16(ip[10:], 0)
		be.PutUint16(ip[10:], ^packet.Fold(packet.Sum(0, ip[:h.L4-h.L3])))
	} else {
		be.PutUint16(ip[4:], uint16(size-40))
	}
	be.PutUint32(tcp[tcpSeq:], be.Uint32(tcp[tcpSeq:])+uint32(off))
	if off > 0 {
		tcp[tcpFlags] &^= flagCWR
	}
	if !last {
		tcp[tcpFlags] &^= flagFIN | flagPSH
	}
}

// checksum puts in TCP's.
func (p *copied) checksum(mem mm.DirectMap, h *packet.Headers) {
	at := p.Head[h.L4+tcpSum:]
	binary.BigEndian.PutUint16(at, packet.Fold(h.Pseudo(p.Head, p.Len()-h.L4)))
	binary.BigEndian.PutUint16(at, ^packet.Fold(p.sum(mem, h.L4)))
}

// sum sums up the bytes from start on, which is in the head.
func (p *copied) sum(mem mm.DirectMap, start int) uint32 {
	sum := packet.Sum(0, p.Head[start:])
	odd := (len(p.Head) - start) & 1
	for _, s := range p.Segments { // all but the last have an even number of bytes
		x := packet.Fold(packet.Sum(0, mem.Page(s.Frame).Bytes(int(s.Off), int(s.Len))))
		if odd != 0 {
			x = x<<8 | x>>8
		}
		sum = uint32(packet.Fold(sum)) + uint32(x)
	}
	return sum
}

// get returns a copy to fill, or nil if there are none.
func (c *Completer) get() *copied {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if n := len(c.free); n > 0 {
		p := c.free[n-1]
		c.free = c.free[:n-1]
		return p
	}
	if len(c.made) == most {
		return nil
	}
	p := &copied{}
	for range c.pages {
		m, ok := c.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			c.drop(p)
			return nil
		}
		p.pages = append(p.pages, m)
	}
	p.Done = func(*link.Frame) { c.put(p) }
	c.made = append(c.made, p)
	return p
}

// put takes a copy back; nil is none.
func (c *Completer) put(p *copied) {
	if p == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free = append(c.free, p); len(c.free) == len(c.made) {
		c.idle.Broadcast()
	}
}

// drop frees the memory of a copy.
func (c *Completer) drop(p *copied) {
	for _, m := range p.pages {
		c.mem.FreeFrames(m, 0)
	}
}

// Close returns when the port is done with all copies; from then on all that needs one is
// dropped.
func (c *Completer) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for len(c.free) < len(c.made) {
		c.idle.Wait()
	}
	for _, p := range c.made {
		c.drop(p)
	}
	c.free, c.made = nil, nil
}
