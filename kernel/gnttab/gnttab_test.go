package gnttab

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// frames is an allocator with a limit that notices frames freed twice.
type frames struct {
	mu    sync.Mutex
	live  map[mm.MFN]bool
	next  mm.MFN
	limit int
}

func (f *frames) AllocShared() (mm.Page, mm.MFN, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.live) >= f.limit {
		return mm.Page{}, 0, errors.New("no frame left")
	}
	f.next++
	f.live[f.next] = true
	return mm.NewPage(), f.next, nil
}

func (f *frames) FreeShared(m mm.MFN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.live[m] {
		panic("frame freed twice")
	}
	delete(f.live, m)
}

func (f *frames) AllocPrivate() (mm.Page, mm.MFN, error) { return f.AllocShared() }

func (f *frames) FreePrivate(m mm.MFN) { f.FreeShared(m) }

func newTable(t testing.TB, change func(*Config)) (*Table, *frames) {
	t.Helper()
	f := &frames{live: map[mm.MFN]bool{}, limit: 1000}
	cfg := Config{ID: 1, Frames: f}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g, f
}

// grant writes an entry as a guest does.
func grant(t *Table, ref uint32, flags uint16, dom mm.DomID, frame uint64) {
	t.write(ref, Entry{Flags: flags, DomID: dom, Frame: frame})
}

func (t *Table) flagsOf(ref uint32) uint16 {
	if t.version == 2 {
		pg, off, shift := t.statusPlace(ref)
		return uint16(pg.Load32(off) >> shift)
	}
	return t.read(ref).Flags & (xenabi.GTFReading | xenabi.GTFWriting)
}

func TestNew(t *testing.T) {
	for _, n := range []int{-1, MaxMaxFrames + 1, 1 << 40} {
		if _, err := New(Config{MaxFrames: n, Frames: &frames{}}); !errors.Is(err, xenabi.EINVAL) {
			t.Errorf("%d frames: %v", n, err)
		}
	}
	if _, err := New(Config{Frames: &frames{}}); !errors.Is(err, xenabi.ENOMEM) {
		t.Errorf("no memory: %v", err)
	}
	g, f := newTable(t, nil)
	if n, s, m := g.Sizes(); n != 1 || s != 0 || m != 64 || g.Version() != 1 {
		t.Errorf("new table: %d, %d, %d", n, s, m)
	}
	g.Destroy()
	g.Destroy()
	if len(f.live) != 0 {
		t.Errorf("%d frames left", len(f.live))
	}
	if _, err := g.FrameForIndex(0); err != xenabi.EINVAL {
		t.Errorf("frame of a dead table: %v", err)
	}
}

func TestFrameForIndex(t *testing.T) {
	const st = xenabi.MapIdxGrantTableStatus
	g, f := newTable(t, func(c *Config) { c.MaxFrames = 20 })
	for _, c := range []struct {
		idx            uint64
		v              uint32
		want           error
		shared, status int
	}{
		{0, 1, nil, 1, 0}, {5, 1, nil, 6, 0}, {2, 1, nil, 6, 0}, {20, 1, xenabi.EINVAL, 6, 0},
		{^uint64(0), 1, xenabi.EINVAL, 6, 0}, {1 << 32, 1, xenabi.EINVAL, 6, 0}, {st, 1, xenabi.EINVAL, 6, 0},
		{st, 2, nil, 6, 1}, {st | 1, 2, nil, 9, 2}, {st | 2, 2, nil, 17, 3}, {st | 3, 2, xenabi.EINVAL, 17, 3},
		{19, 2, nil, 20, 3},
	} {
		if err := g.SetVersion(c.v); err != nil {
			t.Fatal(err)
		}
		mfn, err := g.FrameForIndex(c.idx)
		if n, s, _ := g.Sizes(); err != c.want || n != c.shared || s != c.status {
			t.Errorf("index %#x: %v, %d and %d frames, want %v, %d, %d", c.idx, err, n, s, c.want, c.shared, c.status)
		}
		if err == nil && !f.live[mfn] {
			t.Errorf("index %#x: frame %d is not one of ours", c.idx, mfn)
		}
	}
	f.limit = 0
	g2, f2 := newTable(t, nil)
	f2.limit = 3
	if _, err := g2.FrameForIndex(9); !errors.Is(err, xenabi.ENOMEM) {
		t.Errorf("no memory: %v", err)
	}
	g.Destroy()
	g2.Destroy()
	if len(f.live)+len(f2.live) != 0 {
		t.Error("frames left")
	}
}

