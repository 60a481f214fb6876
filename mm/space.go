package mm

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// What operations on a domain's memory fail with, besides the errors of P2M.
var (
	ErrQuota    = errors.New("more memory than the domain may have (maxmem)")
	ErrNoMemory = errors.New("the machine has not enough free memory")
	ErrOccupied = errors.New("there is memory at this guest frame already")
	ErrBusy     = errors.New("the frame is in use by the hypervisor or another domain")
)

// SpaceConfig is what a Space is made of.
type SpaceConfig struct {
	Owner     DomID
	Memory    FrameMemory
	Flusher   Flusher
	Format    *Format
	MaxOrder  uint   // largest page that the CPU knows: 9 or 18
	MaxTables int    // quota of page tables, in frames
	MaxPages  uint64 // quota of memory, in frames
	// Direct is nil for a domain with nested paging.
	Direct *Direct
}

// Space is the memory of a domain: one with nested paging, or a PV domain (Direct). It
// implements GuestMemory, and the parts of XENMEM_* (memory.h) that change a domain's own
// memory.
//
// Each frame of RAM is behind one guest frame and has one reference for that.
// Who reaches it takes another (Pin); meanwhile the guest frame can't lose it.
type Space struct {
	p2m *P2M
	mem FrameMemory
	dom DomID
	tot atomic.Uint64 // changed with p2m.mu held, as all below
	max atomic.Uint64

	demand atomic.Uint64 // LimitDemand's; 0: none
	swept  GFN           // reclaim goes on from here

	// Frames that were unmapped and wait for a flush.
	old  [32]oldFrames
	nold int
	// Release goes on from here.
	cursor GFN
	kept   uint64

	direct *direct // of a PV domain
}

// oldFrames is a block that was behind a guest frame.
type oldFrames struct {
	mfn   MFN
	order uint
	typ   Type
}

var _ GuestMemory = (*Space)(nil)

// NewSpace makes the empty memory of a domain.
func NewSpace(c SpaceConfig) (*Space, error) {
	p, err := NewP2M(P2MConfig{
		Owner: c.Owner, Format: c.Format, Memory: c.Memory, Flusher: c.Flusher,
		MaxTables: c.MaxTables, MaxOrder: c.MaxOrder,
	})
	if err != nil {
		return nil, err
	}
	s := &Space{p2m: p, mem: c.Memory, dom: c.Owner}
	s.max.Store(c.MaxPages)
	if c.Direct != nil {
		s.direct = &direct{Direct: *c.Direct}
	}
	return s, nil
}

// P2M returns the domain's nested page table. What has a frame is mapped and unmapped
// by the Space only; ChangeType may be used on RAM.
func (s *Space) P2M() *P2M { return s.p2m }

// TotPages returns how many frames of RAM the domain has.
func (s *Space) TotPages() uint64 { return s.tot.Load() }

// MaxPages returns how many it may have.
func (s *Space) MaxPages() uint64 { return s.max.Load() }

// SetMaxPages changes the quota. What the domain has already, it keeps.
func (s *Space) SetMaxPages(n uint64) { s.max.Store(n) }

// need says what an access wants.
type need uint8

const (
	toRead  need = iota // RAM or a special frame
	toWrite             // the same, writable by the guest
	toPin               // writable RAM
	toHold              // any RAM
)

// allows tells whether an access may reach memory of this type, and who owns it
// then.
func (s *Space) allows(t Type, n need) (DomID, bool) {
	switch {
	case t == TypeRAM || t.IsRAM() && (n == toRead || n == toHold):
		return s.dom, true
	case t == TypeSpecial && n < toPin:
		return DomIDXen, true
	}
	return 0, false
}

// AddressError is the error for an access to a guest frame whose type does not
// allow it. It wraps ErrBadAddress, and is cheap, because a guest can have one
// with every hypercall.
type AddressError struct {
	Domain DomID
	Frame  GFN
	Type   Type
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("domain %d, guest frame %#x (%v): %v", e.Domain, e.Frame, e.Type, ErrBadAddress)
}

