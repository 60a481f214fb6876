package pvcpu

import (
	"encoding/binary"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Bits of a descriptor's high word (APM vol. 2, 4.7).
const (
	descAccessed   = 1 << 8
	descWritable   = 1 << 9 // data: writable; code: readable
	descConforming = 1 << 10
	descCode       = 1 << 11
	descSegment    = 1 << 12 // S
	descDPLShift   = 13
	descPresent    = 1 << 15
	descLong       = 1 << 21
	descBig        = 1 << 22
)

// CheckDescriptor tells whether a guest may have the descriptor lo, hi in its GDT
// or LDT, and how it has to look there: a kernel that thinks it is in ring 0 gets
// ring 1 (32-bit guests) or 3 instead. Not present is always allowed, as nothing
// can use it. Refused are system segments and gates, for a call gate's target is
// code of any ring; code that is both 64-bit and 32-bit wide; and 64-bit code of a
// 32-bit guest, which would reach addresses above its own. wide says that the guest
// is a 64-bit one.
func CheckDescriptor(lo, hi uint32, wide bool) (fixedLo, fixedHi uint32, ok bool) {
	if hi&descPresent == 0 {
		return lo, hi, true
	}
	if hi&descSegment == 0 {
		return lo, hi, false
	}
	ring := uint32(1)
	if wide {
		ring = 3
	}
	if hi>>descDPLShift&3 < ring {
		hi = hi&^(3<<descDPLShift) | ring<<descDPLShift
	}
	// The processor would set it, in a page that is read-only to everybody.
	hi |= descAccessed
	if hi&descCode != 0 && hi&descLong != 0 && (!wide || hi&descBig != 0) {
		return lo, hi, false
	}
	return lo, hi, true
}

// Descriptors of the flat segments (arch-x86/xen-x86_64.h, xen-x86_32.h).
const (
	flatCode64 = 0x00affb000000ffff
	flatCode32 = 0x00cffb000000ffff
	flatData   = 0x00cff3000000ffff
	ring1Code  = 0x00cfbb000000ffff
	ring1Data  = 0x00cfb3000000ffff
)

// flat is a descriptor of the reserved part of the GDT.
func (c *CPU) flat(sel uint16) (uint64, bool) {
	if c.Width == xenabi.Guest32 {
		switch sel &^ 7 {
		case xenabi.FlatKernelCS32 &^ 7:
			return ring1Code, true
		case xenabi.FlatKernelSS32 &^ 7:
			return ring1Data, true
		case xenabi.FlatUserCS32 &^ 7:
			return flatCode32, true
		case xenabi.FlatUserSS32 &^ 7:
			return flatData, true
		}
		return 0, false
	}
	switch sel &^ 7 {
	case xenabi.FlatKernelCS64 &^ 7:
		return flatCode64, true
	case xenabi.FlatCompatCS64 &^ 7:
		return flatCode32, true
	case xenabi.FlatKernelSS64 &^ 7:
		return flatData, true
	}
	return 0, false
}

// descriptor reads the descriptor that a selector names, if the guest's tables have
// one there. The LDT is read by the page tables that are loaded.
func (c *CPU) descriptor(sel uint16) (uint64, bool) {
	i := uint32(sel >> 3)
	switch {
	case sel&4 != 0:
		if i >= c.LDTEntries || c.M.CopyIn(c.LDT+mm.GuestVirt(8*i), c.word[:]) != nil {
			return 0, false
		}
	case i >= MaxGDTEntries:
		return c.flat(sel)
	case i >= c.GDTEntries:
		return 0, false
	default:
		const perFrame = mm.PageSize / 8
		m := c.GDT[i/perFrame]
		if c.M.ReadPhys(mm.GuestPhys(m)<<mm.PageShift+mm.GuestPhys(i%perFrame*8), c.word[:]) != nil {
			return 0, false
		}
	}
	return binary.LittleEndian.Uint64(c.word[:]), true
}

// descriptorBase is a segment's base.
func descriptorBase(d uint64) uint64 { return d>>16&0xffffff | d>>56<<24 }

// loadable tells whether a data segment register takes sel at privilege cpl (APM
// vol. 2, 4.10).
func (c *CPU) loadable(sel uint16, cpl uint64) bool {
	if sel&^3 == 0 {
		return true
	}
	d, ok := c.descriptor(sel)
	hi := uint32(d >> 32)
	if !ok || hi&descPresent == 0 || hi&descSegment == 0 || hi&(descCode|descWritable) == descCode {
		return false
	}
	return hi&(descCode|descConforming) == descCode|descConforming ||
		uint64(hi>>descDPLShift&3) >= max(cpl, uint64(sel&3))
}

// codeBits is the width of the code that runs, and where its segment begins.
func (c *CPU) codeBits() (bits int, base uint64) {
	d, ok := c.descriptor(c.M.Segment(virt.CS).Selector)
	hi := uint32(d >> 32)
	switch {
	case !ok: // it runs all the same: the guest has changed the table since
		return c.Width.Bits(), 0
	case hi&descLong != 0:
		return 64, 0
	case hi&descBig != 0:
		return 32, descriptorBase(d)
	}
	return 16, descriptorBase(d)
}
