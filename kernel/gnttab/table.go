// Package gnttab keeps the grant tables of domains, versions 1 and 2: the frames
// that a guest and the hypervisor share, what the entries in them mean, and the
// protocol by which an entry is held in use.
//
// The interface is Xen's grant_table.h, for translated guests (PVH, HVM): a mapping
// goes into the guest's own physical memory. While a page is in use two things are
// held: the entry, by Acquire, which the granting guest sees, and the frame, by a
// reference of package mm. So a guest can take its entry back, and die, at any
// moment: the frame is not used for anything else before the last user has left, and
// the last user's translations were flushed.
//
// Locks: the maptrack's, then those of mm. Table.mu (frames, version), then the lock of
// one active entry. No lock of one table is taken with one of another held. A guest
// changes its entries at any moment; each is read once.
package gnttab

import (
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// FrameAllocator makes the frames of grant tables. They belong to the
// hypervisor; a guest sees them where XENMAPSPACE_grant_table puts them in its
// p2m.
type FrameAllocator interface {
	// AllocShared returns a zeroed page, charged to the domain.
	AllocShared() (mm.Page, mm.MFN, error)
	// FreeShared takes it back, and out of the domain's p2m if it is there.
	FreeShared(mm.MFN)
	// AllocPrivate is AllocShared of a page that the guest never sees, and
	// FreePrivate takes it back.
	AllocPrivate() (mm.Page, mm.MFN, error)
	FreePrivate(mm.MFN)
}

// Default limits, as Xen's (xl.cfg, max_grant_frames and max_maptrack_frames).
const (
	DefaultMaxFrames   = 64
	DefaultMaxMaptrack = 1024
	// MaxMaxFrames bounds a configuration: 4096 frames hold 2 Mi entries.
	MaxMaxFrames = 4096
	// MaxMaxMaptrack bounds a configuration: 4096 frames hold 1 Mi mappings.
	MaxMaxMaptrack = 4096
)

const (
	v1PerFrame     = mm.PageSize / xenabi.GrantV1Size
	v2PerFrame     = mm.PageSize / xenabi.GrantV2Size
	statusPerFrame = mm.PageSize / xenabi.GrantStatusSize
	// One status frame serves so many version 2 frames.
	framesPerStatus = statusPerFrame / v2PerFrame
)

// Config describes a domain's grant table to New.
type Config struct {
	ID mm.DomID
	// MaxFrames is how many frames of entries the guest may have, 0 for
	// DefaultMaxFrames. Version 2 has an eighth of that, rounded up, of status
	// frames in addition.
	MaxFrames int
	// MaxMaptrack is how many frames the records of the guest's mappings may take, of
	// mapsPerFrame each; 0 for DefaultMaxMaptrack.
	MaxMaptrack int
	// MaxVersion is the highest version that the guest may choose, 1 or 2; 0 for 2.
	MaxVersion int
	// Privileged domains may name others than themselves.
	Privileged bool
	Frames     FrameAllocator
	// FrameNumber is what the guest is told of a frame by setup_table: for a
	// translated guest where the frame is in its p2m. nil tells the MFN.
	FrameNumber func(mm.MFN) uint64
	// Space is the domain's memory: what it grants, and where it maps.
	Space *mm.Space
	// Tables is where the domains of a machine find each other's table; nil if there
	// are no others.
	Tables *Tables
}

// Table is one domain's grant table. Its methods are safe for concurrent use.
type Table struct {
	cfg Config

	mu      sync.RWMutex
	version uint32
	shared  []frame
	status  []frame
	active  [][]activeEntry // one slice a frame, v1PerFrame entries each
	dead    bool

	tracks maptrack

	// pins counts the entries' pins, so that a change of version needs no scan.
	pins atomic.Int64
}

type frame struct {
	page mm.Page
	mfn  mm.MFN
}

// New makes a version 1 table of one frame.
func New(cfg Config) (*Table, error) {
	if cfg.MaxFrames == 0 {
		cfg.MaxFrames = DefaultMaxFrames
	}
	if cfg.MaxFrames < 1 || cfg.MaxFrames > MaxMaxFrames {
		return nil, fmt.Errorf("grant table of domain %d: %d frames are not in 1 to %d: %w",
			cfg.ID, cfg.MaxFrames, MaxMaxFrames, xenabi.EINVAL)
	}
	if cfg.MaxMaptrack == 0 {
		cfg.MaxMaptrack = DefaultMaxMaptrack
	}
	if cfg.MaxMaptrack < 1 || cfg.MaxMaptrack > MaxMaxMaptrack {
		return nil, fmt.Errorf("grant table of domain %d: %d maptrack frames are not in 1 to %d: %w",
			cfg.ID, cfg.MaxMaptrack, MaxMaxMaptrack, xenabi.EINVAL)
	}
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = 2
	}
	if cfg.MaxVersion < 1 || cfg.MaxVersion > 2 {
		return nil, fmt.Errorf("grant table of domain %d: version %d at most: there are 1 and 2: %w", cfg.ID, cfg.MaxVersion, xenabi.EINVAL)
	}
	if cfg.FrameNumber == nil {
		cfg.FrameNumber = func(m mm.MFN) uint64 { return uint64(m) }
	}
	t := &Table{cfg: cfg, version: 1, tracks: maptrack{frames: cfg.Frames, limit: cfg.MaxMaptrack}}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.grow(1); err != nil {
		return nil, fmt.Errorf("grant table of domain %d: first frame: %w", cfg.ID, err)
	}
	cfg.Tables.add(cfg.ID, t)
	return t, nil
}

