package mm

import "fmt"

// Populate gives the domain n cleared frames of RAM from g on, in pages as large
// as alignment and free memory allow. It calls progress (which may be nil) at
// least once for every 512 frames, with the number that is done; an error from
// it ends Populate. On any error TotPages tells how far it came, and what was
// done stays.
func (s *Space) Populate(g GFN, n uint64, progress func(done uint64) error) error {
	if n == 0 || g >= maxGFN || n > uint64(maxGFN-g) {
		return fmt.Errorf("domain %d: populate %d frames at %#x: %w", s.dom, n, g, ErrBadRange)
	}
	for done := uint64(0); done < n; {
		order := s.p2m.cfg.MaxOrder
		for at := g + GFN(done); order > 0 && (uint64(at)&(1<<order-1) != 0 || n-done < 1<<order); {
			order -= tableBits
		}
		step := func(k uint64) error {
			if progress == nil {
				return nil
			}
			return progress(done + k)
		}
		order, err := s.populate(g+GFN(done), order, true, vacant, step)
		if err != nil {
			return err
		}
		done += 1 << order
		// A run of small pages reports at each 512th.
		if order == 0 && progress != nil && (done%tableEntries == 0 || done == n) {
			if err := progress(done); err != nil {
				return err
			}
		}
	}
	return nil
}

// PopulatePhysmap gives the domain 1<<order cleared frames at each of gfns
// (XENMEM_populate_physmap), and returns how many of these extents it did. Each
// is done as a whole or not at all, in one page where the machine has one.
// There must be nothing, or PoD memory, where they go.
//
// The caller bounds len(gfns), and goes on later with the rest.
func (s *Space) PopulatePhysmap(gfns []GFN, order uint) (done int, err error) {
	for _, g := range gfns {
		if err := s.populateExtent(g, order); err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

func (s *Space) populateExtent(g GFN, order uint) error {
	if err := checkRange(g, order); err != nil {
		return err
	}
	leaf := min(order/tableBits*tableBits, s.p2m.cfg.MaxOrder)
	end := g + 1<<order
	for at := g; at < end; {
		o, err := s.populate(at, leaf, true, vacant, nil)
		if err != nil {
			if at > g {
				s.undo(g, at)
			}
			return err
		}
		leaf = o // no larger block was free: don't ask for one again
		at += 1 << o
	}
	return nil
}

// undo takes away what populateExtent just made.
func (s *Space) undo(start, end GFN) {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	// A guest that uses the frames already may keep some: they are its own.
	_ = s.removeRange(start, end)
	s.settle()
}

// vacant tells whether a page may be made there.
func vacant(t Type) bool { return t == TypeNone || t == TypePoD }

// populate maps one page at g, of the given order (0, 9 or 18), or if smaller is
// set and there is no such block, of a smaller one. It returns the order. What
// is there before has to be of a type that room takes; cleared is told as the
// page is cleared.
func (s *Space) populate(g GFN, order uint, smaller bool, room func(Type) bool, cleared func(n uint64) error) (uint, error) {
	return s.populateWithin(s.max.Load(), g, order, smaller, room, cleared)
}

// populateWithin is populate with a limit of the domain's frames.
func (s *Space) populateWithin(limit uint64, g GFN, order uint, smaller bool, room func(Type) bool, cleared func(n uint64) error) (uint, error) {
	var m MFN
	for {
		if err := s.charge(1<<order, limit); err != nil {
			return 0, err
		}
		var ok bool
		if m, ok = s.mem.AllocFrames(order, FrameGuest, s.dom, ZoneAny); ok {
			break
		}
		s.uncharge(1 << order)
		if order == 0 || !smaller {
			return 0, fmt.Errorf("domain %d: no block of %d frames for guest frame %#x: %w", s.dom, 1<<order, g, ErrNoMemory)
		}
		order -= tableBits
	}
	err := s.fill(g, m, order, room, cleared)
	if err != nil {
		s.mem.FreeFrames(m, order)
		s.uncharge(1 << order)
	}
	return order, err
}

// fill clears a block and maps it where there is room.
func (s *Space) fill(g GFN, m MFN, order uint, room func(Type) bool, cleared func(n uint64) error) error {
	for i := MFN(0); i < 1<<order; i++ {
		s.mem.Page(m + i).Clear()
		if cleared != nil && i%tableEntries == tableEntries-1 {
			if err := cleared(uint64(i) + 1); err != nil {
				return fmt.Errorf("domain %d: populate guest frame %#x: %w", s.dom, g, err)
			}
		}
	}
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	for at := g; at < g+1<<order; {
		e := s.p2m.Lookup(at)
		if !room(e.Type) {
			return fmt.Errorf("domain %d, guest frame %#x (%v): %w", s.dom, at, e.Type, ErrOccupied)
		}
		at = (at>>e.Order + 1) << e.Order
	}
	return s.p2m.mapLocked(g, m, order, TypeRAM)
}

// charge takes n frames, of limit that the domain may have.
func (s *Space) charge(n, limit uint64) error {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	tot := s.tot.Load()
	if tot > limit || n > limit-tot {
		return fmt.Errorf("domain %d has %d frames of at most %d, and wants %d more: %w", s.dom, tot, limit, n, ErrQuota)
	}
	s.tot.Store(tot + n)
	return nil
}

func (s *Space) uncharge(n uint64) {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	s.tot.Add(-n)
}
