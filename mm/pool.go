package mm

import "sync"

// DirectMap reaches a machine frame of RAM.
type DirectMap interface {
	Page(m MFN) Page
}

// FrameMemory is the machine's memory as a domain's Space uses it. Pool is the
// one that there is; a test may put a check in between.
type FrameMemory interface {
	TableMemory
	DirectMap
	// AllocFrames is Frames.Alloc.
	AllocFrames(order uint, kind FrameKind, owner DomID, zone Zone) (MFN, bool)
	// FreeFrames is Frames.Free.
	FreeFrames(m MFN, order uint) FrameStatus
	// Frames gives access to the methods of Frames that need no lock.
	Frames() *Frames
}

// Pool is Frames for Go code: it takes the lock.
type Pool struct {
	DirectMap
	frames *Frames
	lock   sync.Locker
}

// NewPool makes a Pool. The lock is the machine's lock for f: it is held for a
// bounded, short time, never while pages are cleared or described.
func NewPool(f *Frames, lock sync.Locker, dm DirectMap) *Pool {
	return &Pool{dm, f, lock}
}

// AllocFrames implements FrameMemory.
func (p *Pool) AllocFrames(order uint, kind FrameKind, owner DomID, zone Zone) (MFN, bool) {
	p.lock.Lock()
	m, ok := p.frames.take(order, kind, zone)
	p.lock.Unlock()
	if ok {
		p.frames.label(m, order, kind, owner)
	}
	return m, ok
}

// FreeFrames implements FrameMemory.
func (p *Pool) FreeFrames(m MFN, order uint) FrameStatus {
	kind, s := p.frames.strip(m, order)
	if s == FrameOK {
		p.lock.Lock()
		p.frames.release(m, order, kind)
		p.lock.Unlock()
	}
	return s
}

// Frames implements FrameMemory.
func (p *Pool) Frames() *Frames { return p.frames }

// Stats returns the machine's counts.
func (p *Pool) Stats() FrameStats {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.frames.Stats()
}

// AllocTable implements TableMemory.
func (p *Pool) AllocTable(owner DomID) (MFN, bool) {
	m, ok := p.AllocFrames(0, FrameTable, owner, ZoneAny)
	if ok {
		p.Page(m).Clear()
	}
	return m, ok
}

// FreeTable implements TableMemory.
func (p *Pool) FreeTable(m MFN) {
	if s := p.FreeFrames(m, 0); s != FrameOK {
		panic("mm: page table freed twice: " + s.String())
	}
}

// Table implements TableMemory.
func (p *Pool) Table(m MFN) *Table { return p.Page(m).Table() }
