package e1000

import (
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/ring"
)

// Of descriptors for what comes in, the second word (8254x manual, section 3.2; 82574, section
// 7.1).
const (
	rxDD       = 1 << 32 // the rest is valid
	rxEOP      = 1 << 33 // the frame ends here
	rxNoSums   = 1 << 34 // IXSM: ignore the next ones
	rxUDPSum   = 1 << 36 // 82574 only, else reserved
	rxTCPSum   = 1 << 37 // of TCP, or UDP; it was computed
	rxTCPWrong = 1 << 45
	// rxErrors: CRC, symbol, sequence, carrier extension, data. The sums' are not among them.
	rxErrors = (1<<0 | 1<<1 | 1<<2 | 1<<4 | 1<<7) << 40
)

// Of those for what is sent, also the second word (8254x manual, section 3.3; 82574, section
// 7.2).
const (
	txContext = 0 << 20
	txData    = 1 << 20

	txTSE  = 1 << 26 // the card cuts
	txTCP  = 1 << 24 // in a context: TCP, not UDP
	txIPv4 = 1 << 25
)

// ipv4Sum is where IPv4's sum is in its header.
const ipv4Sum = 10

var format = intel.Format{Data: txData, Cut: txTSE, Context: context, Came: came,
	Length: func(*link.Frame) uint64 { return 0 }}

// context makes the descriptor that says where a frame's headers and checksums are. ok is
// false if they are too far into the frame, or not those of the kind that it is.
func context(f *link.Frame) (where, what uint64, ok bool) {
	sum := int(f.CsumStart) + int(f.CsumOffset)
	if sum > 0xff {
		return 0, 0, false // 8 bits
	}
	where = uint64(f.CsumStart)<<32 | uint64(sum)<<40 // the sum is that of all up to the end
	what = txContext | intel.TxExtends
	if f.Segmentation == link.Whole {
		// Which of the two only matters for a sum of 0, which UDP has to send as ones.
		if f.CsumOffset == intel.TCPSum {
			what |= txTCP
		}
		return where, what, true
	}
	ip, v4 := nic.IPHeader(f)
	if ip == 0 || v4 != (f.Segmentation == link.TCPv4) || f.CsumOffset != intel.TCPSum {
		return 0, 0, false
	}
	headers, _ := nic.TCPEnd(f)
	what |= txTCP | txTSE | uint64(f.Len()-headers) | uint64(headers)<<40 | uint64(f.MSS)<<48
	where |= uint64(ip)
	if v4 {
		what |= txIPv4
		where |= uint64(ip+ipv4Sum)<<8 | uint64(f.CsumStart-1)<<16
	}
	return where, what, true
}

func came(v uint64) (c ring.Came, end, ok bool) {
	if v&rxDD == 0 {
		return ring.Came{}, false, false
	}
	c = ring.Came{Len: int(v & 0xffff), Bad: v&rxErrors != 0}
	if v&rxNoSums == 0 && v&(rxTCPSum|rxUDPSum) != 0 && v&rxTCPWrong == 0 {
		c.Checksum = link.Verified
	}
	return c, v&rxEOP != 0, true
}
