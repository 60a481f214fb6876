// Package ipstack is an IPv4 stack on one network port: gVisor's, set up as the host needs
// it, with the dialing and listening that Go programs know.
package ipstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/kernel/hostnet/endpoint"
)

// NIC is the number of the stack's one interface.
const NIC tcpip.NICID = 1

// Config is a stack's place in its network.
type Config struct {
	// Address is the own one, and the network that it is in.
	Address netip.Prefix
	// Gateway is the way to all others; may be invalid.
	Gateway netip.Addr
	// DNS are servers that resolve names.
	DNS []netip.Addr
}

// Stack is an IPv4 stack. Any number of goroutines may use one.
type Stack struct {
	*stack.Stack
	MAC link.MAC
	MTU int

	link    *endpoint.Endpoint
	mu      sync.Mutex
	config  Config
	changed chan struct{}
}

// Options are a stack's.
type Options struct {
	// Filter tells by a frame's head whether the stack may see it; nil: all.
	Filter func(head []byte) bool
	// ForOthers makes the stack take what is sent to any address, and speak for it.
	ForOthers bool
	// MaxBuffer bounds each of a TCP connection's two buffers, in bytes; 0: as gVisor does.
	MaxBuffer int
}

// BulkBuffer is the size, in bytes, of both buffers of connections to the host that carry a lot. Half of
// that for receiving is TCP's window.
const BulkBuffer = 1 << 20

// New makes a stack without an address on a port, which it closes at its end.
func New(port link.Port, mem device.Memory, o Options) (*Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
		// Otherwise all sources would be its own.
		HandleLocal: !o.ForOthers,
	})
	i := port.Info()
	h := &Stack{Stack: s, MAC: i.MAC, MTU: i.MTU, link: endpoint.New(port, mem, o.Filter), changed: make(chan struct{})}
	if err := h.tune(o.MaxBuffer); err != nil {
		s.Destroy()
		return nil, err
	}
	if err := s.CreateNIC(NIC, h.link); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("port %s: %s", i.Name, err)
	}
	if o.ForOthers {
		// Their one error is that there is no such interface.
		s.SetPromiscuousMode(NIC, true)
		s.SetSpoofing(NIC, true)
	}
	return h, nil
}

// Destroy ends the stack and all that goes through it, and returns when that is so.
func (s *Stack) Destroy() {
	s.Stack.Destroy()
	s.link.Settle()
}

// tune chooses TCP's congestion control, and bounds its buffers. Those for sending grow from the default; the
// others would if who reads said how much (ModerateRecvBuf), which gonet does not.
func (s *Stack) tune(most int) error {
	const least, usual = 4 << 10, 128 << 10
	control := tcpip.CongestionControlOption("cubic")
	options := []tcpip.SettableTransportProtocolOption{&control}
	if most > 0 {
		options = append(options,
			&tcpip.TCPSendBufferSizeRangeOption{Min: least, Default: min(usual, most), Max: most},
			&tcpip.TCPReceiveBufferSizeRangeOption{Min: least, Default: most, Max: max(most, BulkBuffer)})
	}
	for _, o := range options {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("TCP can't be set up: %s", err)
		}
	}
	return nil
}

// Configure gives the stack its address, or another one, or none.
func (s *Stack) Configure(c Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.config.Address; old != c.Address {
		if old.IsValid() {
			s.RemoveAddress(NIC, Address(old.Addr()))
		}
		if c.Address.IsValid() {
			a := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: Address(c.Address.Addr()), PrefixLen: c.Address.Bits()}}
			if err := s.AddProtocolAddress(NIC, a, stack.AddressProperties{}); err != nil {
				s.config.Address = netip.Prefix{} // the old one is gone
				return fmt.Errorf("address %v: %s", c.Address, err)
			}
		}
	}
	var routes []tcpip.Route
	if c.Address.IsValid() {
		n := tcpip.AddressWithPrefix{Address: Address(c.Address.Addr()), PrefixLen: c.Address.Bits()}
		routes = append(routes, tcpip.Route{Destination: n.Subnet(), NIC: NIC})
	}
	if c.Gateway.IsValid() {
		routes = append(routes, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: Address(c.Gateway), NIC: NIC})
	}
	s.SetRouteTable(routes)
	s.config = c
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Config returns what the stack was configured to; changed is closed at the next change.
func (s *Stack) Config() (c Config, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config, s.changed
}

// Address makes gVisor's address of an IPv4 one.
func Address(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// FromAddress is Address' inverse; it is invalid if a isn't of IPv4.
func FromAddress(a tcpip.Address) netip.Addr {
	b, _ := netip.AddrFromSlice(a.AsSlice())
	return b
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: NIC, Addr: Address(a.Addr()), Port: a.Port()}
}

