package mm

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
)

// What a change of a P2M can fail with.
var (
	ErrNoTables = errors.New("no memory left for the domain's page tables")
	ErrBadRange = errors.New("frame numbers are outside the address space or misaligned")
	ErrBadType  = errors.New("this change of a frame's type has no meaning")
	ErrDestroy  = errors.New("the domain's memory is being destroyed")
)

// TableMemory is where page tables come from.
type TableMemory interface {
	// AllocTable returns a cleared frame for a table of the domain.
	AllocTable(owner DomID) (MFN, bool)
	// FreeTable takes it back.
	FreeTable(m MFN)
	// Table reaches it. The frame stays readable after FreeTable, whatever is
	// in it then.
	Table(m MFN) *Table
}

// Flusher makes the machine forget a domain's stale translations.
type Flusher interface {
	// FlushGuest returns once no CPU uses a translation (TLB or
	// paging-structure cache) that it has from before the call: it makes every
	// CPU that runs a vcpu of the domain leave the guest, and each vcpu
	// invalidate its tag before it enters the guest again, which it does when
	// p.Gen has changed since its last entry. It must not wait for more than
	// the exit: the vcpu's thread may want the lock that the caller holds.
	FlushGuest(p *P2M)
}

// P2MConfig is what a P2M is made of.
type P2MConfig struct {
	Owner     DomID
	Format    *Format
	Memory    TableMemory
	Flusher   Flusher
	MaxTables int  // quota of table frames, the root included
	MaxOrder  uint // largest page that the CPU knows: 9 or 18
}

// P2M says which machine frame is behind each guest frame of a domain: it is the
// domain's nested page table.
//
// Lookups take no lock. Changes take one lock of the domain. A page is as large
// as the alignment of the change allows; a large one is split when a part of it
// changes, and made again when its parts are uniform again.
//
// Flushes: a change of what was mapped (not a new mapping where nothing was)
// leaves a flush due, and says so. Until Flush returns, some CPU may use the old
// translation: what was mapped must not be freed, change its owner or be used
// for anything else before. P2M keeps that rule for its own tables; a caller
// keeps it for the pages. Many changes can share one Flush.
//
// A vcpu marks itself as running, reads Gen, invalidates its tag if Gen is not
// what it saw last, and enters, in this order.
type P2M struct {
	cfg      P2MConfig
	root     atomic.Uint64 // MFN of the top table, 0 after Destroy
	gen      atomic.Uint64
	tables   atomic.Int64
	mu       sync.Mutex
	due      bool // a flush
	retired  [64]MFN
	nretired int
}

// TableQuota returns how many tables a domain with this much memory needs at
// most, if its guest frames are below twice that and a hole of 4 GiB: all of
// them in pages of 4 KiB.
func TableQuota(pages uint64) int {
	n := min(2*pages+lowFrames, uint64(maxGFN))
	total := 1
	for range levels - 1 {
		n = (n + tableEntries - 1) / tableEntries
		total += int(n)
	}
	return total + 3 // the wanderings of one frame that is far from the others
}

// NewP2M makes an empty P2M.
func NewP2M(cfg P2MConfig) (*P2M, error) {
	if cfg.MaxOrder != tableBits && cfg.MaxOrder != 2*tableBits {
		return nil, fmt.Errorf("p2m of domain %d: largest page has order %d, not 9 or 18: %w", cfg.Owner, cfg.MaxOrder, ErrBadRange)
	}
	p := &P2M{cfg: cfg}
	m, _, err := p.newTable()
	if err != nil {
		return nil, err
	}
	p.root.Store(uint64(m))
	return p, nil
}

// Root returns the frame of the top table (for nCR3 or EPTP), 0 after Destroy.
func (p *P2M) Root() MFN { return MFN(p.root.Load()) }

// Format returns the format of the tables.
func (p *P2M) Format() *Format { return p.cfg.Format }