// maxStatus returns how many status frames there may be.
func (t *Table) maxStatus() int {
	return (t.cfg.MaxFrames + framesPerStatus - 1) / framesPerStatus
}

// grow makes the table at least n frames long; t.mu is held for writing. What it
// got before an error stays.
func (t *Table) grow(n int) error {
	if n > t.cfg.MaxFrames || t.dead {
		return xenabi.EINVAL
	}
	if t.version == 2 {
		if err := t.growStatus(n); err != nil {
			return err
		}
	}
	for len(t.shared) < n {
		pg, mfn, err := t.cfg.Frames.AllocShared()
		if err != nil {
			return fmt.Errorf("%w: %w", xenabi.ENOMEM, err)
		}
		t.shared = append(t.shared, frame{pg, mfn})
		t.active = append(t.active, make([]activeEntry, v1PerFrame))
	}
	return nil
}

// growStatus makes status frames for n frames of entries.
func (t *Table) growStatus(n int) error {
	for len(t.status)*framesPerStatus < n {
		pg, mfn, err := t.cfg.Frames.AllocShared()
		if err != nil {
			return fmt.Errorf("%w: %w", xenabi.ENOMEM, err)
		}
		t.status = append(t.status, frame{pg, mfn})
	}
	return nil
}

// refs returns how many entries there are; t.mu is held.
func (t *Table) refs() uint32 {
	if t.version == 2 {
		return uint32(len(t.shared) * v2PerFrame)
	}
	return uint32(len(t.shared) * v1PerFrame)
}

// Version returns the version in use, 1 or 2.
func (t *Table) Version() uint32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.version
}

// Sizes returns how many frames of entries and of status there are, and how many
// of entries there may be.
func (t *Table) Sizes() (shared, status, max int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.shared), len(t.status), t.cfg.MaxFrames
}

// Pins returns how many pins Acquire has given and Release not taken back.
func (t *Table) Pins() int { return int(t.pins.Load()) }

// FrameForIndex returns the frame at index idx of XENMAPSPACE_grant_table
// (memory.h; with XENMAPIDX_grant_table_status a status frame), and makes the
// table longer if it has to. It returns EINVAL if there can be no such frame,
// and ENOMEM.
func (t *Table) FrameForIndex(idx uint64) (mm.MFN, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, n, limit := &t.shared, idx, t.cfg.MaxFrames
	status := idx&xenabi.MapIdxGrantTableStatus != 0
	if status {
		list, n, limit = &t.status, idx&^xenabi.MapIdxGrantTableStatus, t.maxStatus()
	}
	if n >= uint64(limit) || status && t.version != 2 {
		return mm.InvalidMFN, xenabi.EINVAL
	}
	if need := int(n) + 1; len(*list) < need {
		if status {
			need = int(n)*framesPerStatus + 1
		}
		if err := t.grow(need); err != nil {
			return mm.InvalidMFN, err
		}
	}
	if n >= uint64(len(*list)) { // a dead table
		return mm.InvalidMFN, xenabi.EINVAL
	}
	return (*list)[n].mfn, nil
}