func TestEntryDecoding(t *testing.T) {
	put := func(g *Table, ref uint32, b ...byte) {
		pg, off := g.place(ref)
		pg.Write(off, b)
	}
	g, _ := newTable(t, nil)
	put(g, 9, 0x05, 0, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12)
	if e, st := g.Entry(9); st != 0 || e != (Entry{Flags: 5, DomID: 0x1234, Frame: 0x12345678}) {
		t.Errorf("version 1: %+v, %d", e, st)
	}
	if _, st := g.Entry(512); st != xenabi.GNTSTBadGntref {
		t.Errorf("reference past the end: %d", st)
	}
	if err := g.SetVersion(2); err != nil {
		t.Fatal(err)
	}
	if e, _ := g.Entry(4); e != (Entry{}) {
		t.Errorf("entry 9 of version 1 is still there: %+v", e)
	}
	put(g, 10, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8)
	put(g, 11, 1, 1, 7, 0, 0x10, 0, 0x20, 0, 1, 0, 0, 0, 1, 0, 0, 0)
	put(g, 12, 3, 0, 7, 0, 9, 0, 0xff, 0xff, 0x44, 0x33, 0x22, 0x11, 0xff, 0xff, 0xff, 0xff)
	for ref, want := range map[uint32]Entry{
		10: {Flags: 1, DomID: 7, Frame: 0x0807060504030201},
		11: {Flags: 0x101, DomID: 7, Frame: 0x100000001, PageOff: 0x10, Length: 0x20},
		12: {Flags: 3, DomID: 7, TransDomID: 9, TransRef: 0x11223344},
	} {
		if e, st := g.Entry(ref); st != 0 || e != want {
			t.Errorf("version 2, entry %d: %+v", ref, e)
		}
	}
	if _, st := g.Entry(256); st != xenabi.GNTSTBadGntref {
		t.Errorf("reference past the end: %d", st)
	}
}

func TestReservedSurviveVersions(t *testing.T) {
	g, _ := newTable(t, nil)
	if err := g.SetReserved(8, 0, 1); !errors.Is(err, xenabi.EINVAL) {
		t.Errorf("entry 8: %v", err)
	}
	if err := g.SetReserved(0, 0, 1<<32); !errors.Is(err, xenabi.ERANGE) {
		t.Errorf("big frame: %v", err)
	}
	if err := g.SetReserved(xenabi.GnttabReservedConsole, 0, 0xfeff0); err != nil {
		t.Fatal(err)
	}
	if err := g.SetReserved(xenabi.GnttabReservedXenstore, 3, 0xfeff1); err != nil {
		t.Fatal(err)
	}
	grant(g, 8, 1, 2, 3)
	for _, v := range []uint32{1, 2, 2, 1} {
		if err := g.SetVersion(v); err != nil {
			t.Fatal(err)
		}
		c, _ := g.Entry(xenabi.GnttabReservedConsole)
		x, _ := g.Entry(xenabi.GnttabReservedXenstore)
		if c != (Entry{Flags: 1, Frame: 0xfeff0}) || x != (Entry{Flags: 1, DomID: 3, Frame: 0xfeff1}) {
			t.Errorf("version %d: console %+v, xenstore %+v", v, c, x)
		}
	}
	if e, _ := g.Entry(8); e != (Entry{}) {
		t.Errorf("entry 8 survived: %+v", e)
	}
	for _, v := range []uint32{0, 3, ^uint32(0)} {
		if err := g.SetVersion(v); err != xenabi.EINVAL {
			t.Errorf("version %d: %v", v, err)
		}
	}
	// What does not fit into version 1 is refused, and nothing is lost.
	g.SetVersion(2)
	for _, c := range []struct {
		e    Entry
		want error
	}{
		{Entry{Flags: 1, Frame: 1 << 32}, xenabi.ERANGE}, {Entry{Flags: 0x101}, xenabi.EINVAL}, {Entry{Flags: 3}, xenabi.EINVAL},
	} {
		g.write(2, c.e)
		if err := g.SetVersion(1); err != c.want || g.Version() != 2 {
			t.Errorf("%+v: %v", c.e, err)
		}
		if e, _ := g.Entry(0); e.Frame != 0xfeff0 {
			t.Error("the console's entry is lost")
		}
	}
}