// Owner returns the domain.
func (p *P2M) Owner() DomID { return p.cfg.Owner }

// Gen counts the flushes. See P2M.
func (p *P2M) Gen() uint64 { return p.gen.Load() }

// Tables returns how many frames the tables take.
func (p *P2M) Tables() int { return int(p.tables.Load()) }

// Entry is what a guest frame has behind it.
type Entry struct {
	MFN   MFN  // InvalidMFN if the type has none
	Type  Type // TypeNone: nothing
	Order uint // size of the page, or hole, that the guest frame is part of
}

// Lookup returns what is behind g. It takes no lock, so the answer may be old
// when it arrives; Space.Pin is for those who need more.
func (p *P2M) Lookup(g GFN) Entry {
	e, _ := p.look(g)
	return e
}

// seen is where and when walk found an entry.
type seen struct {
	at  *uint64 // nil: there is none
	e   pte
	gen uint64
}

// look is Lookup for who asks afterwards, by still, whether the answer is old.
func (p *P2M) look(g GFN) (Entry, seen) {
	if g >= maxGFN {
		return Entry{InvalidMFN, TypeNone, 0}, seen{}
	}
	for range 16 {
		if e, w, ok := p.walk(g); ok {
			return e, w
		}
	}
	// Tables were freed again and again during the walk; keep them from it.
	p.mu.Lock()
	defer p.mu.Unlock()
	e, w, _ := p.walk(g)
	return e, w
}

// Near remembers the large page that somebody's last look-up found, for the next one. The zero Near
// remembers none. It is for one P2M, and one goroutine at a time.
type Near struct {
	seen
	first GFN // of the page
	entry Entry
}

// lookNear is look, without a walk if g is in the page that near has; near may be nil.
func (p *P2M) lookNear(g GFN, near *Near) (Entry, seen) {
	if near == nil {
		return p.look(g)
	}
	if off := g - near.first; off < 1<<near.entry.Order && p.still(near.seen) {
		e := near.entry
		e.MFN += MFN(off)
		return e, near.seen
	}
	e, w := p.look(g)
	*near = Near{}
	if e.Order > 0 && e.Type.hasFrame() {
		off := g & (1<<e.Order - 1)
		first := e
		first.MFN -= MFN(off)
		*near = Near{w, g - off, first}
	}
	return e, w
}

// still tells whether the entry is as it was seen. It is false, too, after a flush,
// before which nothing that was mapped is freed, and no table.
func (p *P2M) still(w seen) bool {
	return w.at != nil && pte(atomic.LoadUint64(w.at)) == w.e && p.gen.Load() == w.gen
}

// walk fails if a table that it read may have been freed meanwhile: its frame
// could have a new owner who chose what was read. Gen changes before a table is
// freed, so an entry is good if Gen is unchanged after it was read.
func (p *P2M) walk(g GFN) (Entry, seen, bool) {
	gen := p.gen.Load()
	m := p.root.Load()
	if m == 0 {
		return Entry{InvalidMFN, TypeNone, orderOf(levels)}, seen{}, true
	}
	for level, mfn := levels, MFN(m); ; level-- {
		o := orderOf(level)
		at := &p.cfg.Memory.Table(mfn)[g>>o%tableEntries]
		e := pte(atomic.LoadUint64(at))
		if p.gen.Load() != gen {
			return Entry{}, seen{}, false
		}
		if e.isTable() && level > 1 {
			mfn = e.mfn()
			continue
		}
		t := e.typ()
		if !t.hasFrame() {
			return Entry{InvalidMFN, t, o}, seen{at, e, gen}, true
		}
		return Entry{e.mfn() + MFN(g&(1<<o-1)), t, o}, seen{at, e, gen}, true
	}
}

