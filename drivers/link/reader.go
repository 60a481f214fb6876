package link

import "nidus/mm"

// Reader copies the bytes of a frame, from its begin to its end.
type Reader struct {
	mem mm.DirectMap
	f   *Frame
	in  bool // Segments, not Head
	seg int
	at  int // in Head, or in Segments[seg]
}

// NewReader begins at byte at of f's head.
func NewReader(mem mm.DirectMap, f *Frame, at int) Reader {
	return Reader{mem: mem, f: f, at: at}
}

// Copy copies the next n bytes, which the frame must have, into a page from off on.
func (r *Reader) Copy(dst mm.Page, off, n int) {
	for end := off + n; off < end; {
		if !r.in {
			if head := r.f.Head[r.at:]; len(head) > 0 {
				k := min(len(head), end-off)
				dst.Write(off, head[:k])
				r.at, off = r.at+k, off+k
				continue
			}
			r.in, r.at = true, 0
		}
		s := &r.f.Segments[r.seg]
		k := min(int(s.Len)-r.at, end-off)
		dst.Copy(off, r.mem.Page(s.Frame), int(s.Off)+r.at, k)
		off += k
		if r.at += k; r.at == int(s.Len) {
			r.seg, r.at = r.seg+1, 0
		}
	}
}
