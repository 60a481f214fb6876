package mm

import (
	"errors"
	"fmt"
)

// Populate on demand: a guest that is promised more memory (maxmem) than it has (memory)
// sees all of it, and is to give the difference back, by its balloon driver, before it has
// written to more than it has. Until then what it has moves: a page that is all zero is as
// good as one that was never touched, and gives its frame to the next.

// MapPoD makes n frames from g on memory that Demand allocates when the guest
// first uses it. They count when they are allocated. There must be nothing yet.
func (s *Space) MapPoD(g GFN, n uint64) error {
	if n == 0 || g >= maxGFN || n > uint64(maxGFN-g) {
		return fmt.Errorf("domain %d: %d frames on demand at %#x: %w", s.dom, n, g, ErrBadRange)
	}
	end := g + GFN(n)
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	for at, e := range s.p2m.All(g, end) {
		return fmt.Errorf("domain %d, guest frame %#x (%v): %w", s.dom, at, e.Type, ErrOccupied)
	}
	return s.p2m.apply(&change{op: opMap, start: g, end: end, to: TypePoD})
}

// LimitDemand makes n frames the most that Demand lets the domain have: at first and
// afterwards no fewer than before. Without it that is the quota.
func (s *Space) LimitDemand(n uint64) {
	for {
		old := s.demand.Load()
		if n <= old || s.demand.CompareAndSwap(old, n) {
			return
		}
	}
}

// demandLimit is how many frames Demand lets the domain have. That is more than the quota
// if the domain was promised more, and has not given it back since it is to have less: who
// is asked to give does not die by the first page that it uses before.
func (s *Space) demandLimit() uint64 {
	if n := s.demand.Load(); n > 0 {
		return n
	}
	return s.max.Load()
}

// given notes that the domain has given n frames back, or a promise of them: it gets them
// again within the quota only.
func (s *Space) given(n uint64) {
	for {
		old, most := s.demand.Load(), s.max.Load()
		if old <= most || s.demand.CompareAndSwap(old, max(old-min(n, old), most)) {
			return
		}
	}
}

func onDemand(t Type) bool { return t == TypePoD }

// Demand allocates memory behind g when it is first used: after a nested page
// fault there, or because the hypervisor reaches for it. It returns false if
// that is none of PoD. Whole pages of 2 MiB are preferred. Where the domain has what
// LimitDemand lets it have, pages of it that are zero are taken back first. The error wraps
// ErrQuota, ErrNoMemory or ErrNoTables.
func (s *Space) Demand(g GFN) (bool, error) {
	e := s.p2m.Lookup(g)
	if e.Type != TypePoD {
		return e.Type.IsRAM(), nil // another vcpu was faster
	}
	order := min(e.Order, tableBits)
	limit := s.demandLimit()
	_, err := s.populateWithin(limit, g>>order<<order, order, false, onDemand, nil)
	if err != nil && order > 0 {
		_, err = s.populateWithin(limit, g, 0, false, onDemand, nil)
	}
	for s.demand.Load() > 0 && errors.Is(err, ErrQuota) && s.reclaim(limit/reclaimWorth+1) {
		_, err = s.populateWithin(limit, g, 0, false, onDemand, nil)
	}
	switch {
	case errors.Is(err, ErrOccupied):
		// Another vcpu made it, or took it away: then nothing may come back,
		// least of all behind Release. What the guest does next finds out.
		t := s.p2m.Lookup(g).Type
		return t.IsRAM() || t == TypePoD, nil
	case errors.Is(err, ErrQuota):
		err = fmt.Errorf("domain %d has written to all of its %d MiB, its balloon driver has not given back in time what is beyond them, and hardly a page is zero (raise memory=, or lower maxmem=): %w",
			s.dom, limit>>(20-PageShift), ErrQuota)
	}
	return err == nil, err
}

const (
	// reclaimBatch is how many pages one flush takes back.
	reclaimBatch = 64
	// reclaimScan is how many frames are looked at with the lock held.
	reclaimScan = 4096
	// reclaimWorth is of how many frames at least one has to be zero.
	reclaimWorth = 1024
)

// reclaim takes frames back that are zero, and makes them memory on demand. It goes on
// where it was the last time, until it has found worth of them, and returns false if there
// are fewer in all of the domain's memory: a guest that lives on the last of them would
// have all its memory looked through for each page that it uses.
func (s *Space) reclaim(worth uint64) bool {
	found := uint64(0)
	for seen := uint64(0); seen <= uint64(maxGFN); {
		freed, n := s.reclaimSome()
		if found += freed; found >= worth {
			return true
		}
		seen += n
	}
	return false
}

// reclaimSome looks at a part of the memory. It returns how many frames it has freed, and
// how many guest frames it has seen.
func (s *Space) reclaimSome() (freed, seen uint64) {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	type candidate struct {
		g GFN
		Entry
	}
	var zero [reclaimBatch]candidate
	n := 0
	for looked := 0; looked < reclaimScan && n < len(zero) && seen <= uint64(maxGFN); {
		g := s.swept
		e := s.p2m.Lookup(g)
		next := (g>>e.Order + 1) << e.Order
		if e.Type == TypeRAM {
			took := g&(1<<e.Order-1) == 0 && s.takeZero(g, e)
			if !took && e.Order > 0 { // not all of a larger page: frame by frame
				e.Order, next = 0, g+1
				took = s.takeZero(g, e)
			}
			looked += 1 << e.Order
			if took {
				zero[n] = candidate{g, e}
				n++
			}
		}
		seen += uint64(next - g)
		if s.swept = next; next >= maxGFN {
			s.swept = 0
		}
	}
	if n == 0 {
		return 0, seen
	}
	s.p2m.flush() // now nobody writes any more
	for _, c := range zero[:n] {
		if s.zero(c.MFN, c.Order) {
			if st := s.mem.FreeFrames(c.MFN, c.Order); st != FrameOK {
				panic("mm: claimed frames can't be freed: " + st.String())
			}
			s.tot.Add(-(uint64(1) << c.Order))
			freed += 1 << c.Order
			continue
		}
		// Written to meanwhile. The entry has kept its table: this can't fail.
		if err := s.p2m.apply(&change{op: opMap, start: c.g, end: c.g + 1<<c.Order, mfn: c.MFN, to: c.Type, keep: true}); err != nil {
			panic("mm: a page can't be put back: " + err.Error())
		}
		s.mem.Frames().Unclaim(c.MFN, c.Order)
	}
	return freed, seen
}

// takeZero claims a page, if it is zero, and makes its place memory on demand. The lock
// is held.
func (s *Space) takeZero(g GFN, e Entry) bool {
	if !s.zero(e.MFN, e.Order) || s.claim(g, e.Order, e) != nil { // or in use
		return false
	}
	if s.p2m.apply(&change{op: opMap, start: g, end: g + 1<<e.Order, to: TypePoD, keep: true}) != nil {
		s.unclaim(e.Order, e)
		return false
	}
	return true
}

// zero tells whether a block is all zero.
func (s *Space) zero(m MFN, order uint) bool {
	for i := MFN(0); i < 1<<order; i++ {
		if !s.mem.Page(m + i).Blank() {
			return false
		}
	}
	return true
}
