package mm

import "fmt"

// DecreaseReservation takes the 1<<order frames at each of gfns away from the
// domain (XENMEM_decrease_reservation) and frees them; it returns how many of
// these extents it did. It stops with ErrBadAddress where there is no memory of
// the domain, with ErrBusy where a frame is pinned.
//
// The caller bounds len(gfns), and goes on later with the rest; when it returns,
// the frames are free and flushed.
func (s *Space) DecreaseReservation(gfns []GFN, order uint) (done int, err error) {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	for _, g := range gfns {
		if err := checkRange(g, order); err != nil {
			return done, err
		}
		end := g + 1<<order
		for at := g; at < end; {
			e := s.p2m.Lookup(at)
			if !vacates(e.Type) {
				return done, fmt.Errorf("domain %d, guest frame %#x (%v): %w", s.dom, at, e.Type, ErrBadAddress)
			}
			at = (at>>e.Order + 1) << e.Order
		}
		if err := s.removeRange(g, end); err != nil {
			return done, err
		}
		s.given(1 << order)
		done++
	}
	return done, nil
}

// removeRange removes what is in [start, end), page by page. The lock is held.
func (s *Space) removeRange(start, end GFN) error {
	for g := start; g < end; {
		e := s.p2m.Lookup(g)
		next := (g>>e.Order + 1) << e.Order
		order := e.Order
		if g&(1<<order-1) != 0 || next > end { // a part of a large page
			order = 0
			for g&(1<<order) == 0 && end-g >= 2<<order {
				order++
			}
			next = g + 1<<order
		}
		if e.Type != TypeNone {
			if err := s.remove(g, order, e); err != nil {
				return err
			}
		}
		g = next
	}
	return nil
}

// AddSpecial puts a special frame of the hypervisor's behind g
// (XENMEM_add_to_physmap with XENMAPSPACE_shared_info or _grant_table). What was
// there is removed, the domain's memory freed. A special frame has one place:
// from an earlier one it is taken away.
//
// The frame is of FrameSpecial and DomIDXen; while it is mapped it has one more
// reference, and nobody else moves it.
func (s *Space) AddSpecial(g GFN, m MFN) error {
	f := s.mem.Frames()
	if f.Info(m).Kind != FrameSpecial {
		return fmt.Errorf("domain %d: machine frame %#x is not one to share: %w", s.dom, m, ErrBadType)
	}
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	from := f.GFN(m)
	if from == g && s.p2m.Lookup(g).MFN == m {
		return nil
	}
	if err := s.replace(g, m, TypeSpecial, DomIDXen); err != nil {
		return err
	}
	if e := s.p2m.Lookup(from); e.Type == TypeSpecial && e.MFN == m {
		if err := s.remove(from, 0, e); err != nil {
			return err
		}
	}
	f.SetGFN(m, g)
	return nil
}

// AddForeign puts a frame of another domain behind g (XENMAPSPACE_gmfn_foreign),
// as AddSpecial does. The caller has checked the privilege, and holds m.
func (s *Space) AddForeign(g GFN, m MFN, owner DomID) error {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	if s.mem.Frames().Info(m).Kind != FrameGuest {
		return fmt.Errorf("domain %d: machine frame %#x is not a domain's memory: %w", s.dom, m, ErrBadType)
	}
	return s.replace(g, m, TypeForeign, owner)
}

// replace maps m at g with a reference of its own and retires what was there.
func (s *Space) replace(g GFN, m MFN, t Type, owner DomID) error {
	if g >= maxGFN {
		return fmt.Errorf("domain %d, guest frame %#x: %w", s.dom, g, ErrBadRange)
	}
	if st := s.mem.Frames().Ref(m, owner); st != FrameOK {
		return fmt.Errorf("domain %d: machine frame %#x of domain %d: %v: %w", s.dom, m, owner, st, ErrBusy)
	}
	e := s.p2m.Lookup(g)
	err := s.claim(g, 0, e)
	if err == nil {
		if err = s.p2m.mapLocked(g, m, 0, t); err != nil {
			s.unclaim(0, e)
		}
	}
	if err != nil {
		s.drop(m)
		return err
	}
	s.removed(0, e)
	if vacates(e.Type) {
		s.given(1)
	}
	return nil
}

