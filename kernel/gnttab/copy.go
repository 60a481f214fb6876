package gnttab

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// copyEnd is one end of a GNTTABOP_copy while it goes on.
type copyEnd struct {
	pins  [2]mapping // of entries; the second where the first is transitive
	npins int
	space *mm.Space
	mfn   mm.MFN
	write bool // it is held for writing
	// The bytes that may be used.
	off, len int
}

// copy is GNTTABOP_copy.
func (c *Caller) copy(a *xenabi.GnttabCopy) xenabi.GnttabStatus {
	n := int(a.Len)
	if int(a.SourceOffset)+n > mm.PageSize || int(a.DestOffset)+n > mm.PageSize {
		return xenabi.GNTSTBadCopyArg
	}
	var src, dst copyEnd
	defer src.close()
	defer dst.close()
	if st := c.open(&src, a.SourceDomID, a.SourceFrame, a.Flags&xenabi.GntCopySourceGref != 0, Read); st != xenabi.GNTSTOkay {
		return st
	}
	if st := c.open(&dst, a.DestDomID, a.DestFrame, a.Flags&xenabi.GntCopyDestGref != 0, Write); st != xenabi.GNTSTOkay {
		return st
	}
	if !src.has(int(a.SourceOffset), n) || !dst.has(int(a.DestOffset), n) {
		return xenabi.GNTSTGeneralError
	}
	dst.space.Page(dst.mfn).Copy(int(a.DestOffset), src.space.Page(src.mfn), int(a.SourceOffset), n)
	return xenabi.GNTSTOkay
}

// open finds and holds an end: a grant of domain dom, or a frame of the caller's.
func (c *Caller) open(e *copyEnd, dom uint16, frame uint64, gref bool, use Use) xenabi.GnttabStatus {
	t := c.peer(dom)
	switch {
	case t == nil:
		return xenabi.GNTSTBadDomain
	case gref:
		acc, st := e.pin(t, uint32(frame), c.t.cfg.ID, use|Copy|Transit)
		if st == xenabi.GNTSTOkay && acc.Transitive {
			by := t.cfg.ID
			if t = c.t.cfg.Tables.Of(acc.Dom); t == nil {
				return xenabi.GNTSTGeneralError
			}
			acc, st = e.pin(t, acc.Ref, by, use|Copy)
		}
		if st != xenabi.GNTSTOkay {
			return st
		}
		frame, e.off, e.len = uint64(acc.GFN), acc.Off, acc.Len
	case t != c.t: // a frame may be named only in one's own memory
		return xenabi.GNTSTPermissionDenied
	default:
		e.len = mm.PageSize
	}
	m, err := t.cfg.Space.Hold(mm.GFN(frame), use&Write != 0)
	if err != nil {
		return unheld(t.cfg.Space, mm.GFN(frame))
	}
	e.space, e.mfn, e.write = t.cfg.Space, m, use&Write != 0
	return xenabi.GNTSTOkay
}

// pin acquires an entry until close.
func (e *copyEnd) pin(t *Table, ref uint32, by mm.DomID, use Use) (Access, xenabi.GnttabStatus) {
	acc, st := t.Acquire(ref, by, use)
	if st == xenabi.GNTSTOkay {
		e.pins[e.npins] = mapping{granter: t, ref: ref, use: use}
		e.npins++
	}
	return acc, st
}

// has tells whether the end gives n bytes at off.
func (e *copyEnd) has(off, n int) bool { return off >= e.off && off+n <= e.off+e.len }

func (e *copyEnd) close() {
	if e.space != nil {
		e.space.Drop(e.mfn, e.write)
	}
	for _, p := range e.pins[:e.npins] {
		p.granter.Release(p.ref, p.use)
	}
}
