// Package endpoint makes a network port the link of a TCP/IP stack of gVisor's: frames
// become packet buffers, and packets frames, by copying.
package endpoint

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/drivers/device"
	"nidus/drivers/link"
)

// Take is what an Endpoint can receive: what the port at the other end of a pipe takes.
var Take = link.Offloads{Checksum: true, TCPv4: true, Gather: link.MaxSegments}

// Endpoint implements stack.LinkEndpoint and stack.GSOEndpoint.
type Endpoint struct {
	port   link.Port
	info   link.Info
	mem    device.Memory
	in     inbox
	out    buffers
	filter func(head []byte) bool // may be nil

	// sound tells DeliverNetworkPacket, by Capabilities, that the packet's transport
	// checksum needs no look. gVisor asks for each packet, on the one goroutine that
	// delivers.
	sound atomic.Bool

	mu         sync.Mutex
	dispatcher stack.NetworkDispatcher
	address    tcpip.LinkAddress
	mtu        uint32
	onClose    func()
	running    sync.WaitGroup
}

var (
	_ stack.LinkEndpoint = (*Endpoint)(nil)
	_ stack.GSOEndpoint  = (*Endpoint)(nil)
)

// New makes an endpoint of a port, which nobody else may receive from. The stack closes
// the port. filter tells by a frame's head whether it may come in; nil: all may.
func New(port link.Port, mem device.Memory, filter func(head []byte) bool) *Endpoint {
	e := &Endpoint{port: port, info: port.Info(), mem: mem, in: newInbox(), out: newBuffers(mem), filter: filter}
	e.address, e.mtu = tcpip.LinkAddress(e.info.MAC[:]), uint32(e.info.MTU)
	return e
}

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mtu
}

// SetMTU implements stack.LinkEndpoint.
func (e *Endpoint) SetMTU(n uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mtu = min(n, uint32(e.info.MTU))
}

// MaxHeaderLength implements stack.LinkEndpoint.
func (*Endpoint) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}

// SetLinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) SetLinkAddress(a tcpip.LinkAddress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = a
}

// Capabilities implements stack.LinkEndpoint.
func (e *Endpoint) Capabilities() stack.LinkEndpointCapabilities {
	c := stack.CapabilityResolutionRequired
	if e.info.Take.Checksum {
		c |= stack.CapabilityTXChecksumOffload
	}
	if e.sound.Load() {
		c |= stack.CapabilityRXChecksumOffload
	}
	return c
}

// gsoMaxSize is the longest packet that is left to the port to cut, in bytes: IPv4's longest. maxPages is sixty
// of them.
const gsoMaxSize = 64<<10 - 1

// GSOMaxSize implements stack.GSOEndpoint.
func (*Endpoint) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint.
func (e *Endpoint) SupportedGSO() stack.SupportedGSO {
	if e.info.Take.Checksum && e.info.Take.TCPv4 {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// Attach implements stack.LinkEndpoint.
func (e *Endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	was := e.dispatcher
	e.dispatcher = d
	e.mu.Unlock()
	switch {
	case was == nil && d != nil:
		e.running.Go(e.deliver)
		e.port.Receive(e.receive)
	case was != nil && d == nil:
		e.port.Receive(nil)
		e.in.close()
	}
}

// IsAttached implements stack.LinkEndpoint.
func (e *Endpoint) IsAttached() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dispatcher != nil
}

// Wait implements stack.LinkEndpoint. It doesn't: the stack calls it with its lock held,
// which what is being delivered may wait for. See Settle.
func (*Endpoint) Wait() {}

// Settle returns when nothing more is delivered. It is for after the stack's end.
func (e *Endpoint) Settle() { e.running.Wait() }

// ARPHardwareType implements stack.LinkEndpoint.
func (*Endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements stack.LinkEndpoint.
func (*Endpoint) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: p.EgressRoute.LocalLinkAddress, DstAddr: p.EgressRoute.RemoteLinkAddress, Type: p.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (*Endpoint) ParseHeader(p *stack.PacketBuffer) bool {
	_, ok := p.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Close implements stack.LinkEndpoint. Memory of frames that somebody still has is free
// when those are Done.
func (e *Endpoint) Close() {
	e.mu.Lock()
	then := e.onClose
	e.onClose = nil
	e.mu.Unlock()
	if then != nil {
		then()
	}
	e.in.close()
	e.port.Close()
	e.out.close()
}

// SetOnCloseAction implements stack.LinkEndpoint.
func (e *Endpoint) SetOnCloseAction(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onClose = f
}
