package bridge

import (
	"encoding/binary"
	"net/netip"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
)

// Guard says which addresses a port may send under. The zero Guard allows all.
type Guard struct {
	// MAC: the sender is the port's Config.MAC.
	MAC bool
	// IPs are the addresses of IPv4 and IPv6; none: they are not looked at. There is
	// nothing but IP and ARP then. What hosts do to get an address is allowed: DHCP, ARP's
	// probes (RFC 5227), IPv6 with the link-local address that the MAC gives, and the
	// detection of duplicates (RFC 4862).
	IPs []netip.Prefix
	// Check, if it isn't nil, has to allow each frame, too.
	Check func(head []byte, h *packet.Headers) bool
}

// Places in an ARP packet for Ethernet and IPv4 (RFC 826).
const (
	arpSenderMAC = 8
	arpSenderIP  = 14
	arpSize      = 28
)

// Messages of ICMPv6 (RFC 4861).
const (
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	redirect              = 137
)

// allows tells whether a frame's sender is who it has to be.
func (g *Guard) allows(head []byte, h *packet.Headers, mac link.MAC) bool {
	return (g.Check == nil || g.Check(head, h)) && g.owns(head, h, mac)
}

// owns tells whether a frame is sent under the addresses that the port has.
func (g *Guard) owns(head []byte, h *packet.Headers, mac link.MAC) bool {
	if !g.MAC && len(g.IPs) == 0 {
		return true
	}
	if packet.Src(head) != mac {
		return false
	}
	if len(g.IPs) == 0 {
		if h.EtherType == packet.ARP && len(head) >= h.L3+arpSize {
			return link.MAC(head[h.L3+arpSenderMAC:h.L3+arpSenderMAC+6]) == mac
		}
		return true
	}
	switch h.EtherType {
	case packet.ARP:
		if len(head) < h.L3+arpSize {
			return false
		}
		arp := head[h.L3:]
		ip := netip.AddrFrom4([4]byte(arp[arpSenderIP:]))
		return binary.BigEndian.Uint16(arp) == 1 && binary.BigEndian.Uint16(arp[2:]) == packet.IPv4 &&
			link.MAC(arp[arpSenderMAC:arpSenderMAC+6]) == mac && (ip.IsUnspecified() || g.has(ip))
	case packet.IPv4:
		if !h.IP {
			return false
		}
		ip := netip.AddrFrom4([4]byte(head[h.L3+12:]))
		return g.has(ip) || ip.IsUnspecified() && h.Protocol == packet.UDP && h.Payload != 0 &&
			binary.BigEndian.Uint32(head[h.L4:]) == 68<<16|67 // DHCP, from client to server
	case packet.IPv6:
		return h.IP && g.allows6(head, h, mac)
	}
	return false
}

func (g *Guard) allows6(head []byte, h *packet.Headers, mac link.MAC) bool {
	ip := netip.AddrFrom16([16]byte(head[h.L3+8:]))
	own := func(a netip.Addr) bool { return a == linkLocal(mac) || g.has(a) }
	if h.Protocol != packet.ICMPv6 {
		return own(ip)
	}
	if h.Fragment || len(head) < h.L4+8 { // what hides behind options or fragments is discovery (RFC 6980, RFC 7113)
		return false
	}
	switch icmp := head[h.L4:]; icmp[0] {
	case routerAdvertisement, redirect:
		return false
	case neighborAdvertisement:
		return len(icmp) >= 24 && own(ip) && own(netip.AddrFrom16([16]byte(icmp[8:])))
	case neighborSolicitation:
		return own(ip) || ip.IsUnspecified() && len(icmp) >= 24 && own(netip.AddrFrom16([16]byte(icmp[8:])))
	}
	// Who has no address yet may ask for routers, and join groups.
	return own(ip) || ip.IsUnspecified()
}

func (g *Guard) has(a netip.Addr) bool {
	for _, p := range g.IPs {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// linkLocal is the address that a MAC gives (RFC 4291, appendix A).
func linkLocal(m link.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}
