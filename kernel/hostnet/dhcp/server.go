package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"nidus/drivers/link"
	"nidus/kernel/hostnet/ipstack"
)

// Ports of DHCP (RFC 2131, 4.1).
const (
	ServerPort = 67
	clientPort = 68
)

// Server answers a network's guests.
type Server struct {
	Leases *Leases
	// Own is the server's address, and the network's size: gateway and DNS server, too.
	Own    netip.Prefix
	Domain string
	MTU    int
	// Name is what a guest is called; "": it is not said. May be nil.
	Name func(link.MAC) string
	// Time is how long guests are told to have their addresses; they ask again after half
	// of it.
	Time time.Duration
}

// Serve answers what comes in on a stack, until conn, of ServerPort, is closed.
func (s *Server) Serve(st *ipstack.Stack, conn net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if r, to := s.Answer(buf[:n]); r != nil {
			dst := netip.AddrPortFrom(to, clientPort)
			mac := link.MAC(r.ClientHWAddr)
			if to == broadcast {
				mac = link.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
			}
			// One that is lost is asked for again.
			st.SendDatagram(mac, netip.AddrPortFrom(s.Own.Addr(), ServerPort), dst, r.ToBytes())
		}
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Answer returns the answer to a message, and the address that it goes to; nil: there is
// none.
func (s *Server) Answer(message []byte) (*dhcpv4.DHCPv4, netip.Addr) {
	m, err := dhcpv4.FromBytes(message)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || m.HWType != iana.HWTypeEthernet || len(m.ClientHWAddr) != 6 || !m.GatewayIPAddr.IsUnspecified() {
		return nil, broadcast
	}
	mac := link.MAC(m.ClientHWAddr)
	has, want := address(m.ClientIPAddr), address(m.RequestedIPAddress())
	if id := address(m.ServerIdentifier()); id.IsValid() && id != s.Own.Addr() {
		return nil, broadcast // it is meant for another one
	}
	var a netip.Addr
	var ok bool
	kind := dhcpv4.MessageTypeAck
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if a, ok = s.Leases.Give(mac, want); !ok {
			return nil, broadcast
		}
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if has.IsValid() {
			want = has
		}
		if a, ok = s.Leases.Give(mac, want); !ok {
			return nil, broadcast
		}
		if a != want {
			kind = dhcpv4.MessageTypeNak
		}
	case dhcpv4.MessageTypeInform:
		if a = has; !a.IsValid() {
			return nil, broadcast
		}
	default: // an address that is given back stays its guest's
		return nil, broadcast
	}
	return s.compose(m, kind, a, mac)
}

func (s *Server) compose(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, a netip.Addr, mac link.MAC) (*dhcpv4.DHCPv4, netip.Addr) {
	own := net.IP(s.Own.Addr().AsSlice())
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(own)))
	if err != nil {
		return nil, broadcast
	}
	if kind == dhcpv4.MessageTypeNak {
		return r, broadcast
	}
	r.ServerIPAddr = own
	for _, o := range []dhcpv4.Option{
		dhcpv4.OptSubnetMask(net.CIDRMask(s.Own.Bits(), 32)), dhcpv4.OptRouter(own), dhcpv4.OptDNS(own), dhcpv4.OptDomainName(s.Domain),
		dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(s.MTU)},
	} {
		r.UpdateOption(o)
	}
	if s.Name != nil {
		if n := s.Name(mac); n != "" {
			r.UpdateOption(dhcpv4.OptHostName(n))
		}
	}
	if m.MessageType() == dhcpv4.MessageTypeInform {
		return r, a
	}
	r.YourIPAddr = net.IP(a.AsSlice())
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.Time))
	if m.IsBroadcast() {
		return r, broadcast
	}
	return r, a
}

// address is invalid if ip is none, or 0.0.0.0.
func address(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
