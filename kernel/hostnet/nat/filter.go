package nat

import (
	"encoding/binary"
	"net/netip"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/kernel/hostnet/dhcp"
)

// MaySend tells by a frame's head whether an interface may send it into the network, to the
// gateway or to others: IPv4 from the address that it has, its ARP, and what a client of
// DHCP sends that has no address. A guest can't be taken for the gateway, nor for another
// one, nor for a server of DHCP.
func (n *Network) MaySend(head []byte, h *packet.Headers) bool {
	from := packet.Src(head)
	switch body := head[min(h.L3, len(head)):]; h.EtherType {
	case packet.ARP:
		src, _, _, ok := arp(body, from)
		// One that has no address yet asks whether another has it (RFC 5227, 2.1.1).
		return ok && (src.IsUnspecified() || n.leases.Claim(from, src))
	case packet.IPv4:
		if !h.IP {
			return false
		}
		if h.Protocol == packet.UDP && !mayDHCP(head, h, from) {
			return false
		}
		src := netip.AddrFrom4([4]byte(body[12:16]))
		if src.IsUnspecified() {
			return isDHCP(head, h, from)
		}
		return n.leases.Claim(from, src)
	}
	return false
}

// filter tells what the gateway's stack may see. As it takes all addresses for its own, it
// would answer questions for every guest; and it asks in the name of those it speaks for, so
// that all answers are heard.
func (n *Network) filter(head []byte) bool {
	h := packet.Parse(head)
	if !n.MaySend(head, &h) {
		return false
	}
	if h.EtherType == packet.ARP {
		_, dst, reply, _ := arp(head[h.L3:], packet.Src(head))
		return reply || dst == n.cfg.Own.Addr()
	}
	return true
}

// arp reads a packet of ARP (RFC 826) for Ethernet and IPv4; ok is false if it is none, or
// speaks for another Ethernet address than from.
func arp(b []byte, from link.MAC) (src, dst netip.Addr, reply, ok bool) {
	const size, ethernet, isReply = 28, 1, 2
	if len(b) < size || binary.BigEndian.Uint16(b) != ethernet || binary.BigEndian.Uint16(b[2:]) != packet.IPv4 || b[4] != 6 || b[5] != 4 || link.MAC(b[8:14]) != from {
		return src, dst, false, false
	}
	return netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28])), binary.BigEndian.Uint16(b[6:]) == isReply, true
}

// mayDHCP tells whether a packet of UDP over IPv4 may be sent for all that DHCP says: nobody
// is a server, and a client speaks for itself, also when it has an address. The ports are in
// the first fragment; who speaks is to be seen, so that a client's message is no fragment.
func mayDHCP(head []byte, h *packet.Headers, from link.MAC) bool {
	if binary.BigEndian.Uint16(head[h.L3+6:])&0x1fff != 0 { // not the first (RFC 791, 3.1)
		return true
	}
	if len(head) < h.L4+8 {
		return false
	}
	return binary.BigEndian.Uint16(head[h.L4:]) != dhcp.ServerPort &&
		(binary.BigEndian.Uint16(head[h.L4+2:]) != dhcp.ServerPort || isDHCP(head, h, from))
}

// isDHCP tells whether a packet is a DHCP client's that speaks for itself.
func isDHCP(head []byte, h *packet.Headers, from link.MAC) bool {
	const chaddr = 28 // RFC 2131, 2
	if h.Protocol != packet.UDP || h.Payload == 0 || len(head) < h.Payload+chaddr+6 {
		return false
	}
	return binary.BigEndian.Uint16(head[h.L4+2:]) == dhcp.ServerPort && link.MAC(head[h.Payload+chaddr:][:6]) == from
}