// SetReserved fills reserved entry ref (xenabi.GnttabReservedConsole,
// xenabi.GnttabReservedXenstore) so that domain dom may use guest frame g, as
// the tools do before the guest runs.
func (t *Table) SetReserved(ref uint32, dom mm.DomID, g mm.GFN) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ref >= xenabi.GnttabNrReservedEntries || t.dead {
		return fmt.Errorf("grant reference %d is not reserved: %w", ref, xenabi.EINVAL)
	}
	if t.version == 1 && g > 0xffffffff {
		return fmt.Errorf("frame %#x does not fit in a version 1 grant: %w", uint64(g), xenabi.ERANGE)
	}
	t.write(ref, Entry{Flags: xenabi.GTFPermitAccess, DomID: dom, Frame: uint64(g)})
	return nil
}

// SetVersion changes the version (GNTTABOP_set_version). All entries but the
// reserved ones become invalid. It returns EINVAL for a version that is none,
// EBUSY while entries are in use, ENOMEM, and EINVAL or ERANGE if a reserved
// entry does not fit into version 1. Where version 1 is all there may be, it is
// ENOSYS, as if the operation had not been invented.
func (t *Table) SetVersion(v uint32) error {
	if t.cfg.MaxVersion == 1 {
		return xenabi.ENOSYS
	}
	if v != 1 && v != 2 {
		return xenabi.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return xenabi.EINVAL
	}
	if v == t.version {
		return nil
	}
	if t.pins.Load() != 0 {
		return xenabi.EBUSY
	}
	var keep [xenabi.GnttabNrReservedEntries]Entry
	for i := range keep {
		e := t.read(uint32(i))
		e.Flags &^= xenabi.GTFReading | xenabi.GTFWriting
		if v == 1 && e.Type() != xenabi.GTFInvalid {
			if e.Type() == xenabi.GTFTransitive || e.Flags&xenabi.GTFSubPage != 0 {
				return xenabi.EINVAL
			}
			if e.Frame > 0xffffffff {
				return xenabi.ERANGE
			}
		}
		keep[i] = e
	}
	if v == 2 {
		if err := t.growStatus(len(t.shared)); err != nil {
			return err
		}
	}
	// Status frames of a table that goes back to version 1 stay until the
	// domain ends: the guest may have them in its p2m.
	for _, list := range [][]frame{t.shared, t.status} {
		for _, f := range list {
			f.page.Clear()
		}
	}
	t.version = v
	for i, e := range keep {
		if e.Type() != xenabi.GTFInvalid {
			t.write(uint32(i), e)
		}
	}
	return nil
}

// Swap exchanges entries a and b (GNTTABOP_swap_grant_ref). It returns
// GNTST_bad_gntref for a reference that is none and GNTST_eagain if one is in
// use.
func (t *Table) Swap(a, b uint32) xenabi.GnttabStatus {
	t.mu.Lock() // excludes Acquire, so that no entry comes into use
	defer t.mu.Unlock()
	if n := t.refs(); a >= n || b >= n {
		return xenabi.GNTSTBadGntref
	}
	if t.entry(a).pinned() || t.entry(b).pinned() {
		return xenabi.GNTSTEagain
	}
	if a == b {
		return xenabi.GNTSTOkay
	}
	pa, oa := t.place(a)
	pb, ob := t.place(b)
	for i := 0; i < t.entrySize(); i += 8 {
		va, vb := pa.Load64(oa+i), pb.Load64(ob+i)
		pa.Store64(oa+i, vb)
		pb.Store64(ob+i, va)
	}
	return xenabi.GNTSTOkay
}

// Destroy ends all mappings of the domain and gives the frames back. The table is empty
// afterwards; what others have pinned can be released still. The domain's vcpus don't
// run any more. It may be called twice.
func (t *Table) Destroy() {
	t.cfg.Tables.remove(t.cfg.ID, t)
	t.unmapAll()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, list := range [][]frame{t.shared, t.status} {
		for _, f := range list {
			t.cfg.Frames.FreeShared(f.mfn)
		}
	}
	t.shared, t.status, t.dead = nil, nil, true
}
