package mm

import "fmt"

// A PV domain sees the machine's own frame numbers: a guest frame is a machine frame.
// Its Space is direct: what is behind g is frame g if the domain owns it. Who writes to
// a frame besides the guest holds it as writable, so that it is no page table meanwhile.

// TypeRefs counts who may write to a frame of a PV domain (package mm/pvmmu).
type TypeRefs interface {
	// GetWritable makes m, to which the caller has a reference, writable if owner has it
	// and it is, or can become, of that type.
	GetWritable(m MFN, owner DomID) bool
	// PutWritable ends one GetWritable.
	PutWritable(m MFN)
}

// Direct makes a Space that of a PV domain.
type Direct struct {
	Types TypeRefs
	M2P   *M2P
}

type direct struct {
	Direct
	low, high MFN // what the domain ever had lies in [low, high)
}

// holdDirect is hold of a PV domain.
func (s *Space) holdDirect(g GFN, n need) (MFN, error) {
	m := MFN(g)
	// No table of the domain's is referenced, not for a moment: who frees it must be alone.
	if s.mem.Frames().Info(m).Kind != FrameGuest || s.mem.Frames().Ref(m, s.dom) != FrameOK {
		return 0, &AddressError{s.dom, g, TypeNone}
	}
	switch write := n == toWrite || n == toPin; {
	case s.mem.Frames().Info(m).Kind != FrameGuest, write && !s.direct.Types.GetWritable(m, s.dom):
		s.drop(m)
		return 0, &AddressError{s.dom, g, TypeNone}
	}
	return m, nil
}

// put gives back what hold returned.
func (s *Space) put(m MFN, written bool) {
	if written && s.direct != nil {
		s.direct.Types.PutWritable(m)
	}
	s.drop(m)
}

// AllocDirect gives a PV domain a block of 1<<order cleared frames. They have no entry
// in the machine-to-physical table yet. The error wraps ErrQuota or ErrNoMemory.
func (s *Space) AllocDirect(order uint, zone Zone) (MFN, error) {
	if err := s.Charge(1 << order); err != nil {
		return 0, err
	}
	m, err := s.FreshFrames(order, zone)
	if err != nil {
		s.Uncharge(1 << order)
		return 0, err
	}
	s.GiveFresh(m, order)
	return m, nil
}

// Charge counts n frames more against the domain's quota; the error wraps ErrQuota.
func (s *Space) Charge(n uint64) error { return s.charge(n, s.max.Load()) }

// Uncharge undoes Charge.
func (s *Space) Uncharge(n uint64) { s.uncharge(n) }

// FreshFrames makes a block of cleared frames that are not the domain's before GiveFresh,
// so that no vcpu of it finds them by guessing; FreeFresh gives them back instead. They
// don't count. The error wraps ErrNoMemory.
func (s *Space) FreshFrames(order uint, zone Zone) (MFN, error) {
	m, ok := s.mem.AllocFrames(order, FrameGuest, DomIDXen, zone)
	if !ok {
		return 0, fmt.Errorf("domain %d: no block of %d frames: %w", s.dom, 1<<order, ErrNoMemory)
	}
	for i := range MFN(1) << order {
		s.mem.Page(m + i).Clear()
	}
	return m, nil
}

// GiveFresh makes a block of FreshFrames the domain's.
func (s *Space) GiveFresh(m MFN, order uint) {
	s.p2m.mu.Lock()
	defer s.p2m.mu.Unlock()
	if s.direct.high == 0 {
		s.direct.low = m
	}
	s.direct.low = min(s.direct.low, m)
	s.direct.high = max(s.direct.high, m+1<<order)
	for i := range MFN(1) << order {
		if st := s.mem.Frames().SetOwner(m+i, DomIDXen, s.dom); st != FrameOK {
			panic("mm: a fresh frame has no other owner: " + st.String())
		}
	}
}

// FreeFresh gives a block of FreshFrames back.
func (s *Space) FreeFresh(m MFN, order uint) {
	if st := s.mem.FreeFrames(m, order); st != FrameOK {
		panic("mm: a fresh frame can't be freed: " + st.String())
	}
}

// FreeDirect takes a frame from a PV domain that the caller has claimed: nobody uses it, it
// is of no type, and no CPU has a translation to it (pvmmu.Domain.Claim).
func (s *Space) FreeDirect(m MFN) {
	s.TakeDirect(m)
	s.uncharge(1)
}

// TakeDirect is FreeDirect for a frame in whose place another one counts.
func (s *Space) TakeDirect(m MFN) {
	s.direct.M2P.Set(m, InvalidM2P)
	if st := s.mem.FreeFrames(m, 0); st != FrameOK {
		panic("mm: a claimed frame can't be freed: " + st.String())
	}
}

// releaseDirect is Release of a PV domain: all types are gone.
func (s *Space) releaseDirect(n int) (done bool) {
	d, f := s.direct, s.mem.Frames()
	for m := d.low; m < d.high; m++ {
		if i := f.Info(m); i.Owner != s.dom || i.Kind != FrameGuest {
			continue
		}
		if n--; n < 0 {
			d.low = m
			return false
		}
		if f.Claim(m, 0, s.dom) == FrameOK {
			s.FreeDirect(m)
			continue
		}
		d.M2P.Set(m, InvalidM2P)
		last, st := f.Disown(m, s.dom) // whoever holds it frees it
		if st != FrameOK {
			panic("mm: a domain's frame that is not its own: " + st.String())
		}
		if last {
			s.mem.FreeFrames(m, 0)
		}
		s.uncharge(1)
	}
	d.low = d.high
	s.p2m.Destroy()
	return true
}

// Direct tells whether the Space is a PV domain's.
func (s *Space) Direct() bool { return s.direct != nil }
