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

// FrameLists is what changes the free lists of Frames, under the machine's lock
// for them: Locked on a host; on bare metal a call of the kernel, because a
// goroutine that holds a spin lock can be preempted.
type FrameLists interface {
	Take(order uint, kind FrameKind, zone Zone) (MFN, bool)
	Release(m MFN, order uint, kind FrameKind)
	Stats() FrameStats
}

// Locked is FrameLists for goroutines that share f and nothing else.
func Locked(f *Frames, l sync.Locker) FrameLists { return &locked{f, l} }

type locked struct {
	frames *Frames
	lock   sync.Locker
}

func (l *locked) Take(order uint, kind FrameKind, zone Zone) (MFN, bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.frames.Take(order, kind, zone)
}

func (l *locked) Release(m MFN, order uint, kind FrameKind) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.frames.Release(m, order, kind)
}

func (l *locked) Stats() FrameStats {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.frames.Stats()
}

// Pool is Frames for Go code.
type Pool struct {
	DirectMap
	frames *Frames
	lists  FrameLists
}

// NewPool makes a Pool. The lists' lock is held for a bounded, short time, never
// while pages are cleared or described.
func NewPool(f *Frames, lists FrameLists, dm DirectMap) *Pool {
	return &Pool{dm, f, lists}
}

// AllocFrames implements FrameMemory.
func (p *Pool) AllocFrames(order uint, kind FrameKind, owner DomID, zone Zone) (MFN, bool) {
	m, ok := p.lists.Take(order, kind, zone)
	if ok {
		p.frames.label(m, order, kind, owner)
	}
	return m, ok
}

// FreeFrames implements FrameMemory.
func (p *Pool) FreeFrames(m MFN, order uint) FrameStatus {
	kind, s := p.frames.strip(m, order)
	if s == FrameOK {
		p.lists.Release(m, order, kind)
	}
	return s
}

// Frames implements FrameMemory.
func (p *Pool) Frames() *Frames { return p.frames }

// Stats returns the machine's counts.
func (p *Pool) Stats() FrameStats { return p.lists.Stats() }

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
