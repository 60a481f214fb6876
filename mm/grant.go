package mm

import "fmt"

// AddGrant puts frame m of domain owner behind g (GNTTABOP_map_grant_ref of a
// translated guest, grant_table.h), as AddSpecial does: what was there is removed. The
// caller holds m; the mapping has a reference of its own. Where a grant is already, the
// error wraps ErrBusy.
func (s *Space) AddGrant(g GFN, m MFN, owner DomID, readonly bool) error {
	if s.direct != nil {
		return fmt.Errorf("domain %d: a grant of a PV domain goes to an address, not a frame: %w", s.dom, ErrBadType)
	}
	t := TypeGrantRW
	if readonly {
		t = TypeGrantRO
	}
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	defer s.settle()
	return s.replace(g, m, t, owner)
}

// RemoveGrant takes away the grant behind g. Until Settle the guest may still reach the
// frame, which is kept for that long.
func (s *Space) RemoveGrant(g GFN) error {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	e := s.p2m.Lookup(g)
	if e.Type != TypeGrantRW && e.Type != TypeGrantRO {
		return fmt.Errorf("domain %d, guest frame %#x (%v) is no grant: %w", s.dom, g, e.Type, ErrBadAddress)
	}
	if err := s.p2m.unmapLocked(g, 0); err != nil {
		return err
	}
	s.removed(0, e)
	return nil
}

// Settle flushes what RemoveGrant took away, and gives the frames back.
func (s *Space) Settle() {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	s.settle()
}
