package endpoint

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/drivers/link"
)

// Limits of what waits to be delivered: frames that come in beyond are dropped.
const (
	maxWaiting      = 2048
	maxWaitingBytes = 4 << 20
)

// inbound is a frame that waits.
type inbound struct {
	view  *buffer.View
	sound bool // somebody vouches for the transport's checksum
}

// inbox has frames between the port's receiver, which may not block, and the stack.
type inbox struct {
	mu      sync.Mutex
	waiting []inbound
	bytes   int
	closed  bool
	wake    chan struct{}
	dropped atomic.Uint64
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

// add takes a frame, or drops it.
func (b *inbox) add(i inbound) {
	n := i.view.Size()
	b.mu.Lock()
	ok := !b.closed && len(b.waiting) < maxWaiting && b.bytes+n <= maxWaitingBytes
	if ok {
		b.waiting = append(b.waiting, i)
		b.bytes += n
	}
	b.mu.Unlock()
	if !ok {
		b.dropped.Add(1)
		i.view.Release()
	}
}

// notify wakes who takes.
func (b *inbox) notify() {
	select {
	case b.wake <- struct{}{}:
	default: // it is about to look
	}
}

// take waits for frames and exchanges them for spare; false: the inbox was closed.
func (b *inbox) take(spare []inbound) ([]inbound, bool) {
	for {
		b.mu.Lock()
		got, closed := b.waiting, b.closed
		if len(got) > 0 || closed {
			b.waiting, b.bytes = spare[:0], 0
			b.mu.Unlock()
			return got, !closed
		}
		b.mu.Unlock()
		<-b.wake
	}
}

func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.notify()
}

// receive is the port's receiver.
func (e *Endpoint) receive(frames []*link.Frame) {
	own := e.LinkAddress()
	for _, f := range frames {
		if wanted(f.Head, own) && (e.filter == nil || e.filter(f.Head)) {
			e.in.add(inbound{e.copy(f), f.Checksum != link.Complete})
		}
		f.Done(f)
	}
	e.in.notify()
}

// wanted tells whether a frame's head is one that the stack does something with: IPv4 or
// ARP, for it or for several.
func wanted(head []byte, own tcpip.LinkAddress) bool {
	if len(head) < header.EthernetMinimumSize {
		return false
	}
	eth := header.Ethernet(head)
	if t := eth.Type(); t != header.IPv4ProtocolNumber && t != header.ARPProtocolNumber {
		return false
	}
	return eth.DestinationAddress() == own || head[0]&1 != 0
}

// copy reads a frame, once: a guest may change it at any moment.
func (e *Endpoint) copy(f *link.Frame) *buffer.View {
	v := buffer.NewViewSize(f.Len())
	b := v.AsSlice()
	b = b[copy(b, f.Head):]
	for _, s := range f.Segments {
		e.mem.Page(s.Frame).Read(int(s.Off), b[:s.Len])
		b = b[s.Len:]
	}
	return v
}

// deliver gives the stack what comes in, until the inbox is closed.
func (e *Endpoint) deliver() {
	var spare []inbound
	for {
		got, ok := e.in.take(spare)
		for i, in := range got {
			if ok {
				e.deliverOne(in)
			} else {
				in.view.Release()
			}
			got[i] = inbound{}
		}
		if !ok {
			return
		}
		spare = got
	}
}

func (e *Endpoint) deliverOne(in inbound) {
	e.mu.Lock()
	d := e.dispatcher
	e.mu.Unlock()
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(in.view)})
	defer p.DecRef()
	if d == nil || !e.ParseHeader(p) {
		return
	}
	eth := header.Ethernet(p.LinkHeader().Slice())
	switch to := eth.DestinationAddress(); {
	case to == header.EthernetBroadcastAddress:
		p.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		p.PktType = tcpip.PacketMulticast
	default:
		p.PktType = tcpip.PacketHost
	}
	// That is for TCP's and UDP's. With it, gVisor doesn't look at IPv4's either.
	if in.sound && eth.Type() == header.IPv4ProtocolNumber && !soundIPv4(p) {
		return
	}
	e.sound.Store(in.sound)
	d.DeliverNetworkPacket(eth.Type(), p)
}

// soundIPv4 tells whether the checksum of IPv4's header is right.
func soundIPv4(p *stack.PacketBuffer) bool {
	b, ok := p.Data().PullUp(header.IPv4MinimumSize)
	if !ok {
		return false
	}
	n := int(header.IPv4(b).HeaderLength())
	if b, ok = p.Data().PullUp(n); !ok || n < header.IPv4MinimumSize {
		return false
	}
	return header.IPv4(b).IsChecksumValid()
}