func TestAcquireRelease(t *testing.T) {
	const r, w = xenabi.GTFReading, xenabi.GTFReading | xenabi.GTFWriting
	for _, v := range []uint32{1, 2} {
		g, _ := newTable(t, nil)
		if err := g.SetVersion(v); err != nil {
			t.Fatal(err)
		}
		grant(g, 20, xenabi.GTFPermitAccess, 5, 77)
		grant(g, 21, xenabi.GTFPermitAccess|xenabi.GTFReadonly, 5, 78)
		grant(g, 22, xenabi.GTFAcceptTransfer, 5, 79)
		grant(g, 24, xenabi.GTFPermitAccess|xenabi.GTFSubPage, 5, 80)
		for _, c := range []struct {
			ref  uint32
			dom  mm.DomID
			use  Use
			want xenabi.GnttabStatus
		}{
			{20, 6, Read, xenabi.GNTSTGeneralError}, {21, 5, Write, xenabi.GNTSTGeneralError},
			{22, 5, Read, xenabi.GNTSTGeneralError}, {23, 5, Read, xenabi.GNTSTGeneralError},
			{24, 5, Read, xenabi.GNTSTGeneralError},
			{512, 5, Read, xenabi.GNTSTBadGntref}, {^uint32(0), 5, Read, xenabi.GNTSTBadGntref},
		} {
			if _, st := g.Acquire(c.ref, c.dom, c.use); st != c.want {
				t.Errorf("v%d: acquire %+v: %d", v, c, st)
			}
			if c.ref < 25 && g.flagsOf(c.ref) != 0 {
				t.Errorf("v%d: refused entry %d has flags %#x", v, c.ref, g.flagsOf(c.ref))
			}
		}
		step := func(what string, want uint16) {
			t.Helper()
			if f := g.flagsOf(20); f != want {
				t.Errorf("v%d: %s: flags %#x, want %#x", v, what, f, want)
			}
		}
		acc, st := g.Acquire(20, 5, Read)
		if st != 0 || acc != (Access{GFN: 77, Len: mm.PageSize}) {
			t.Errorf("v%d: %+v, %d", v, acc, st)
		}
		step("one reader", r)
		// While it is pinned the guest's changes to the body have no effect.
		grant(g, 20, xenabi.GTFPermitAccess|g.flagsInEntry(20), 5, 99)
		if acc, _ = g.Acquire(20, 5, Write); acc.GFN != 77 {
			t.Errorf("v%d: a pinned entry changed: %+v", v, acc)
		}
		step("reader and writer", w)
		if _, st := g.Acquire(20, 6, Read); st != xenabi.GNTSTGeneralError {
			t.Errorf("v%d: another domain: %d", v, st)
		}
		if err := g.SetVersion(3 - v); err != xenabi.EBUSY {
			t.Errorf("v%d: set_version in use: %v", v, err)
		}
		if st := g.Swap(20, 21); st != xenabi.GNTSTEagain {
			t.Errorf("v%d: swap in use: %d", v, st)
		}
		g.Release(20, Write)
		step("reader again", r)
		g.Release(20, Read)
		step("nobody", 0)
		if g.Pins() != 0 {
			t.Errorf("v%d: %d pins", v, g.Pins())
		}
		if st := g.Swap(20, 21); st != 0 {
			t.Errorf("v%d: swap: %d", v, st)
		}
		if e, _ := g.Entry(20); e.Frame != 78 {
			t.Errorf("v%d: swapped: %+v", v, e)
		}
		if st := g.Swap(0, 512); st != xenabi.GNTSTBadGntref {
			t.Errorf("v%d: swap past the end: %d", v, st)
		}
		// A pin outlives the table.
		if _, st := g.Acquire(20, 5, Read); st != 0 {
			t.Errorf("v%d: %d", v, st)
		}
		g.Destroy()
		g.Release(20, Read)
	}
}

