package gnttab

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Entry is a grant entry as a guest wrote it (grant_table.h, grant_entry_v1 and
// grant_entry_v2), read once and not checked.
type Entry struct {
	Flags uint16 // xenabi.GTF*
	DomID mm.DomID
	Frame uint64 // not of a transitive grant

	// Of a version 2 grant with GTF_sub_page.
	PageOff, Length uint16
	// Of a version 2 transitive grant.
	TransDomID mm.DomID
	TransRef   uint32
}

// Type returns the type bits of the flags.
func (e Entry) Type() uint16 { return e.Flags & xenabi.GTFTypeMask }

// header is flags and domid as the 4 bytes that they are in both versions, so
// that they are read and compared in one step.
type header uint32

func (h header) flags() uint16  { return uint16(h) }
func (h header) dom() mm.DomID  { return mm.DomID(h >> 16) }
func makeHeader(e Entry) header { return header(e.Flags) | header(e.DomID)<<16 }
func (t *Table) perFrame() uint32 {
	if t.version == 2 {
		return v2PerFrame
	}
	return v1PerFrame
}

func (t *Table) entrySize() int {
	if t.version == 2 {
		return xenabi.GrantV2Size
	}
	return xenabi.GrantV1Size
}

// place returns where entry ref is, which must be below t.refs; t.mu is held.
func (t *Table) place(ref uint32) (mm.Page, int) {
	n := t.perFrame()
	return t.shared[ref/n].page, int(ref%n) * t.entrySize()
}

// read decodes entry ref, which must be below t.refs; t.mu is held.
func (t *Table) read(ref uint32) Entry {
	pg, off := t.place(ref)
	h := header(pg.Load32(off))
	return t.readBody(ref, h)
}

// readBody decodes what follows header h of entry ref.
func (t *Table) readBody(ref uint32, h header) Entry {
	pg, off := t.place(ref)
	e := Entry{Flags: h.flags(), DomID: h.dom()}
	if t.version == 1 {
		e.Frame = uint64(pg.Load32(off + xenabi.GrantV1Frame))
		return e
	}
	lo, hi := pg.Load32(off+xenabi.GrantV2PageOff), pg.Load64(off+xenabi.GrantV2Frame)
	switch {
	case e.Type() == xenabi.GTFTransitive:
		e.TransDomID, e.TransRef = mm.DomID(lo), uint32(hi)
	case e.Flags&xenabi.GTFSubPage != 0:
		e.PageOff, e.Length, e.Frame = uint16(lo), uint16(lo>>16), hi
	default:
		e.Frame = hi
	}
	return e
}

// write fills entry ref with a grant of a full page, its header last, as a guest
// would (grant_table.h, "Introducing a valid entry").
func (t *Table) write(ref uint32, e Entry) {
	pg, off := t.place(ref)
	if t.version == 1 {
		pg.Store32(off+xenabi.GrantV1Frame, uint32(e.Frame))
	} else {
		pg.Store64(off+xenabi.GrantV2Frame, e.Frame)
	}
	pg.Store32(off, uint32(makeHeader(e)))
}

// Entry returns entry ref as it is now, or GNTST_bad_gntref.
func (t *Table) Entry(ref uint32) (Entry, xenabi.GnttabStatus) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if ref >= t.refs() {
		return Entry{}, xenabi.GNTSTBadGntref
	}
	return t.read(ref), xenabi.GNTSTOkay
}
