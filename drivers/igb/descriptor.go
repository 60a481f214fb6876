package igb

import (
	"encoding/binary"

	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/ring"
)

// Of descriptors for what comes in, the second word when they are written back (82576
// and I210, section 7.1).
const (
	rxDD    = 1 << 0 // the rest is valid
	rxEOP   = 1 << 1 // the frame ends here
	rxUDP   = 1 << 4 // UDPCS: UDP's sum was computed
	rxL4    = 1 << 5 // L4I: TCP's or UDP's was
	rxWrong = 1 << 29
	rxError = 1 << 31 // of the frame: its FCS, length, or symbols

	rxLength = 32
)

// Of those for what is sent, also the second word (82576 and I210, section
// 7.2).
const (
	txContext = 2 << 20
	txData    = 3 << 20
	txTSE     = 1 << 31 // the card cuts
	txPayload = 46

	// In a context. The first word has the lengths of Ethernet's and IP's headers.
	txIPv4   = 1 << 10
	txTCP    = 1 << 11 // not UDP
	txMACLen = 9
	mostIP   = 1<<9 - 1
	txL4Len  = 40
	txMSS    = 48
)

var format = intel.Format{Data: txData, Cut: txTSE, Context: context, Came: came, Length: length}

// length is what data descriptors say of the whole frame: what of it is to be cut, or all of
// it.
func length(f *link.Frame) uint64 {
	n := f.Len()
	if f.Segmentation != link.Whole {
		headers, _ := nic.TCPEnd(f)
		n -= headers
	}
	return uint64(n) << txPayload
}

// context makes the descriptor that says where a frame's headers are. ok is false if the sum
// is neither TCP's nor UDP's, or the headers are not those of the kind that it is.
func context(f *link.Frame) (where, what uint64, ok bool) {
	mac, kind := ethernet(f)
	ip := int(f.CsumStart) - mac
	if ip < 0 || ip > mostIP || f.CsumOffset != intel.TCPSum && f.CsumOffset != intel.UDPSum {
		return 0, 0, false
	}
	where = uint64(ip) | uint64(mac)<<txMACLen
	what = txContext | intel.TxExtends
	if kind == 0x0800 {
		what |= txIPv4
	}
	if f.CsumOffset == intel.TCPSum {
		what |= txTCP
	}
	if f.Segmentation != link.Whole {
		at, v4 := nic.IPHeader(f)
		if at == 0 || v4 != (f.Segmentation == link.TCPv4) || what&txTCP == 0 {
			return 0, 0, false
		}
		headers, _ := nic.TCPEnd(f)
		what |= uint64(headers-int(f.CsumStart))<<txL4Len | uint64(f.MSS)<<txMSS
	}
	return where, what, true
}

// ethernet is the length of Ethernet's header, with a VLAN tag if there is one, and what
// follows.
func ethernet(f *link.Frame) (n int, kind uint16) {
	const tag, tagSize = 0x8100, 4
	n = link.HeaderSize
	kind = binary.BigEndian.Uint16(f.Head[n-2:])
	if kind == tag && len(f.Head) >= n+tagSize {
		n += tagSize
		kind = binary.BigEndian.Uint16(f.Head[n-2:])
	}
	return n, kind
}

func came(v uint64) (c ring.Came, end, ok bool) {
	if v&rxDD == 0 {
		return ring.Came{}, false, false
	}
	c = ring.Came{Len: int(v >> rxLength & 0xffff), Bad: v&rxError != 0}
	if v&(rxUDP|rxL4) != 0 && v&rxWrong == 0 {
		c.Checksum = link.Verified
	}
	return c, v&rxEOP != 0, true
}
