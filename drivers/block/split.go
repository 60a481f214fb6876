package block

import (
	"sync"
	"sync/atomic"

	"nidus/mm"
)

// Split is a request that is done in pieces, which lie one behind the other in it and may
// go to several devices. The request is done when End was called and all pieces are done,
// with the first error that there was.
type Split struct {
	req  *Request
	then func(*Request, error) // before the request's Done
	left atomic.Int32
	err  atomic.Pointer[error]
	// What of the request's segments comes next, and the pieces' segments.
	at   int
	skip uint16
	segs []Segment
}

// piece is a request on its way to a device.
type piece struct {
	Request
	of *Split
}

var (
	splits = sync.Pool{New: func() any { return &Split{} }}
	parts  sync.Pool // of *piece
)

func newPiece() *piece {
	p, ok := parts.Get().(*piece)
	if !ok {
		p = &piece{}
		p.Done = p.done
	}
	return p
}

// NewSplit begins to split r. then, if not nil, is told the end before r's Done is.
func NewSplit(r *Request, then func(*Request, error)) *Split {
	s := splits.Get().(*Split)
	s.req, s.then = r, then
	s.left.Store(1)
	return s
}

// next cuts n bytes off the request's segments.
func (s *Split) next(n uint64) []Segment {
	from := len(s.segs)
	for n > 0 {
		g := s.req.Segments[s.at]
		g.Off, g.Len = g.Off+s.skip, g.Len-s.skip
		if uint64(g.Len) > n {
			g.Len = uint16(n)
			s.skip += g.Len
		} else {
			s.at, s.skip = s.at+1, 0
		}
		n -= uint64(g.Len)
		s.segs = append(s.segs, g)
	}
	return s.segs[from:len(s.segs):len(s.segs)]
}

// Send submits the next sectors of the request to d, where they begin at sector first. A
// Discard and a Flush have no segments, so that any part of one may be sent.
func (s *Split) Send(d Device, op Op, first, sectors uint64) {
	p := newPiece()
	p.of, p.Op, p.Sector, p.Sectors, p.Segments = s, op, first, sectors, nil
	if op != Discard && op != Flush {
		p.Segments = s.next(sectors << SectorShift)
	}
	s.left.Add(1)
	d.Submit(&p.Request)
}

// Zero fills the next sectors of the request's memory with zeros.
func (s *Split) Zero(mem mm.DirectMap, sectors uint64) {
	for _, g := range s.next(sectors << SectorShift) {
		mem.Page(g.Frame).Zero(int(g.Off), int(g.Len))
	}
}

// Fill copies b, whole sectors, to the request's next memory.
func (s *Split) Fill(mem mm.DirectMap, b []byte) {
	for _, g := range s.next(uint64(len(b))) {
		mem.Page(g.Frame).Write(int(g.Off), b[:g.Len])
		b = b[g.Len:]
	}
}

func (p *piece) done(_ *Request, err error) {
	s := p.of
	p.of, p.Segments = nil, nil
	parts.Put(p)
	s.End(err)
}

// End says that there are no more pieces, and what went wrong in making them, or nil.
// The Split is not to be used any more.
func (s *Split) End(err error) {
	if err != nil {
		s.err.CompareAndSwap(nil, &err)
	}
	if s.left.Add(-1) > 0 {
		return
	}
	r, then := s.req, s.then
	var first error
	if e := s.err.Swap(nil); e != nil {
		first = *e
	}
	s.req, s.then, s.at, s.skip, s.segs = nil, nil, 0, 0, s.segs[:0]
	splits.Put(s)
	if then != nil {
		then(r, first)
	}
	r.Done(r, first)
}
