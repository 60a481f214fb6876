package e1000

import (
	"encoding/binary"

	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/ring"
)

// A descriptor has two words of 64 bits. Of those for what comes in, the first is the
// buffer's address, the second what came (8254x manual, section 3.2; 82574, section 7.1).
const (
	descSize = 16

	rxDD       = 1 << 32 // the rest is valid
	rxEOP      = 1 << 33 // the frame ends here
	rxNoSums   = 1 << 34 // IXSM: ignore the next ones
	rxUDPSum   = 1 << 36 // 82574 only, else reserved
	rxTCPSum   = 1 << 37 // of TCP, or UDP; it was computed
	rxTCPWrong = 1 << 45
	// rxErrors: CRC, symbol, sequence, carrier extension, data. The sums' are not among them.
	rxErrors = (1<<0 | 1<<1 | 1<<2 | 1<<4 | 1<<7) << 40
)

// Of those for what is sent, the first word of a data descriptor is an address, that of a
// context the places of headers and checksums (8254x manual, section 3.3; 82574, section 7.2).
const (
	txContext = 0 << 20
	txData    = 1 << 20
	txExtends = 1 << 29 // DEXT: not a legacy descriptor

	txEOP  = 1 << 24
	txIFCS = 1 << 25 // the card appends the FCS
	txTSE  = 1 << 26 // the card cuts
	txRS   = 1 << 27 // it says when it is done
	txTCP  = 1 << 24 // in a context: TCP, not UDP
	txIPv4 = 1 << 25

	txDD    = 1 << 32
	txSumIP = 1 << 40 // IXSM
	txSum   = 1 << 41 // TXSM
)

// headerRoom is what each slot has for the header of a frame that is cut: the card wants it
// without lengths.
const headerRoom = 256

// Put implements ring.Chip.
func (c *chip) Put(slot int, f *link.Frame) (slots int) {
	head := c.host.DMA(f.HeadAt.Frame) + uint64(f.HeadAt.Off)
	cmd, options := uint64(txData|txExtends|txIFCS), uint64(0)
	at := slot
	if f.Checksum == link.Partial {
		where, what, ok := context(f)
		if !ok {
			return 0
		}
		c.tx.Store64(at*descSize, where)
		c.tx.Store64(at*descSize+8, what)
		options = txSum
		if f.Segmentation != link.Whole {
			cmd |= txTSE
			if f.Segmentation == link.TCPv4 {
				options |= txSumIP
			}
			cut(&c.header, f)
			c.headers.Write(at*headerRoom, c.header[:len(f.Head)])
			head = c.headers.Addr + uint64(at*headerRoom)
		}
		at = (at + 1) % txSlots
		slots++
	}
	put := func(addr uint64, n int, last bool) {
		v := uint64(n) | cmd | options
		if last {
			v |= txEOP | txRS
		}
		c.tx.Store64(at*descSize, addr)
		c.tx.Store64(at*descSize+8, v)
		at = (at + 1) % txSlots
		slots++
	}
	put(head, len(f.Head), len(f.Segments) == 0)
	for i, s := range f.Segments {
		put(c.host.DMA(s.Frame)+uint64(s.Off), int(s.Len), i == len(f.Segments)-1)
	}
	return slots
}

// context makes the descriptor that says where a frame's headers and checksums are. ok is
// false if they are too far into the frame, or not those of the kind that it is.
func context(f *link.Frame) (where, what uint64, ok bool) {
	sum := int(f.CsumStart) + int(f.CsumOffset)
	if sum > 0xff {
		return 0, 0, false // 8 bits
	}
	where = uint64(f.CsumStart)<<32 | uint64(sum)<<40 // the sum is that of all up to the end
	what = txContext | txExtends
	if f.Segmentation == link.Whole {
		// Which of the two only matters for a sum of 0, which UDP has to send as ones.
		if f.CsumOffset == tcpSum {
			what |= txTCP
		}
		return where, what, true
	}
	ip, v4 := network(f)
	if ip == 0 || v4 != (f.Segmentation == link.TCPv4) || f.CsumOffset != tcpSum {
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

// Fields of headers: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293).
const (
	ethernetSize = 14
	tagSize      = 4
	ipv4Size     = 20
	ipv4Len      = 2
	ipv4Sum      = 10
	ipv4From     = 12
	ipv6Size     = 40
	ipv6Len      = 4
	ipv6From     = 8
	tcpSum       = 16
	protocolTCP  = 6
)

// network finds the network's header of a frame whose TCP header is known: its offset, 0
// if there is none.
func network(f *link.Frame) (at int, v4 bool) {
	be := binary.BigEndian
	at = ethernetSize
	kind := be.Uint16(f.Head[at-2:])
	if kind == 0x8100 {
		at += tagSize
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

// cut copies the head of a frame that the card is to cut, and makes it what the card wants:
// lengths and IPv4's sum are 0, and the length is not in TCP's sum of the pseudo header
// (8254x manual, section 3.5; 82574, section 7.3). Preconditions: context is ok.
func cut(h *[link.HeadSize]byte, f *link.Frame) {
	be := binary.BigEndian
	copy(h[:], f.Head)
	at, v4 := network(f)
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

// Kick implements ring.Chip.
func (c *chip) Kick(slot int) { c.regs.Store32(regTDT, uint32(slot)) }

// Sent implements ring.Chip.
func (c *chip) Sent(slot int) bool { return c.tx.Load64(slot*descSize+8)&txDD != 0 }

// Post implements ring.Chip.
func (c *chip) Post(slot int, addr uint64) {
	c.rx.Store64(slot*descSize+8, 0)
	c.rx.Store64(slot*descSize, addr)
}

// Posted implements ring.Chip. The card stops before the slot that it is told, so the last
// one of those is told.
func (c *chip) Posted(slot int) {
	c.regs.Store32(regRDT, uint32((slot+rxSlots-1)%rxSlots))
}

// Came implements ring.Chip.
func (c *chip) Came(slot int) (came ring.Came, ok bool) {
	v := c.rx.Load64(slot*descSize + 8)
	if v&rxDD == 0 {
		return ring.Came{}, false
	}
	// Frames longer than a buffer are not received: a part of one can't be.
	came = ring.Came{Len: int(v & 0xffff), Bad: v&rxEOP == 0 || v&rxErrors != 0 || c.part}
	c.part = v&rxEOP == 0
	if v&rxNoSums == 0 && v&(rxTCPSum|rxUDPSum) != 0 && v&rxTCPWrong == 0 {
		came.Checksum = link.Verified
	}
	return came, true
}
