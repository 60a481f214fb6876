// Package packet reads the headers of frames, as far as bridges, filters and offloads
// have to: Ethernet, 802.1Q, IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC
// 768); and sums up checksums (RFC 1071).
package packet

import (
	"encoding/binary"

	"nidus/drivers/link"
)

// EtherTypes.
const (
	IPv4 = 0x0800
	ARP  = 0x0806
	VLAN = 0x8100 // IEEE 802.1Q
	IPv6 = 0x86dd

	// ServiceVLAN is another tag's, which is not looked into (IEEE 802.1Q, table 9-1).
	ServiceVLAN = 0x88a8
)

// Protocols of IP.
const (
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Headers say where in a frame's head its headers are.
type Headers struct {
	EtherType uint16 // behind a VLAN tag, if there is one
	Tagged    bool
	VLAN      uint16 // its number, 0 if not Tagged
	// L3 is where the network's header begins. It may be beyond the head.
	L3 int
	// IP: the header of IPv4 or IPv6 is whole, and Protocol and L4, which may be beyond the
	// head, say what follows it.
	IP       bool
	Protocol uint8
	// End is where the datagram ends by its own length, which may be wrong.
	End int
	L4  int
	// Fragment: there is a piece of a datagram; Protocol's header is in the first one.
	Fragment bool
	// Payload is where the data of TCP or UDP begins; 0: there is no whole header of these.
	Payload int
}

// Dst is the receiver of a frame whose head is at least Ethernet's header.
func Dst(head []byte) link.MAC { return link.MAC(head[:6]) }

// Src is the sender's.
func Src(head []byte) link.MAC { return link.MAC(head[6:12]) }

var be = binary.BigEndian

// Parse reads a head of at least link.HeaderSize bytes.
func Parse(head []byte) (h Headers) {
	h.EtherType, h.L3 = be.Uint16(head[12:]), link.HeaderSize
	if h.EtherType == VLAN {
		h.Tagged = true
		if len(head) < 18 {
			h.EtherType, h.L3 = 0, 18
			return h
		}
		h.VLAN = be.Uint16(head[14:]) & 0xfff
		h.EtherType, h.L3 = be.Uint16(head[16:]), 18
	}
	ip := head[h.L3:]
	switch h.EtherType {
	case IPv4:
		h.ipv4(ip)
	case IPv6:
		h.ipv6(ip)
	}
	if !h.IP || h.Fragment || h.L4 > len(head) {
		return h
	}
	l4 := head[h.L4:]
	switch {
	case h.Protocol == TCP && len(l4) >= 20:
		if n := int(l4[12]>>4) * 4; n >= 20 && n <= len(l4) {
			h.Payload = h.L4 + n
		}
	case h.Protocol == UDP && len(l4) >= 8:
		h.Payload = h.L4 + 8
	}
	return h
}

func (h *Headers) ipv4(ip []byte) {
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return
	}
	n := int(ip[0]&15) * 4
	if n < 20 || n > len(ip) {
		return
	}
	h.IP, h.Protocol, h.L4 = true, ip[9], h.L3+n
	h.End = h.L3 + int(be.Uint16(ip[2:]))
	h.Fragment = be.Uint16(ip[6:])&0x3fff != 0 // more fragments, or not the first
}

// Extension headers of IPv6 that are skipped.
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
)

func (h *Headers) ipv6(ip []byte) {
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return
	}
	h.End = h.L3 + 40 + int(be.Uint16(ip[4:]))
	next, at := ip[6], 40
	for {
		switch next {
		case hopByHop, routing, destination:
			if len(ip) < at+8 {
				return
			}
			next, at = ip[at], at+8+int(ip[at+1])*8
		case fragment:
			if len(ip) < at+8 {
				return
			}
			h.Fragment = true
			next, at = ip[at], at+8
		default:
			h.IP, h.Protocol, h.L4 = true, next, h.L3+at
			return
		}
	}
}

// SumOffset is where in its header the checksum of Protocol is; ok is false if there is
// none that is known here.
func (h *Headers) SumOffset() (off int, ok bool) {
	switch h.Protocol {
	case TCP:
		return 16, h.Payload != 0
	case UDP:
		return 6, h.Payload != 0
	}
	return 0, false
}

// Sum adds bytes to a sum of 16-bit words, as if they began at an even place.
func Sum(sum uint32, b []byte) uint32 {
	s := uint64(sum)
	for ; len(b) >= 8; b = b[8:] {
		x := be.Uint64(b)
		s += x>>32 + x&0xffffffff
	}
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(be.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	return uint32(s)
}

// Fold makes 16 bits of a sum; the checksum is its complement.
func Fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// Pseudo sums up the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1) for n bytes of TCP or
// UDP, header and data.
func (h *Headers) Pseudo(head []byte, n int) uint32 {
	ip := head[h.L3:]
	var sum uint32
	if h.EtherType == IPv4 {
		sum = Sum(0, ip[12:20])
	} else {
		sum = Sum(0, ip[8:40])
	}
	// Folded: sum may be so close to 1<<32 that a carry would be lost.
	return uint32(Fold(sum)) + uint32(h.Protocol) + uint32(n)
}