// Unwrap returns ErrBadAddress.
func (e *AddressError) Unwrap() error { return ErrBadAddress }

// hold finds the frame behind g and takes a reference to it. Memory on demand is
// made first, as if the guest itself had touched it: a buffer that the hypervisor
// is the first to use is as good as any. An error is one of Demand's then.
//
// A frame that can't be had for a moment, such as one that reclaim looks at, is waited
// for: that is not the guest's doing.
//
// near may be nil.
func (s *Space) hold(g GFN, n need, near *Near) (MFN, error) {
	if s.direct != nil {
		return s.holdDirect(g, n)
	}
	for range 16 {
		m, changing, err := s.tryHold(g, n, near)
		if changing {
			s.p2m.mu.Lock() // nothing changes now
			m, changing, err = s.tryHold(g, n, nil)
			s.p2m.mu.Unlock()
		}
		switch {
		case changing:
			return 0, fmt.Errorf("domain %d, guest frame %#x is going: %w", s.dom, g, ErrBadAddress)
		case err != errOnDemand:
			return m, err
		}
		if _, err := s.Demand(g); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("domain %d, guest frame %#x is being changed all the time: %w", s.dom, g, ErrBadAddress)
}

// errOnDemand says that a frame has to be made first.
var errOnDemand = errors.New("memory on demand")

// tryHold is hold of what is there, or errOnDemand. The frame may lose its place between
// the look-up and the reference, which changing tells: it has not if it is still there
// after it.
func (s *Space) tryHold(g GFN, n need, near *Near) (m MFN, changing bool, err error) {
	e, w := s.p2m.lookNear(g, near)
	if e.Type == TypePoD {
		return 0, false, errOnDemand
	}
	owner, ok := s.allows(e.Type, n)
	if !ok {
		return 0, false, &AddressError{s.dom, g, e.Type}
	}
	switch st := s.mem.Frames().Ref(e.MFN, owner); {
	case st == FrameOverflow:
		return 0, false, fmt.Errorf("domain %d, guest frame %#x: %v: %w", s.dom, g, st, ErrBusy)
	case st != FrameOK:
		return 0, true, nil
	}
	if s.p2m.still(w) {
		return e.MFN, false, nil
	}
	s.drop(e.MFN)
	return 0, true, nil
}

// drop gives back a reference, and the frame if it was the last.
func (s *Space) drop(m MFN) {
	if last, _ := s.mem.Frames().Unref(m); last {
		s.mem.FreeFrames(m, 0)
	}
}

// ReadPhys implements GuestMemory.
func (s *Space) ReadPhys(a GuestPhys, dst []byte) error {
	for len(dst) > 0 {
		m, err := s.hold(a.Frame(), toRead, nil)
		if err != nil {
			return err
		}
		off := int(a.Offset())
		n := min(len(dst), PageSize-off)
		s.mem.Page(m).Read(off, dst[:n])
		s.drop(m)
		dst, a = dst[n:], a+GuestPhys(n)
	}
	return nil
}

// WritePhys implements GuestMemory.
func (s *Space) WritePhys(a GuestPhys, src []byte) error {
	for len(src) > 0 {
		m, err := s.hold(a.Frame(), toWrite, nil)
		if err != nil {
			return err
		}
		off := int(a.Offset())
		n := min(len(src), PageSize-off)
		s.mem.Page(m).Write(off, src[:n])
		s.put(m, true)
		src, a = src[n:], a+GuestPhys(n)
	}
	return nil
}

// Pin implements GuestMemory.
func (s *Space) Pin(g GFN) (Page, error) {
	m, err := s.hold(g, toPin, nil)
	if err != nil {
		return Page{}, err
	}
	return s.mem.Page(m), nil
}

// Unpin implements GuestMemory.
func (s *Space) Unpin(g GFN) {
	if s.direct != nil {
		s.put(MFN(g), true)
		return
	}
	e := s.p2m.Lookup(g)
	if !e.Type.own() {
		panic("mm: Unpin of a guest frame without memory")
	}
	if last, st := s.mem.Frames().Unref(e.MFN); last || st != FrameOK {
		panic("mm: Unpin without Pin")
	}
}

// Hold returns the machine frame of ordinary memory at g, writable if write is set,
// and holds it as Pin does, until Drop: for who gives it to a device, or to a backend.
func (s *Space) Hold(g GFN, write bool) (MFN, error) { return s.HoldNear(g, write, nil) }

// HoldNear is Hold for who holds many frames in turn, which are often neighbours.
func (s *Space) HoldNear(g GFN, write bool, near *Near) (MFN, error) {
	if write {
		return s.hold(g, toPin, near)
	}
	return s.hold(g, toHold, near)
}

// Drop ends one Hold that returned m, for the same access. If the domain's memory was
// released meanwhile, the last Drop frees the frame.
func (s *Space) Drop(m MFN, write bool) {
	if write && s.direct != nil {
		s.direct.Types.PutWritable(m)
	}
	last, st := s.mem.Frames().Unref(m)
	switch {
	case st != FrameOK || last && s.mem.Frames().Info(m).Owner != DomIDInvalid:
		panic("mm: Drop without Hold")
	case last:
		s.mem.FreeFrames(m, 0)
	}
}

// Page returns the page of a frame that Hold returned.
func (s *Space) Page(m MFN) Page { return s.mem.Page(m) }

// retire puts a block on the list of those that are freed after the next flush.
// The lock is held.
func (s *Space) retire(m MFN, order uint, t Type) {
	if s.nold == len(s.old) {
		s.settle()
	}
	s.old[s.nold] = oldFrames{m, order, t}
	s.nold++
}

// settle flushes, and frees what waits for that. The lock is held.
func (s *Space) settle() {
	s.p2m.flush()
	for _, o := range s.old[:s.nold] {
		switch {
		case o.typ.IsRAM():
			if st := s.mem.FreeFrames(o.mfn, o.order); st != FrameOK {
				panic("mm: claimed frames can't be freed: " + st.String())
			}
			s.tot.Add(-(uint64(1) << o.order))
		case o.typ == TypeBroken: // nobody's any more, and never free
			s.mem.Frames().Unclaim(o.mfn, o.order)
			for i := MFN(0); i < 1<<o.order; i++ {
				s.mem.Frames().SetOwner(o.mfn+i, s.dom, DomIDXen)
			}
			s.tot.Add(-(uint64(1) << o.order))
		default:
			s.drop(o.mfn)
		}
	}
	s.nold = 0
}

// remove takes away what is behind g and 1<<order frames from there, which are
// one page or a part of one, e. The frames are retired. The lock is held.
func (s *Space) remove(g GFN, order uint, e Entry) error {
	if err := s.claim(g, order, e); err != nil {
		return err
	}
	if err := s.p2m.unmapLocked(g, order); err != nil {
		s.unclaim(order, e)
		return err
	}
	s.removed(order, e)
	return nil
}

// claim makes sure that what is behind g may go.
func (s *Space) claim(g GFN, order uint, e Entry) error {
	switch {
	case e.Type.own():
		if st := s.mem.Frames().Claim(e.MFN, order, s.dom); st != FrameOK {
			return fmt.Errorf("domain %d, guest frame %#x: %v: %w", s.dom, g, st, ErrBusy)
		}
	case e.Type == TypeGrantRW || e.Type == TypeGrantRO:
		return fmt.Errorf("domain %d, guest frame %#x is a grant, which has to be unmapped as such: %w", s.dom, g, ErrBusy)
	}
	return nil
}

func (s *Space) unclaim(order uint, e Entry) {
	if e.Type.own() {
		s.mem.Frames().Unclaim(e.MFN, order)
	}
}

// removed does what follows when what e says is no longer mapped.
func (s *Space) removed(order uint, e Entry) {
	switch e.Type {
	case TypeSpecial:
		s.mem.Frames().SetGFN(e.MFN, InvalidGFN)
		s.retire(e.MFN, order, e.Type)
	case TypeRAM, TypeRAMRO, TypeLogDirty, TypeBroken, TypeForeign, TypeGrantRW, TypeGrantRO:
		s.retire(e.MFN, order, e.Type)
	}
}
