// Package nic is what the drivers of network cards share: the buffers for what comes in,
// counts, the link's state, and what a frame has to be to be sent.
package nic

import (
	"sync"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/mm"
)

// BufferSize is what a Buffer holds, in bytes.
const BufferSize = mm.PageSize

// headFill is what is filled of a frame's head: a bridge may have to add a VLAN tag.
const headFill = link.HeadSize - vlanTag

// Buffer is memory for a frame, or a part of one, that comes in.
type Buffer struct {
	Addr uint64 // as the device names it
	Page mm.Page
	// Next are further buffers of the same frame.
	Next *Buffer

	mfn   mm.MFN
	frame link.Frame
	segs  [link.MaxSegments]link.Segment
}

// Pool has the buffers of a card: those that the card has, those of frames that somebody
// else has, and free ones. It takes memory from the host as it is needed.
type Pool struct {
	mem  device.Memory
	mu   sync.Mutex
	idle sync.Cond // waits until lent is 0
	free []*Buffer
	made int
	most int
	lent int // buffers of frames that Receivers have

	id     link.ID
	lender *link.Lender
}

// NewPool makes a pool of buffers: as many as the card has, and those that can be lent.
func NewPool(mem device.Memory, own, lendable int) *Pool {
	p := &Pool{mem: mem, most: own + lendable, id: link.NewID(), lender: link.NewLender(lendable)}
	p.idle.L = &p.mu
	return p
}

// Get returns a list of n buffers, or nil if there are none left.
func (p *Pool) Get(n int) *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) < n {
		b := p.make()
		if b == nil {
			return nil
		}
		p.free = append(p.free, b)
	}
	var list *Buffer
	for range n {
		b := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		b.Next, list = list, b
	}
	return list
}

func (p *Pool) make() *Buffer {
	if p.made == p.most {
		return nil
	}
	m, err := p.mem.Alloc(0, mm.ZoneAny)
	if err != nil {
		return nil
	}
	p.made++
	b := &Buffer{Addr: p.mem.DMA(m), Page: p.mem.Page(m), mfn: m}
	b.frame.Done = func(*link.Frame) { p.back(b) }
	return b
}

// Put gives a list of buffers back, which are not a frame's.
func (p *Pool) Put(list *Buffer) {
	p.mu.Lock()
	p.put(list)
	p.mu.Unlock()
}

func (p *Pool) put(list *Buffer) (n int) {
	for b := list; b != nil; n++ {
		next := b.Next
		b.Next = nil
		p.free = append(p.free, b)
		b = next
	}
	return n
}

// back takes the buffers of a frame that is Done.
func (p *Pool) back(list *Buffer) {
	p.mu.Lock()
	if p.lent -= p.put(list); p.lent == 0 {
		p.idle.Broadcast()
	}
	p.mu.Unlock()
}

// Piece is how many bytes of a frame a buffer has, and from where on.
type Piece struct{ Off, Len uint16 }

// Frame makes a frame of a list of buffers, of which pieces says what they hold. The
// buffers belong to the frame until it is Done. It is nil, and nothing happened, if the
// frame is longer than one can be.
// Preconditions: there are as many buffers as pieces; each has less than BufferSize bytes;
// the first one has 14 bytes or all that there are.
func (p *Pool) Frame(list *Buffer, pieces []Piece) *link.Frame {
	f := &list.frame
	head := min(pieces[0].Len, headFill)
	segs, total, b := list.segs[:0], int(head), list
	rest := Piece{pieces[0].Off + head, pieces[0].Len - head}
	for i := 0; ; {
		if rest.Len > 0 {
			if len(segs) == cap(segs) {
				return nil
			}
			segs = append(segs, link.Segment{Frame: b.mfn, Off: rest.Off, Len: rest.Len})
			total += int(rest.Len)
		}
		if i++; i == len(pieces) {
			break
		}
		b, rest = b.Next, pieces[i]
	}
	if head < ethernet || total > link.MaxFrame {
		return nil
	}
	*f = link.Frame{Head: list.Page.Bytes(int(pieces[0].Off), int(head)), HeadAt: link.Segment{Frame: list.mfn, Off: pieces[0].Off, Len: head},
		Segments: segs, From: p.id, Lender: p.lender, Buffers: len(pieces), Done: f.Done}
	p.mu.Lock()
	p.lent += len(pieces)
	p.mu.Unlock()
	return f
}

// Drain waits until all frames are Done.
func (p *Pool) Drain() {
	p.mu.Lock()
	for p.lent > 0 {
		p.idle.Wait()
	}
	p.mu.Unlock()
}

// Free gives the memory of the free buffers back to the host.
func (p *Pool) Free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.free {
		p.mem.Free(b.mfn, 0)
	}
	p.made -= len(p.free)
	p.free = nil
}
