package pvmmu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"nidus/mm"
)

// Type is what a frame is used as.
type Type uint8

// The types. L2Hole is the L2 table of a 32-bit guest's highest GiB, the end of which is the
// hypervisor's. Writable is a frame that is, or was last, mapped or held to be written.
const (
	None Type = iota
	L1
	L2
	L3
	L4
	L2Hole
	Descriptors
	Writable
	numTypes
)

var typeNames = [numTypes]string{"none", "L1", "L2", "L3", "L4", "L2 with the hypervisor's part", "descriptors", "writable"}

// String names the type.
func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return "unknown"
}

// level is a page table's, 1 to 4; 0 for what is none.
func (t Type) level() int {
	switch {
	case t == L2Hole:
		return 2
	case t <= L4:
		return int(t)
	}
	return 0
}

// maxCount bounds the type references to a frame. A guest has to make that many entries.
const maxCount = 1 << 30

// maxLinear bounds the entries that refer to a table of their own level, of one table and
// to one table.
const maxLinear = 1<<15 - 1

// word is what Types knows of a frame: references (32 bits), Type, flags, and the entries
// to tables of the same level: more than 0 if it has such, less if such refer to it.
type word uint64

const (
	typeShift        = 32
	validated   word = 1 << 36 // a table whose entries are checked and hold references
	changing    word = 1 << 37 // somebody makes another type of it; without references
	pinned      word = 1 << 38 // one reference is the guest's own wish
	linearShift      = 48
	typeBits    word = 0xf << typeShift
	linearUnit  word = 1 << linearShift
	linearBits  word = 0xffff << linearShift
	wordWithOne      = word(1)
	noType      word = 0
)

func (w word) count() uint32 { return uint32(w) }
func (w word) typ() Type     { return Type(w & typeBits >> typeShift) }
func (w word) is(f word) bool {
	return w&f != 0
}
func (w word) linear() int16 { return int16(w >> linearShift) }

// table tells whether w is a page table that is ready for use.
func (w word) table() bool { return w.is(validated) && w.typ().level() > 0 }

// FrameType is the entry of one frame in the table that Types works on: 16 bytes without
// pointers, all zero at first.
type FrameType struct {
	w atomic.Uint64
	// since is the time, in flushes of Types, when the frame was last taken out of
	// somebody's page tables: who was flushed later has no translation to it.
	since atomic.Uint64
}

func (f *FrameType) load() word           { return word(f.w.Load()) }
func (f *FrameType) store(w word)         { f.w.Store(uint64(w)) }
func (f *FrameType) cas(old, n word) bool { return f.w.CompareAndSwap(uint64(old), uint64(n)) }

// Types is the machine's table of types. One is shared by all domains.
type Types struct {
	frames  []FrameType
	clock   atomic.Uint64
	domains sync.Map // of mm.DomID to *Domain
}

// NewTypes makes the table of a machine whose frames are all below len(frames). frames is
// zeroed memory that stays mapped.
func NewTypes(frames []FrameType) *Types {
	t := &Types{frames: frames}
	t.clock.Store(1)
	return t
}

// at returns a frame's entry, nil beyond the table.
//
//go:nosplit
func (t *Types) at(m mm.MFN) *FrameType {
	if uint64(m) >= uint64(len(t.frames)) {
		return nil
	}
	return &t.frames[m]
}

// touch notes that a translation to the frame was taken away just now.
//
//go:nosplit
func (t *Types) touch(f *FrameType) {
	now := t.clock.Load()
	for {
		s := f.since.Load()
		if s >= now || f.since.CompareAndSwap(s, now) {
			return
		}
	}
}

// settle flushes what may be left of translations to a frame of owner.
func (t *Types) settle(f *FrameType, owner mm.DomID) {
	if d, ok := t.domains.Load(owner); ok {
		d.(*Domain).flushSince(f.since.Load())
	}
}

// retype makes a frame without references one of another type with one reference. It
// returns false if the frame changed meanwhile.
func (t *Types) retype(f *FrameType, was word, to Type, owner mm.DomID) bool {
	n := word(to)<<typeShift | wordWithOne
	switch was.typ() {
	case None, to:
		return f.cas(was, n)
	}
	// Nobody takes or changes it while it is flushed.
	if !f.cas(was, was|changing) {
		return false
	}
	t.settle(f, owner)
	f.store(n)
	return true
}

// wait lets somebody finish a change.
func wait() { runtime.Gosched() }

// GetWritable takes a writable reference to a frame: until PutWritable it is nobody's page
// table and holds no descriptors. It returns false if it is one. The caller has a reference
// to the frame, and owner has it. It implements mm's TypeRefs.
func (t *Types) GetWritable(m mm.MFN, owner mm.DomID) bool {
	return t.getWritable(m, owner) == nil
}

func (t *Types) getWritable(m mm.MFN, owner mm.DomID) error {
	f := t.at(m)
	if f == nil {
		return ErrFrame
	}
	for {
		w := f.load()
		switch {
		case w.is(changing):
			wait()
		case w.count() == 0:
			if t.retype(f, w, Writable, owner) {
				return nil
			}
		case w.typ() != Writable:
			return ErrType
		case w.count() >= maxCount:
			return ErrCount
		case f.cas(w, w+1):
			return nil
		}
	}
}

// PutWritable gives a writable reference back.
//
//go:nosplit
func (t *Types) PutWritable(m mm.MFN) {
	f := t.at(m)
	for {
		w := f.load()
		if w.typ() != Writable || w.count() == 0 {
			panic("pvmmu: PutWritable without GetWritable")
		}
		if f.cas(w, w-1) {
			return
		}
	}
}

// Info is what Types knows of a frame, for people and tests.
type Info struct {
	Type      Type
	Count     uint32
	Validated bool
	Pinned    bool
	Linear    int16
}

// Info describes a frame.
func (t *Types) Info(m mm.MFN) Info {
	f := t.at(m)
	if f == nil {
		return Info{}
	}
	w := f.load()
	return Info{w.typ(), w.count(), w.is(validated), w.is(pinned), w.linear()}
}
