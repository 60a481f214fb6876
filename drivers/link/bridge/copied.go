package bridge

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/mm"
)

// copied is a frame that goes to several ports, or with another tag: its head is a copy,
// the rest is the first frame's.
type copied struct {
	link.Frame
	self [1]*link.Frame
	pool *pool
	room []byte
	at   link.Segment // room's place

	root  *copied      // who counts: one of two copies, or this one
	other *copied      // of root: the second copy
	refs  atomic.Int32 // of root: those who have one of the copies
	of    *link.Frame  // of root
}

// begin makes c the root of copies of f, with one reference.
func (c *copied) begin(f *link.Frame) {
	c.of, c.root, c.other = f, c, nil
	c.refs.Store(1)
}

// unref ends one reference, and the copies with the last.
func (c *copied) unref() {
	if c.refs.Add(-1) != 0 {
		return
	}
	f, other := c.of, c.other
	c.of, c.other = nil, nil
	if other != nil {
		other.pool.put(other)
	}
	c.pool.put(c)
	f.Done(f)
}

// as makes c the same as f, and shares its head. There are fewer copies than frames: who
// keeps one keeps it from those.
func (c *copied) as(f *link.Frame) {
	done := c.Done
	c.Frame = *f
	c.Done, c.Lender, c.Buffers = done, c.pool.lender, 1
}

// shape makes c the frame f with another tag, or none if tag is 0. The head of a frame
// that has a tag holds it.
func (c *copied) shape(f *link.Frame, r *route, tag int) {
	c.as(f)
	c.HeadAt = c.at
	head, shift := f.Head, 0
	n := copy(c.room, head[:12])
	if tag != 0 {
		binary.BigEndian.PutUint16(c.room[n:], packet.VLAN)
		binary.BigEndian.PutUint16(c.room[n+2:], uint16(tag))
		n += 4
		shift = 4
	}
	rest := head[12:]
	if !r.bare {
		rest, shift = head[16:], shift-4
	}
	n += copy(c.room[n:], rest)
	c.Head = c.room[:n]
	c.HeadAt.Len = uint16(n)
	c.CsumStart = uint16(int(f.CsumStart) + shift)
}

// pool are a port's copies.
type pool struct {
	mem    mm.FrameMemory
	pages  []mm.MFN
	lender *link.Lender

	mu     sync.Mutex
	idle   sync.Cond // signalled when all are free
	free   []*copied
	all    int
	closed bool
}

func (p *pool) init(mem mm.FrameMemory, n int) error {
	const perPage = mm.PageSize / link.HeadSize
	p.mem, p.idle.L, p.lender = mem, &p.mu, link.NewLender(n)
	for i := range n {
		if i%perPage == 0 {
			m, ok := mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
			if !ok {
				p.close()
				return fmt.Errorf("heads of frames: %w", mm.ErrNoMemory)
			}
			p.pages = append(p.pages, m)
		}
		m, off := p.pages[len(p.pages)-1], i%perPage*link.HeadSize
		c := &copied{pool: p, room: mem.Page(m).Bytes(off, link.HeadSize), at: link.Segment{Frame: m, Off: uint16(off)}}
		c.self[0] = &c.Frame
		c.Done = func(*link.Frame) { c.root.unref() }
		p.free, p.all = append(p.free, c), p.all+1
	}
	return nil
}

// get returns a copy that is free, or nil.
func (p *pool) get() *copied {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.free) == 0 {
		return nil
	}
	c := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return c
}

func (p *pool) put(c *copied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free = append(p.free, c); len(p.free) == p.all {
		p.idle.Broadcast()
	}
}

// close waits for all copies and frees their memory.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.free) < p.all {
		p.idle.Wait()
	}
	for _, m := range p.pages {
		p.mem.FreeFrames(m, 0)
	}
	p.pages = nil
}