// Move moves what is behind from to the guest frame to (XENMAPSPACE_gmfn); what
// was there is removed. Only the domain's own memory moves.
func (s *Space) Move(from, to GFN) error {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	src := s.p2m.Lookup(from)
	if !src.Type.IsRAM() {
		return fmt.Errorf("domain %d, guest frame %#x (%v): %w", s.dom, from, src.Type, ErrBadAddress)
	}
	if from == to {
		return nil
	}
	if to >= maxGFN {
		return fmt.Errorf("domain %d, guest frame %#x: %w", s.dom, to, ErrBadRange)
	}
	if err := s.claim(from, 0, src); err != nil { // a pinned frame keeps its place
		return err
	}
	dst := s.p2m.Lookup(to)
	if err := s.claim(to, 0, dst); err != nil {
		s.unclaim(0, src)
		return err
	}
	if err := s.p2m.unmapLocked(from, 0); err != nil {
		s.unclaim(0, dst)
		s.unclaim(0, src)
		return err
	}
	err := s.p2m.mapLocked(to, src.MFN, 0, src.Type)
	if err == nil {
		s.removed(0, dst)
		s.unclaim(0, src)
		if vacates(dst.Type) {
			s.given(1)
		}
		return nil
	}
	s.unclaim(0, dst)
	if s.p2m.mapLocked(from, src.MFN, 0, src.Type) == nil {
		s.unclaim(0, src)
	} else { // no table for either place: the guest has lost the page
		s.removed(0, src)
	}
	return err
}

// RemoveFromPhysmap removes what is behind g (XENMEM_remove_from_physmap), and
// frees it if it is the domain's memory.
func (s *Space) RemoveFromPhysmap(g GFN) error {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	e := s.p2m.Lookup(g)
	if e.Type == TypeNone {
		return fmt.Errorf("domain %d, guest frame %#x (%v): %w", s.dom, g, e.Type, ErrBadAddress)
	}
	if err := s.remove(g, 0, e); err != nil {
		return err
	}
	if vacates(e.Type) {
		s.given(1)
	}
	return nil
}

// vacates tells whether a domain that loses a page of a type has less memory.
func vacates(t Type) bool { return t.IsRAM() || t == TypePoD }

// Release frees the domain's memory, at most n pages (of any size) in one call,
// and in the end its page tables; it returns true when that is done. The
// domain's vcpus don't run any more.
//
// A frame that somebody else holds, another domain by a grant, is nobody's from then
// on, and freed with the last reference. Grants that are mapped here, which have to be
// unmapped before, stay: when only they are left, the error wraps ErrBusy.
func (s *Space) Release(n int) (done bool, err error) {
	if s.direct != nil {
		return s.releaseDirect(n), nil
	}
	s.p2m.mu.Lock()
	for g := s.cursor; ; {
		e := s.p2m.Lookup(g)
		if e.Type != TypeNone {
			if n--; n < 0 {
				s.cursor = g
				s.settle()
				s.p2m.mu.Unlock()
				return false, nil
			}
			if err = s.releasePage(g, e); err != nil {
				s.kept++
			}
		}
		if g = (g>>e.Order + 1) << e.Order; g >= maxGFN {
			break
		}
	}
	s.settle()
	kept := s.kept
	s.cursor, s.kept = 0, 0
	s.p2m.mu.Unlock()
	if kept > 0 {
		return false, fmt.Errorf("domain %d: %d pages are still in use: %w", s.dom, kept, ErrBusy)
	}
	s.p2m.Destroy()
	return true, nil
}

// releasePage removes one page. If a part of it is held, it goes frame by frame.
func (s *Space) releasePage(g GFN, e Entry) error {
	err := s.remove(g, e.Order, e)
	if err == nil || !e.Type.IsRAM() {
		return err
	}
	if err := s.p2m.unmapLocked(g, e.Order); err != nil {
		return err
	}
	s.settle()
	for m := e.MFN; m < e.MFN+1<<e.Order; m++ {
		last, st := s.mem.Frames().Disown(m, s.dom)
		if st != FrameOK {
			panic("mm: a domain's frame that is not its own: " + st.String())
		}
		if last {
			s.mem.FreeFrames(m, 0)
		}
	}
	s.tot.Add(-(uint64(1) << e.Order))
	return nil
}
