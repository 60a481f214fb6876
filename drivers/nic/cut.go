package nic

import (
	"encoding/binary"

	"nidus/drivers/link"
)

// Fields of headers: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293).
const (
	ipv4Size    = 20
	ipv4Len     = 2
	ipv4Sum     = 10
	ipv4From    = 12
	ipv6Size    = 40
	ipv6Len     = 4
	ipv6From    = 8
	tcpSum      = 16
	protocolTCP = 6
)

// IPHeader finds the network's header of a frame that is to be cut: its offset, 0 if it is
// none of IP. Preconditions: TCPEnd is ok.
func IPHeader(f *link.Frame) (at int, v4 bool) {
	be := binary.BigEndian
	at = ethernet
	kind := be.Uint16(f.Head[at-2:])
	if kind == 0x8100 {
		at += vlanTag
		kind = be.Uint16(f.Head[at-2:])
	}
	room := int(f.CsumStart) - at
	switch {
	case kind == 0x0800 && room >= ipv4Size && f.Head[at]>>4 == 4 && int(f.Head[at]&15)*4 == room:
		return at, true
	case kind == 0x86dd && room >= ipv6Size && f.Head[at]>>4 == 6:
		return at, false
	}
	return 0, false
}

// CutHead copies the head of a frame that a card is to cut, and makes it what cards want that
// don't look at lengths: they and IPv4's sum are 0, and the length is not in TCP's sum of the
// pseudo header. Preconditions: IPHeader finds one.
func CutHead(h *[link.HeadSize]byte, f *link.Frame) {
	be := binary.BigEndian
	copy(h[:], f.Head)
	at, v4 := IPHeader(f)
	var sum uint32
	if v4 {
		be.PutUint16(h[at+ipv4Len:], 0)
		be.PutUint16(h[at+ipv4Sum:], 0)
		sum = add(protocolTCP, h[at+ipv4From:at+ipv4Size])
	} else {
		be.PutUint16(h[at+ipv6Len:], 0)
		sum = add(protocolTCP, h[at+ipv6From:at+ipv6Size])
	}
	be.PutUint16(h[f.CsumStart+tcpSum:], uint16(sum))
}

// add adds words to a sum of RFC 1071.
func add(sum uint32, b []byte) uint32 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum
}
