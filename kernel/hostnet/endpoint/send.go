package endpoint

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/mm"
)

// maxPages bounds the memory of frames that were sent and are not Done, in pages: beyond,
// packets are dropped, as a full queue does.
const maxPages = 1024

// headFill is how much of a head is filled: whoever adds a VLAN tag has room.
const headFill = link.HeadSize - 4

// buffers are the frames that a stack's packets are copied to.
type buffers struct {
	mem    device.Memory
	id     link.ID
	lender *link.Lender
	mu     sync.Mutex
	pages  []mm.MFN
	frames []*outFrame
	made   int // pages, in use or not
	closed bool
}

// outFrame is a frame and its memory.
type outFrame struct {
	link.Frame
	pages    []mm.MFN
	segments [link.MaxSegments]link.Segment
}

func newBuffers(mem device.Memory) buffers {
	return buffers{mem: mem, id: link.NewID(), lender: link.NewLender(maxPages)}
}

// get returns a frame with n pages, or nil if there are none.
func (b *buffers) get(n int) *outFrame {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pages) < n {
		if b.made == maxPages || b.closed {
			return nil
		}
		m, err := b.mem.Alloc(0, mm.ZoneAny)
		if err != nil {
			return nil
		}
		b.made++
		b.pages = append(b.pages, m)
	}
	var o *outFrame
	if k := len(b.frames); k > 0 {
		o, b.frames = b.frames[k-1], b.frames[:k-1]
	} else {
		o = &outFrame{}
		o.Done = func(*link.Frame) { b.put(o) }
	}
	o.From, o.Lender, o.Buffers = b.id, b.lender, n
	k := len(b.pages) - n
	o.pages = append(o.pages[:0], b.pages[k:]...)
	b.pages = b.pages[:k]
	return o
}

// put takes a frame back.
func (b *buffers) put(o *outFrame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages = append(b.pages, o.pages...)
	b.frames = append(b.frames, o)
	b.free()
}

// close gives all memory back, now or when the frames that are sent come back.
func (b *buffers) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.free()
}

// free frees the unused pages of one that is closed. b.mu is held.
func (b *buffers) free() {
	if !b.closed {
		return
	}
	for _, m := range b.pages {
		b.mem.Free(m, 0)
	}
	b.made -= len(b.pages)
	b.pages = nil
}

// WritePackets implements stack.LinkEndpoint.
func (e *Endpoint) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	var some [64]*link.Frame
	frames, n := some[:0], 0
	var err tcpip.Error
	for _, p := range list.AsSlice() {
		f := e.frame(p)
		if f == nil {
			err = &tcpip.ErrNoBufferSpace{}
			break
		}
		n++
		if frames = append(frames, f); len(frames) == len(some) {
			e.port.Send(frames)
			frames = some[:0]
		}
	}
	if len(frames) > 0 {
		e.port.Send(frames)
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

// frame copies a packet; nil: there is no memory, or no such frame can be.
func (e *Endpoint) frame(p *stack.PacketBuffer) *link.Frame {
	size := p.Size()
	if size < header.EthernetMinimumSize || size > link.MaxFrame {
		return nil
	}
	o := e.out.get((size + mm.PageSize - 1) / mm.PageSize)
	if o == nil {
		return nil
	}
	sum := e.partial(p, o)
	at := 0
	for _, s := range p.AsSlices() {
		for len(s) > 0 {
			off := at % mm.PageSize
			n := min(len(s), mm.PageSize-off)
			e.mem.Page(o.pages[at/mm.PageSize]).Write(off, s[:n])
			s, at = s[n:], at+n
		}
	}
	first := e.mem.Page(o.pages[0])
	head := min(size, headFill)
	o.Head = first.Bytes(0, head)
	o.HeadAt = link.Segment{Frame: o.pages[0], Len: uint16(head)}
	segs := o.segments[:0]
	for at := head; at < size; {
		off := at % mm.PageSize
		n := min(size-at, mm.PageSize-off)
		segs = append(segs, link.Segment{Frame: o.pages[at/mm.PageSize], Off: uint16(off), Len: uint16(n)})
		at += n
	}
	o.Segments = segs
	if sum {
		o.Checksum = link.Partial
	}
	return &o.Frame
}

// partial leaves a packet's transport checksum to the port, and the cutting of what is too
// long, if the stack counts on it; then it is true.
func (e *Endpoint) partial(p *stack.PacketBuffer, o *outFrame) bool {
	o.Checksum, o.CsumStart, o.CsumOffset, o.Segmentation, o.MSS = link.Complete, 0, 0, link.Whole, 0
	net, transport := p.NetworkHeader().Slice(), p.TransportHeader().Slice()
	if !e.info.Take.Checksum || p.NetworkProtocolNumber != header.IPv4ProtocolNumber || len(net) < header.IPv4MinimumSize {
		return false
	}
	ip := header.IPv4(net)
	// A fragment has no transport header of its own; gVisor leaves UDP's checksum
	// out of those, which IPv4 allows.
	if ip.More() || ip.FragmentOffset() != 0 {
		return false
	}
	pseudo := func(protocol tcpip.TransportProtocolNumber) uint16 {
		return header.PseudoHeaderChecksum(protocol, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(transport)+p.Data().Size()))
	}
	switch t := p.TransportProtocolNumber; {
	case t == header.TCPProtocolNumber && len(transport) >= header.TCPMinimumSize:
		checksum.Put(transport[header.TCPChecksumOffset:], pseudo(t))
		o.CsumOffset = header.TCPChecksumOffset
	case t == header.UDPProtocolNumber && len(transport) == header.UDPMinimumSize:
		checksum.Put(transport[udpChecksumOffset:], pseudo(t))
		o.CsumOffset = udpChecksumOffset
	default:
		return false
	}
	o.CsumStart = uint16(header.EthernetMinimumSize + len(net))
	if g := p.GSOOptions; g.Type == stack.GSOTCPv4 && g.MSS > 0 && p.Data().Size() > int(g.MSS) {
		o.Segmentation, o.MSS = link.TCPv4, g.MSS
	}
	return true
}

// udpChecksumOffset is where UDP's header has its checksum (RFC 768).
const udpChecksumOffset = 6
