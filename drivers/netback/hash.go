package netback

import (
	"encoding/binary"

	"nidus/drivers/link/packet"
)

// Hash types and algorithms (XEN_NETIF_CTRL_HASH_TYPE_*, XEN_NETIF_CTRL_HASH_ALGORITHM_*).
const (
	hashIPv4    = 1 << 0
	hashIPv4TCP = 1 << 1
	hashIPv6    = 1 << 2
	hashIPv6TCP = 1 << 3
	hashAll     = hashIPv4 | hashIPv4TCP | hashIPv6 | hashIPv6TCP

	hashToeplitz = 1
)

const (
	// maxKey is what Toeplitz's hash uses for the most that is hashed, two IPv6 addresses and
	// two ports: as many bytes, and 32 bits.
	maxKey = 40
	// maxMapping bounds the table from hash to queue.
	maxMapping = 128
)

// hashing is how a guest wants its frames spread over its queues. One that is in use isn't
// changed.
type hashing struct {
	algorithm uint32 // 0: the host's own way
	types     uint32
	key       [maxKey]byte
	mapping   []uint8 // queues; none: the hash modulo their number
}

// queue returns the queue of a frame; ok is false if the guest left that to the host.
func (h *hashing) queue(head []byte, p *packet.Headers, queues int) (q int, ok bool) {
	if h == nil || h.algorithm == 0 || h.types == 0 {
		return 0, false
	}
	sum := h.of(head, p)
	if n := uint32(len(h.mapping)); n > 0 {
		return int(h.mapping[sum%n]), true
	}
	return int(sum % uint32(queues)), true
}

// of is a frame's hash; 0 if none of the types is its.
func (h *hashing) of(head []byte, p *packet.Headers) uint32 {
	if !p.IP {
		return 0
	}
	plain, tcp, from, size := uint32(hashIPv4), uint32(hashIPv4TCP), p.L3+12, 8
	if p.EtherType == packet.IPv6 {
		plain, tcp, from, size = hashIPv6, hashIPv6TCP, p.L3+8, 32
	}
	var b [36]byte
	n := copy(b[:], head[from:from+size])
	switch {
	case h.types&tcp != 0 && p.Protocol == packet.TCP && p.Payload != 0:
		n += copy(b[n:], head[p.L4:p.L4+4])
	case h.types&plain == 0:
		return 0
	}
	return toeplitz(&h.key, b[:n])
}

// toeplitz is the hash that io/netif.h describes (XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ),
// of at most maxKey-4 bytes.
func toeplitz(key *[maxKey]byte, b []byte) (value uint32) {
	window := binary.BigEndian.Uint32(key[:])
	for i, x := range b {
		next := key[i+4]
		for bit := 7; bit >= 0; bit-- {
			if x>>bit&1 != 0 {
				value ^= window
			}
			window = window<<1 | uint32(next>>bit&1)
		}
	}
	return value
}