// All iterates over what is mapped in [start, end): each page once, or its part
// that is in the range, beginning with the guest frame that is returned.
func (p *P2M) All(start, end GFN) iter.Seq2[GFN, Entry] {
	return func(yield func(GFN, Entry) bool) {
		for g := start; g < min(end, maxGFN); {
			e := p.Lookup(g)
			if e.Type != TypeNone && !yield(g, e) {
				return
			}
			g = (g>>e.Order + 1) << e.Order
		}
	}
}

// Map puts the 1<<order machine frames at m behind the guest frames at g,
// whatever was there. Both are aligned to the order, except that m needs no more
// than the alignment of the largest page, and a PoD entry has no m. It changes
// everything or, with an error (ErrNoTables, ErrBadRange, ErrBadType), nothing.
// flush tells whether one is due.
func (p *P2M) Map(g GFN, m MFN, order uint, t Type) (flush bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.mapLocked(g, m, order, t)
	return p.due, err
}

func (p *P2M) mapLocked(g GFN, m MFN, order uint, t Type) error {
	if err := checkRange(g, order); err != nil {
		return err
	}
	if t == TypeNone || t >= numTypes {
		return fmt.Errorf("p2m: can't map %#x as %v: %w", g, t, ErrBadType)
	}
	leaf := min(order/tableBits*tableBits, p.cfg.MaxOrder)
	if !t.hasFrame() {
		m = 0
	} else if m >= maxMFN || m&(1<<leaf-1) != 0 || maxMFN-m < 1<<order {
		return fmt.Errorf("p2m: can't map machine frame %#x with order %d: %w", m, order, ErrBadRange)
	}
	return p.apply(&change{op: opMap, start: g, end: g + 1<<order, mfn: m, to: t})
}

// Unmap removes what is behind the 1<<order guest frames at g. It can fail with
// ErrNoTables where a large page has to be split; nothing is changed then.
func (p *P2M) Unmap(g GFN, order uint) (flush bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.unmapLocked(g, order)
	return p.due, err
}

func (p *P2M) unmapLocked(g GFN, order uint) error {
	if err := checkRange(g, order); err != nil {
		return err
	}
	return p.apply(&change{op: opUnmap, start: g, end: g + 1<<order})
}

// ChangeType makes every page of type from in [start, end) one of type to, and
// leaves the others alone. Both types are among those of the domain's own
// memory and TypeBroken. It takes as long as there are entries in the range.
// With an error (ErrNoTables) the first part of the range may be changed.
func (p *P2M) ChangeType(start, end GFN, from, to Type) (flush bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if start >= end || end > maxGFN {
		return p.due, fmt.Errorf("p2m: change of type of [%#x, %#x): %w", start, end, ErrBadRange)
	}
	if !from.own() || !to.own() {
		return p.due, fmt.Errorf("p2m: %v can't become %v: %w", from, to, ErrBadType)
	}
	err = p.apply(&change{op: opType, start: start, end: end, from: from, to: to})
	return p.due, err
}

// Flush makes every CPU forget what was changed, if a flush is due. When it
// returns, unmapped frames may get a new use.
func (p *P2M) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
}

func (p *P2M) flush() {
	if !p.due {
		return
	}
	p.gen.Add(1)
	p.cfg.Flusher.FlushGuest(p)
	p.due = false
	for _, m := range p.retired[:p.nretired] {
		p.cfg.Memory.FreeTable(m)
	}
	p.tables.Add(int64(-p.nretired))
	p.nretired = 0
}

// Destroy frees the tables. The domain's vcpus don't run any more. What is still
// mapped is the caller's to free.
func (p *P2M) Destroy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.root.Swap(0); m != 0 {
		p.due = true
		p.retireTree(pte(m<<PageShift), levels)
		p.flush()
	}
}

func checkRange(g GFN, order uint) error {
	if order > MaxOrder || g&(1<<order-1) != 0 || g >= maxGFN {
		return fmt.Errorf("p2m: guest frame %#x with order %d: %w", g, order, ErrBadRange)
	}
	return nil
}
