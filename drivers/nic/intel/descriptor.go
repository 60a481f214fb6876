package intel

import (
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/ring"
)

// A descriptor has two words of 64 bits. Of those for what comes in, the first is the
// buffer's address, the second is 0 until it says what came.
const descSize = 16

// Of those for what is sent, the first word of a data descriptor is an address, that of a
// context the places of headers and checksums. These are the same in all families (8254x
// manual, section 3.3; 82574, section 7.2; 82576 and I210, section 7.2.2).
const (
	TxExtends = 1 << 29 // DEXT: not a legacy descriptor

	TxEOP   = 1 << 24
	txIFCS  = 1 << 25 // the card appends the FCS
	TxRS    = 1 << 27 // it says when it is done
	TxDD    = 1 << 32
	TxSumIP = 1 << 40 // IXSM
	TxSum   = 1 << 41 // TXSM
)

// TCPSum is where TCP's sum is in its header, UDPSum where UDP's is.
const (
	TCPSum = 16
	UDPSum = 6
)

// headerRoom is what each slot has for the header of a frame that is cut: the card wants it
// without lengths.
const headerRoom = 256

// Format is what of the descriptors differs.
type Format struct {
	Data uint64 // the type of those for data
	Cut  uint64 // TSE: the card cuts
	// Context makes the descriptor that says where a frame's headers and checksums are. ok is
	// false if the card can't do those.
	Context func(f *link.Frame) (where, what uint64, ok bool)
	// Length is what data descriptors say of the whole frame.
	Length func(f *link.Frame) uint64
	// Came reads the second word of a descriptor with which something came in; ok is false if
	// nothing did. end tells that it is the end of a frame.
	Came func(v uint64) (came ring.Came, end, ok bool)
}

// Put implements ring.Chip.
func (b *Base) Put(slot int, f *link.Frame) (slots int) {
	head := b.Host.DMA(f.HeadAt.Frame) + uint64(f.HeadAt.Off)
	what := b.Data | TxExtends | txIFCS | b.Length(f)
	at := slot
	if f.Checksum == link.Partial {
		place, kind, ok := b.Context(f)
		if !ok {
			return 0
		}
		b.tx.Store64(at*descSize, place)
		b.tx.Store64(at*descSize+8, kind)
		what |= TxSum
		if f.Segmentation != link.Whole {
			what |= b.Cut
			if f.Segmentation == link.TCPv4 {
				what |= TxSumIP
			}
			nic.CutHead(&b.header, f)
			b.headers.Write(at*headerRoom, b.header[:len(f.Head)])
			head = b.headers.Addr + uint64(at*headerRoom)
		}
		at = (at + 1) % txSlots
		slots++
	}
	put := func(addr uint64, n int, last bool) {
		v := uint64(n) | what
		if last {
			v |= TxEOP | TxRS
		}
		b.tx.Store64(at*descSize, addr)
		b.tx.Store64(at*descSize+8, v)
		at = (at + 1) % txSlots
		slots++
	}
	put(head, len(f.Head), len(f.Segments) == 0)
	for i, s := range f.Segments {
		put(b.Host.DMA(s.Frame)+uint64(s.Off), int(s.Len), i == len(f.Segments)-1)
	}
	return slots
}

// Kick implements ring.Chip.
func (b *Base) Kick(slot int) { b.Regs.Store32(TDT, uint32(slot)) }

// Sent implements ring.Chip.
func (b *Base) Sent(slot int) bool { return b.tx.Load64(slot*descSize+8)&TxDD != 0 }

// Post implements ring.Chip.
func (b *Base) Post(slot int, addr uint64) {
	b.rx.Store64(slot*descSize+8, 0)
	b.rx.Store64(slot*descSize, addr)
}

// Posted implements ring.Chip. The card stops before the slot that it is told, so the last
// one of those is told.
func (b *Base) Posted(slot int) {
	b.Regs.Store32(RDT, uint32((slot+RxSlots-1)%RxSlots))
}

// Came implements ring.Chip.
func (b *Base) Came(slot int) (came ring.Came, ok bool) {
	came, end, ok := b.Format.Came(b.rx.Load64(slot*descSize + 8))
	if !ok {
		return ring.Came{}, false
	}
	// Frames longer than a buffer are not received: a part of one can't be.
	came.Bad = came.Bad || !end || b.part
	b.part = !end
	return came, true
}
