package paging

import "nidus/mm"

// CopyIn fills dst from guest linear memory at va, page by page. On error, a
// *Fault, dst holds nothing to use.
func (w *Walker) CopyIn(va mm.GuestVirt, dst []byte, acc Access) error {
	return w.each(va, dst, acc&^Write, false)
}

// CopyOut writes src to guest linear memory at va. Every page is translated
// before the first byte is written, so that a fault leaves memory as it was,
// as far as the guest doesn't change its tables meanwhile.
func (w *Walker) CopyOut(va mm.GuestVirt, src []byte, acc Access) error {
	acc |= Write
	if uint64(va)&mm.PageMask+uint64(len(src)) > mm.PageSize {
		for off := uint64(0); off < uint64(len(src)); {
			m, err := w.Translate(va+mm.GuestVirt(off), acc)
			if err != nil {
				return err
			}
			off += m.Left
		}
	}
	return w.each(va, src, acc, true)
}

func (w *Walker) each(va mm.GuestVirt, p []byte, acc Access, out bool) error {
	for len(p) > 0 {
		m, err := w.Translate(va, acc)
		if err != nil {
			return err
		}
		n := int(min(m.Left, uint64(len(p))))
		if out {
			err = w.Mem.WritePhys(m.Phys, p[:n])
		} else {
			err = w.Mem.ReadPhys(m.Phys, p[:n])
		}
		if err != nil {
			return w.badTable(va, acc)
		}
		p, va = p[n:], va+mm.GuestVirt(n)
	}
	return nil
}
