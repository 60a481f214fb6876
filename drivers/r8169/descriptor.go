package r8169

import (
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/ring"
)

// A descriptor has two words of 64 bits: what is to be done or was, and the address of a
// buffer.
const (
	descSize = 16

	descOwn   = 1 << 31 // the card's
	descEnd   = 1 << 30 // the ring's last
	descFirst = 1 << 29 // of a frame
	descLast  = 1 << 28

	rxWatchdog = 1 << 22 // it is too long
	rxError    = 1 << 21 // the sum of the next ones and the last one
	rxRunt     = 1 << 20
	rxCRC      = 1 << 19
	rxErrors   = rxWatchdog | rxError | rxRunt | rxCRC
	rxKind     = 3 << 17
	rxTCP      = 1 << 17 // on IP
	rxUDP      = 2 << 17
	rxBadUDP   = 1 << 15
	rxBadTCP   = 1 << 14
	rxBadIP    = 1 << 16
	rxLen      = 1<<14 - 1 // with the FCS

	leastFrame = 60 // without the FCS
)

// end is what the last descriptor of a ring has to have.
func end(slot, slots int) uint64 {
	if slot == slots-1 {
		return descEnd
	}
	return 0
}

// Put implements ring.Chip. The first descriptor becomes the card's last, with which it has
// all of them.
func (c *chip) Put(slot int, f *link.Frame) (slots int) {
	var first uint64
	at := slot
	put := func(addr uint64, n int, last bool) {
		v := uint64(n) | descOwn | end(at, txSlots)
		if last {
			v |= descLast
		}
		c.tx.Store64(at*descSize+8, addr)
		if slots == 0 {
			first = v | descFirst
		} else {
			c.tx.Store64(at*descSize, v)
		}
		at = (at + 1) % txSlots
		slots++
	}
	// Whether each card fills short frames up, the manual does not say.
	missing := leastFrame - f.Len()
	put(c.host.DMA(f.HeadAt.Frame)+uint64(f.HeadAt.Off), len(f.Head), len(f.Segments) == 0 && missing <= 0)
	for i, s := range f.Segments {
		put(c.host.DMA(s.Frame)+uint64(s.Off), int(s.Len), i == len(f.Segments)-1 && missing <= 0)
	}
	if missing > 0 {
		put(c.zeros.Addr, missing, true)
	}
	c.tx.Store64(slot*descSize, first)
	return slots
}

// Kick implements ring.Chip.
func (c *chip) Kick(int) { c.regs.Store8(regTPPoll, pollNPQ) }

// Sent implements ring.Chip.
func (c *chip) Sent(slot int) bool { return c.tx.Load64(slot*descSize)&descOwn == 0 }

// Post implements ring.Chip.
func (c *chip) Post(slot int, addr uint64) {
	c.rx.Store64(slot*descSize+8, addr)
	c.rx.Store64(slot*descSize, descOwn|end(slot, rxSlots)|nic.BufferSize)
}

// Posted implements ring.Chip: the card sees that by itself.
func (c *chip) Posted(int) {}

// Came implements ring.Chip.
func (c *chip) Came(slot int) (came ring.Came, ok bool) {
	v := c.rx.Load64(slot * descSize)
	if v&descOwn != 0 {
		return ring.Came{}, false
	}
	// Frames longer than a buffer are not received: a part of one can't be.
	whole := v&(descFirst|descLast) == descFirst|descLast
	came = ring.Came{Len: int(v&rxLen) - fcs, Bad: !whole || v&rxErrors != 0 || c.part}
	c.part = v&descLast == 0
	switch v & rxKind {
	case rxTCP:
		if v&(rxBadTCP|rxBadIP) == 0 {
			came.Checksum = link.Verified
		}
	case rxUDP:
		if v&(rxBadUDP|rxBadIP) == 0 {
			came.Checksum = link.Verified
		}
	}
	return came, true
}