// DialTCP connects to an address; from, if it is valid, is the own end's.
func (s *Stack) DialTCP(ctx context.Context, from netip.Addr, to netip.AddrPort) (*gonet.TCPConn, error) {
	var own tcpip.FullAddress
	if from.IsValid() {
		own = tcpip.FullAddress{NIC: NIC, Addr: Address(from)}
	}
	return gonet.DialTCPWithBind(ctx, s.Stack, own, full(to), ipv4.ProtocolNumber)
}

// DialUDP makes a connected socket.
func (s *Stack) DialUDP(to netip.AddrPort) (*gonet.UDPConn, error) {
	a := full(to)
	return gonet.DialUDP(s.Stack, nil, &a, ipv4.ProtocolNumber)
}

// ListenTCP takes connections to a port, of all own addresses.
func (s *Stack) ListenTCP(port uint16) (*gonet.TCPListener, error) {
	return gonet.ListenTCP(s.Stack, tcpip.FullAddress{NIC: NIC, Port: port}, ipv4.ProtocolNumber)
}

// ListenBulk is ListenTCP for connections with a BulkBuffer each, which gonet can't be told: who listens bounds
// how many there are.
func (s *Stack) ListenBulk(port uint16) (*gonet.TCPListener, error) {
	const backlog = 10 // connections that nobody has accepted; gonet's
	var q waiter.Queue
	e, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &q)
	if err != nil {
		return nil, errors.New(err.String())
	}
	e.SocketOptions().SetReceiveBufferSize(BulkBuffer, true) // those that are accepted have it from here
	if err = e.Bind(tcpip.FullAddress{NIC: NIC, Port: port}); err == nil {
		err = e.Listen(backlog)
	}
	if err != nil {
		e.Close()
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: &net.TCPAddr{Port: int(port)}, Err: errors.New(err.String())}
	}
	return gonet.NewTCPListener(s.Stack, &q, bulk{e}), nil
}

// bulk is an endpoint that listens, and gives what it accepts a BulkBuffer for sending.
type bulk struct{ tcpip.Endpoint }

func (b bulk) Accept(from *tcpip.FullAddress) (tcpip.Endpoint, *waiter.Queue, tcpip.Error) {
	e, q, err := b.Endpoint.Accept(from)
	if err == nil {
		e.SocketOptions().SetSendBufferSize(BulkBuffer, true) // set, it neither grows nor shrinks
	}
	return e, q, err
}

// ListenUDP takes what is sent to a port, of all own addresses and of several hosts.
func (s *Stack) ListenUDP(port uint16) (*gonet.UDPConn, error) {
	return gonet.DialUDP(s.Stack, &tcpip.FullAddress{NIC: NIC, Port: port}, nil, ipv4.ProtocolNumber)
}

// DialContext is what net.Dialer's is: of tcp and udp to HOST:PORT, where a name is
// resolved.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q: the port is a number up to 65535", address)
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		all, err := s.Resolver().LookupNetIP(ctx, "ip4", host)
		if err != nil {
			return nil, err
		}
		a = all[0]
	}
	if a = a.Unmap(); !a.Is4() {
		return nil, fmt.Errorf("%q: only IPv4 is spoken here", address)
	}
	to := netip.AddrPortFrom(a, uint16(port))
	switch network {
	case "tcp", "tcp4":
		return s.DialTCP(ctx, netip.Addr{}, to)
	case "udp", "udp4":
		return s.DialUDP(to)
	}
	return nil, net.UnknownNetworkError(network)
}

// Resolver asks the servers that the stack is configured to ask.
func (s *Stack) Resolver() *net.Resolver {
	var n int
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, _ := s.Config()
		if len(c.DNS) == 0 {
			return nil, fmt.Errorf("the host knows no DNS server: name one in ip=..., dns=ADDRESS")
		}
		s.mu.Lock()
		server := c.DNS[n%len(c.DNS)]
		n++
		s.mu.Unlock()
		return s.DialContext(ctx, network, netip.AddrPortFrom(server, 53).String())
	}}
}

// SendDatagram sends one datagram of UDP to a host whose link's address is known, whatever
// addresses the stack has: DHCP needs that (RFC 2131, 4.1).
func (s *Stack) SendDatagram(to link.MAC, src, dst netip.AddrPort, data []byte) error {
	p := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize+len(data))
	ip, u := header.IPv4(p), header.UDP(p[header.IPv4MinimumSize:])
	from, target := Address(src.Addr()), Address(dst.Addr())
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(p)), TTL: 64, Protocol: uint8(udp.ProtocolNumber), SrcAddr: from, DstAddr: target})
	ip.SetChecksum(^ip.CalculateChecksum())
	u.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: uint16(len(u))})
	copy(u.Payload(), data)
	sum := header.PseudoHeaderChecksum(udp.ProtocolNumber, from, target, uint16(len(u)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(data, sum)))
	if err := s.WritePacketToRemote(NIC, tcpip.LinkAddress(to[:]), ipv4.ProtocolNumber, buffer.MakeWithData(p)); err != nil {
		return fmt.Errorf("UDP to %v: %s", dst, err)
	}
	return nil
}
