package mm

import "sync/atomic"

// maxRefs bounds the references to one frame; a guest that makes more gets an
// error long before the count wraps.
const maxRefs = 1<<31 - 1

// frameState is FrameInfo.state taken apart.
type frameState uint64

func makeState(refs uint32, owner DomID, kind FrameKind) frameState {
	return frameState(refs) | frameState(owner)<<32 | frameState(kind)<<48
}

func makeFree(order uint) frameState {
	return frameState(frameFree)<<48 | frameState(order)<<56
}

func (s frameState) refs() uint32    { return uint32(s) }
func (s frameState) owner() DomID    { return DomID(s >> 32) }
func (s frameState) kind() FrameKind { return FrameKind(s >> 48) }
func (s frameState) order() uint     { return uint(s >> 56) }

func usable(k FrameKind) bool { return k > frameFree && k < numKinds }

func (e *FrameInfo) load() frameState   { return frameState(atomic.LoadUint64(&e.state)) }
func (e *FrameInfo) store(s frameState) { atomic.StoreUint64(&e.state, uint64(s)) }
func (e *FrameInfo) cas(o, n frameState) bool {
	return atomic.CompareAndSwapUint64(&e.state, uint64(o), uint64(n))
}

// freeze takes the last of refs (0 or 1) references away, so that nobody can
// take one any more.
func (e *FrameInfo) freeze(kind FrameKind, refs uint32) FrameStatus {
	for {
		s := e.load()
		switch {
		case s.kind() != kind:
			return FrameBadState
		case s.refs() > refs:
			return FrameBusy
		case s.refs() < refs:
			return FrameBadState
		case e.cas(s, s-frameState(refs)):
			return FrameOK
		}
	}
}

// thaw gives a frame without references one back.
func (e *FrameInfo) thaw() {
	if s := e.load(); s.refs() == 0 && usable(s.kind()) {
		e.cas(s, s+1)
	}
}

// Frame is what Info tells of a frame.
type Frame struct {
	Kind  FrameKind
	Owner DomID
	Refs  uint32
}

// Info describes a used frame; the zero Frame is one that is free, not RAM, or
// beyond the table.
func (f *Frames) Info(mfn MFN) Frame {
	if uint64(mfn) >= uint64(len(f.meta)) {
		return Frame{}
	}
	s := f.meta[mfn].load()
	if !usable(s.kind()) {
		return Frame{}
	}
	return Frame{s.kind(), s.owner(), s.refs()}
}

// Owned tells whether a frame is used memory of a guest's, the owner's.
//
//go:nosplit
func (f *Frames) Owned(mfn MFN, owner DomID) bool {
	return uint64(mfn) < uint64(len(f.meta)) && f.meta[mfn].load()>>32&0xffffff == frameState(owner)|frameState(FrameGuest)<<16
}

// Ref takes a reference to a frame of owner: until Unref it is not freed and
// changes neither owner nor kind.
//
//go:nosplit
func (f *Frames) Ref(mfn MFN, owner DomID) FrameStatus {
	if uint64(mfn) >= uint64(len(f.meta)) {
		return FrameBadRange
	}
	e := &f.meta[mfn]
	for {
		s := e.load()
		switch {
		case !usable(s.kind()) || s.owner() != owner || s.refs() == 0:
			return FrameBadState
		case s.refs() >= maxRefs:
			return FrameOverflow
		case e.cas(s, s+1):
			return FrameOK
		}
	}
}

// Unref gives a reference back. After the last one nobody can take another; the
// caller then has to Free the frame.
//
//go:nosplit
func (f *Frames) Unref(mfn MFN) (last bool, s FrameStatus) {
	if uint64(mfn) >= uint64(len(f.meta)) {
		return false, FrameBadRange
	}
	e := &f.meta[mfn]
	for {
		s := e.load()
		if !usable(s.kind()) || s.refs() == 0 {
			return false, FrameBadState
		}
		if e.cas(s, s-1) {
			return s.refs() == 1, FrameOK
		}
	}
}

// Claim takes the owner's own reference of each frame of a block away, if there
// is no other: from then on nobody can take one, and the caller either frees
// the block, once it is unmapped and flushed, or undoes it with Unclaim. If it
// fails, nothing has changed.
func (f *Frames) Claim(mfn MFN, order uint, owner DomID) FrameStatus {
	if s := f.block(mfn, order); s != FrameOK {
		return s
	}
	for i := MFN(0); i < 1<<order; i++ {
		if s := f.meta[mfn+i].claim(owner); s != FrameOK {
			f.unclaim(mfn, i)
			return s
		}
	}
	return FrameOK
}

func (e *FrameInfo) claim(owner DomID) FrameStatus {
	for {
		s := e.load()
		switch {
		case !usable(s.kind()) || s.owner() != owner || s.refs() == 0:
			return FrameBadState
		case s.refs() > 1:
			return FrameBusy
		case e.cas(s, s-1):
			return FrameOK
		}
	}
}

// Unclaim undoes Claim.
func (f *Frames) Unclaim(mfn MFN, order uint) {
	if f.block(mfn, order) == FrameOK {
		f.unclaim(mfn, 1<<order)
	}
}

func (f *Frames) unclaim(mfn, n MFN) {
	for i := MFN(0); i < n; i++ {
		f.meta[mfn+i].thaw()
	}
}

// Disown gives back the reference that a frame's owner has, and leaves the frame to
// those who hold it: it is nobody's (DomIDInvalid) until the last of them frees it.
// last says that there is none, and that the caller has to free it.
func (f *Frames) Disown(mfn MFN, owner DomID) (last bool, s FrameStatus) {
	if uint64(mfn) >= uint64(len(f.meta)) {
		return false, FrameBadRange
	}
	e := &f.meta[mfn]
	for {
		s := e.load()
		if !usable(s.kind()) || s.owner() != owner || s.refs() == 0 {
			return false, FrameBadState
		}
		if e.cas(s, makeState(s.refs()-1, DomIDInvalid, s.kind())) {
			return s.refs() == 1, FrameOK
		}
	}
}

// SetOwner moves a frame that only its owner references to another domain. The
// caller has flushed every translation to it.
func (f *Frames) SetOwner(mfn MFN, from, to DomID) FrameStatus {
	if uint64(mfn) >= uint64(len(f.meta)) {
		return FrameBadRange
	}
	e := &f.meta[mfn]
	for {
		s := e.load()
		switch {
		case !usable(s.kind()) || s.owner() != from || s.refs() == 0:
			return FrameBadState
		case s.refs() > 1:
			return FrameBusy
		case e.cas(s, makeState(1, to, s.kind())):
			return FrameOK
		}
	}
}

// GFN returns what SetGFN stored, InvalidGFN at first.
func (f *Frames) GFN(mfn MFN) GFN {
	if f.Info(mfn).Kind == FrameNone {
		return InvalidGFN
	}
	e := &f.meta[mfn]
	return GFN(e.prev)<<32 | GFN(e.next)
}

// SetGFN notes where in a domain a used frame is mapped. The caller serialises
// it with GFN for the same frame.
func (f *Frames) SetGFN(mfn MFN, g GFN) {
	if f.Info(mfn).Kind == FrameNone {
		return
	}
	e := &f.meta[mfn]
	e.next, e.prev = uint32(g), uint32(g>>32)
}
