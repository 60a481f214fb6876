package endpoint

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/drivers/link"
)

// receive is the port's receiver.
func (e *Endpoint) receive(frames []*link.Frame) {
	own := e.LinkAddress()
	for _, f := range frames {
		if wanted(f.Head, own) && (e.filter == nil || e.filter(f.Head)) {
			e.in.add(f.From, inbound{e.copy(f), f.Checksum != link.Complete})
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
	var got []inbound
	for {
		var ok bool
		got, ok = e.in.take(got)
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
	}
}

// maxHeaders is the most that the headers of a frame take: Ethernet's, IPv4's and TCP's.
const maxHeaders = header.EthernetMinimumSize + header.IPv4MaximumHeaderSize + header.TCPHeaderMaximumSize

// payload is the frame as the stack takes it. The headers are in memory of their own: the stack
// has two references to a header at times, and copies all of what it lies in then.
func (in inbound) payload() buffer.Buffer {
	if in.view.Size() <= maxHeaders {
		return buffer.MakeWithView(in.view)
	}
	b := buffer.MakeWithView(buffer.NewViewWithData(in.view.AsSlice()[:maxHeaders]))
	in.view.TrimFront(maxHeaders)
	_ = b.Append(in.view) // there is no way for it to fail
	return b
}

func (e *Endpoint) deliverOne(in inbound) {
	e.mu.Lock()
	d := e.dispatcher
	e.mu.Unlock()
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: in.payload()})
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