// flagsInEntry are the flags of use that stand in the entry itself.
func (t *Table) flagsInEntry(ref uint32) uint16 {
	return t.read(ref).Flags & (xenabi.GTFReading | xenabi.GTFWriting)
}

func TestSubPage(t *testing.T) {
	g, _ := newTable(t, nil)
	g.SetVersion(2)
	for _, c := range []struct {
		off, n uint16
		use    Use
		ok     bool
	}{
		{0x10, 0x20, Copy, true}, {0x10, 0x20, Read, false}, {0, 4096, Copy, true}, {1, 4096, Copy, false},
		{0xffff, 0xffff, Copy, false}, {4095, 1, Copy | Write, true},
	} {
		pg, off := g.place(30)
		pg.Store32(off+4, uint32(c.off)|uint32(c.n)<<16)
		pg.Store64(off+8, 55)
		pg.Store32(off, xenabi.GTFPermitAccess|xenabi.GTFSubPage|5<<16)
		acc, st := g.Acquire(30, 5, c.use)
		if (st == 0) != c.ok {
			t.Errorf("%+v: %d", c, st)
		}
		if st == 0 {
			if acc.Off != int(c.off) || acc.Len != int(c.n) || acc.GFN != 55 {
				t.Errorf("%+v: %+v", c, acc)
			}
			g.Release(30, c.use)
		}
		if f := g.flagsOf(30); f != 0 {
			t.Errorf("%+v: flags %#x stay", c, f)
		}
	}
}

// TestRevokeRace has a guest take its grant back by the protocol of
// grant_table.h while others use it. Once the guest knows that nobody uses the
// entry, nobody does.
func TestRevokeRace(t *testing.T) {
	for _, v := range []uint32{1, 2} {
		g, _ := newTable(t, nil)
		g.SetVersion(v)
		var revoked, stop atomic.Bool
		var users, guest sync.WaitGroup
		var used atomic.Int64
		for range 3 {
			users.Go(func() {
				for range 20000 {
					if _, st := g.Acquire(40, 5, Write); st == 0 {
						if revoked.Load() {
							t.Errorf("v%d: in use after the guest took it back", v)
						}
						used.Add(1)
						g.Release(40, Write)
					}
				}
			})
		}
		guest.Go(func() {
			pg, off := g.place(40)
			for !stop.Load() {
				grant(g, 40, xenabi.GTFPermitAccess, 5, 7)
				runtime.Gosched()
				if v == 2 { // invalidate, then wait until the status is clear
					pg.Store32(off, 0)
					for g.flagsOf(40) != 0 {
						runtime.Gosched()
					}
				} else { // "Invalidating an unused GTF_permit_access entry"
					for {
						h := pg.Load32(off)
						if h&(xenabi.GTFReading|xenabi.GTFWriting) == 0 && pg.CompareAndSwap32(off, h, 0) {
							break
						}
						runtime.Gosched()
					}
				}
				revoked.Store(true)
				runtime.Gosched()
				revoked.Store(false)
			}
		})
		users.Wait()
		stop.Store(true)
		guest.Wait()
		if g.Pins() != 0 || g.flagsOf(40) != 0 || used.Load() == 0 {
			t.Errorf("v%d: %d pins, flags %#x, %d uses", v, g.Pins(), g.flagsOf(40), used.Load())
		}
	}
}
