package nic

import (
	"sync"
	"sync/atomic"

	"nidus/drivers/link"
)

const (
	ethernet = 14 // bytes of a header
	vlanTag  = 4
)

// State is the part of a link.Port that all cards have alike. Its zero value is a port
// without a link, from which nobody takes.
type State struct {
	Counts
	receiver atomic.Pointer[link.Receiver]

	mu      sync.Mutex
	up      bool
	changed chan struct{}
}

// Counts are link.Stats while they change.
type Counts struct {
	SentFrames, SentBytes, SentDropped             atomic.Uint64
	ReceivedFrames, ReceivedBytes, ReceivedDropped atomic.Uint64
	SentErrors, ReceivedErrors, ReceivedBad        atomic.Uint64
	NoBuffer                                       atomic.Uint64
}

// Stats implements link.Port.
func (c *Counts) Stats() link.Stats {
	return link.Stats{
		SentFrames: c.SentFrames.Load(), SentBytes: c.SentBytes.Load(), SentDropped: c.SentDropped.Load(),
		ReceivedFrames: c.ReceivedFrames.Load(), ReceivedBytes: c.ReceivedBytes.Load(), ReceivedDropped: c.ReceivedDropped.Load(),
		SentErrors: c.SentErrors.Load(), ReceivedErrors: c.ReceivedErrors.Load(), ReceivedBad: c.ReceivedBad.Load(),
		NoBuffer: c.NoBuffer.Load(),
	}
}

// Receive implements link.Port.
func (s *State) Receive(r link.Receiver) {
	if r == nil {
		s.receiver.Store(nil)
		return
	}
	s.receiver.Store(&r)
}

// Deliver gives frames to the receiver, or drops them.
func (s *State) Deliver(frames []*link.Frame) {
	if len(frames) == 0 {
		return
	}
	r := s.receiver.Load()
	if r == nil {
		s.ReceivedDropped.Add(uint64(len(frames)))
		for _, f := range frames {
			f.Done(f)
		}
		return
	}
	n := 0
	for _, f := range frames {
		n += f.Len()
	}
	s.ReceivedFrames.Add(uint64(len(frames)))
	s.ReceivedBytes.Add(uint64(n))
	(*r)(frames)
}

// Up implements link.Port.
func (s *State) Up() (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.up, s.changed
}

// SetUp says whether there is a link, and tells whether that is news.
func (s *State) SetUp(up bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == up {
		return false
	}
	s.up = up
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return true
}

// Longest is how many bytes a frame has at most that is not to be cut, without the FCS.
func Longest(i *link.Info) int { return i.MTU + ethernet + vlanTag }

// Sendable tells whether a port that is as i says takes a frame: its offloads, its length,
// and whether what it says of itself is so.
func Sendable(i *link.Info, f *link.Frame) bool {
	n, head := f.Len(), len(f.Head)
	switch {
	case head < ethernet || head > link.HeadSize || len(f.Segments) > i.Take.Gather:
		return false
	case f.Checksum == link.Partial && (!i.Take.Checksum || int(f.CsumStart)+int(f.CsumOffset)+2 > n):
		return false
	}
	switch f.Segmentation {
	case link.Whole:
		return n <= Longest(i)
	case link.TCPv4:
		return i.Take.TCPv4 && cuttable(f, n)
	case link.TCPv6:
		return i.Take.TCPv6 && cuttable(f, n)
	}
	return false
}

// cuttable tells whether a frame's TCP header is known, so that there is something to cut.
func cuttable(f *link.Frame, n int) bool {
	h, ok := TCPEnd(f)
	return ok && f.Checksum == link.Partial && f.MSS > 0 && n <= link.MaxFrame && h < n
}

// TCPEnd is the length of a frame's headers up to the end of TCP's, which begins where
// the checksum does; ok is false if they are not in the frame's head.
func TCPEnd(f *link.Frame) (n int, ok bool) {
	const offset, least = 12, 20
	at := int(f.CsumStart)
	if at < ethernet || at+least > len(f.Head) {
		return 0, false
	}
	size := int(f.Head[at+offset]>>4) * 4
	return at + size, size >= least && at+size <= len(f.Head)
}

// CWR tells whether TCP's flag of that name is set, for which a frame that is cut needs to
// be handled with care (RFC 3168, section 6.1.2). Preconditions: TCPEnd is ok.
func CWR(f *link.Frame) bool { return f.Head[f.CsumStart+13]&0x80 != 0 }

// Flow is a number that frames of one connection have in common, and others likely not.
func Flow(f *link.Frame) uint32 {
	h, from, to := f.Head, 0, 12 // addresses of Ethernet
	if len(h) >= 38 {
		switch {
		case h[12] == 0x08 && h[13] == 0x00 && h[14] == 0x45:
			from, to = 26, 34 // of IPv4
			if (h[23] == 6 || h[23] == 17) && h[20]&0x3f == 0 && h[21] == 0 {
				to = 38 // and ports, if this is no fragment
			}
		case h[12] == 0x86 && h[13] == 0xdd && len(h) >= 58:
			from, to = 22, 54
			if h[20] == 6 || h[20] == 17 {
				to = 58
			}
		}
	}
	x := uint32(2166136261)
	for _, b := range h[from:to] {
		x = (x ^ uint32(b)) * 16777619
	}
	return x ^ x>>16
}
