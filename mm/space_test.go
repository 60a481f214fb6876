package mm

import (
	"bytes"
	"errors"
	"sync"
	"testing"
)

// release frees a space in small steps and checks that nothing is left.
func release(tb testing.TB, k *machine, s *Space) {
	tb.Helper()
	for range 1 << 20 {
		done, err := s.Release(16)
		if err != nil {
			tb.Fatal(err)
		}
		if done {
			if n := s.TotPages(); n != 0 {
				tb.Fatalf("%d frames after Release", n)
			}
			return
		}
	}
	tb.Fatal("Release has no end")
}

func TestSpaceReadWrite(t *testing.T) {
	k := newMachine(t, 512, 4096)
	s := k.space(t, NPT, 2000)
	if err := s.Populate(0, 1030, nil); err != nil {
		t.Fatal(err)
	}
	if e := s.p2m.Lookup(600); e.Order != 9 {
		t.Errorf("2 MiB of RAM are in pages of order %d", e.Order)
	}
	want := make([]byte, 3*PageSize+77)
	for i := range want {
		want[i] = byte(i * 7)
	}
	got := make([]byte, len(want))
	at := GuestPhys(511*PageSize + 4001)
	if err := s.ReadPhys(at, got); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
		t.Fatal("fresh memory is not clear:", err)
	}
	if err := s.WritePhys(at, want); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadPhys(at, got); err != nil || !bytes.Equal(got, want) {
		t.Fatal("read is not what was written:", err)
	}
	s.p2m.ChangeType(3, 4, TypeRAM, TypeRAMRO)
	if err := s.ReadPhys(3*PageSize, got[:1]); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		a GuestPhys
		n int
	}{{3 * PageSize, 1}, {2*PageSize + 4095, 2}, {1030 * PageSize, 1}, {1030*PageSize - 1, 2},
		{^GuestPhys(0), 1}, {^GuestPhys(0), 2}, {GuestPhys(maxGFN << 12), 8}, {1 << 63, 8}} {
		if err := s.WritePhys(c.a, got[:c.n]); !errors.Is(err, ErrBadAddress) {
			t.Errorf("write of %d at %#x: %v", c.n, c.a, err)
		}
		if err := s.ReadPhys(c.a, got[:c.n]); c.a.Frame() > 3 && !errors.Is(err, ErrBadAddress) {
			t.Errorf("read of %d at %#x: %v", c.n, c.a, err)
		}
	}
	release(t, k, s)
	if err := s.ReadPhys(0, got[:1]); !errors.Is(err, ErrBadAddress) {
		t.Error("memory after Release:", err)
	}
	k.allFree(t)
}

func TestSpacePopulate(t *testing.T) {
	k := newMachine(t, 512, 2048)
	s := k.space(t, EPT, 1500)
	var seen []uint64
	note := func(n uint64) error { seen = append(seen, n); return nil }
	if err := s.Populate(256, 1200, note); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 3 || seen[len(seen)-1] != 1200 {
		t.Errorf("progress %v", seen)
	}
	stop := errors.New("stop")
	for _, c := range []struct {
		g        GFN
		n        uint64
		progress func(uint64) error
		want     error
	}{
		{0, 0, nil, ErrBadRange}, {maxGFN, 1, nil, ErrBadRange}, {maxGFN - 1, 2, nil, ErrBadRange},
		{0, ^uint64(0), nil, ErrBadRange}, {300, 1, nil, ErrOccupied}, {4096, 301, nil, ErrQuota},
		{8192, 200, func(uint64) error { return stop }, nil},
	} {
		before := s.TotPages()
		err := s.Populate(c.g, c.n, c.progress)
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("Populate(%#x, %d): %v", c.g, c.n, err)
		}
		if n := s.TotPages() - before; n != 0 && c.want != ErrQuota && c.progress == nil {
			t.Errorf("Populate(%#x, %d) left %d frames", c.g, c.n, n)
		}
		if c.want == ErrQuota {
			s.SetMaxPages(1800)
		}
	}
	s.SetMaxPages(1 << 30)
	if err := s.Populate(1<<20, 4096, nil); !errors.Is(err, ErrNoMemory) {
		t.Error("more than there is:", err)
	}
	release(t, k, s)
	k.allFree(t)
}

func TestSpacePin(t *testing.T) {
	k := newMachine(t, 512, 2048)
	s := k.space(t, NPT, 2000)
	if err := s.Populate(0, 1024, nil); err != nil {
		t.Fatal(err)
	}
	pg, err := s.Pin(700)
	if err != nil {
		t.Fatal(err)
	}
	pg.Store32(8, 42)
	for what, op := range map[string]func() error{
		"decrease": func() error { _, err := s.DecreaseReservation([]GFN{700}, 0); return err },
		"decrease the large page": func() error {
			_, err := s.DecreaseReservation([]GFN{512}, 9)
			return err
		},
		"remove":    func() error { return s.RemoveFromPhysmap(700) },
		"move":      func() error { return s.Move(700, 5000) },
		"move over": func() error { return s.Move(3, 700) },
	} {
		if err := op(); !errors.Is(err, ErrBusy) {
			t.Errorf("%s of a pinned frame: %v", what, err)
		}
	}
	if _, err := s.DecreaseReservation([]GFN{701}, 0); err != nil { // splits the page
		t.Error(err)
	}
	var b [1]byte
	if err := s.ReadPhys(700*PageSize+8, b[:]); err != nil || b[0] != 42 {
		t.Error("the pinned frame moved", err)
	}
	s.Unpin(700)
	release(t, k, s)
	k.allFree(t)
	if _, err := s.Pin(0); !errors.Is(err, ErrBadAddress) {
		t.Error(err)
	}
}

func TestSpacePhysmap(t *testing.T) {
	k := newMachine(t, 512, 2048)
	s := k.space(t, NPT, 2000)
	if err := s.Populate(0, 512, nil); err != nil {
		t.Fatal(err)
	}
	info, _ := k.AllocFrames(0, FrameSpecial, DomIDXen, ZoneAny)
	grant, _ := k.AllocFrames(0, FrameSpecial, DomIDXen, ZoneAny)
	k.Page(info).Clear()
	is := func(g GFN, m MFN, typ Type) {
		t.Helper()
		if e := s.p2m.Lookup(g); e.MFN != m || e.Type != typ {
			t.Errorf("guest frame %#x: %v, want %#x %v", g, e, m, typ)
		}
	}
	add := func(g GFN, m MFN) {
		t.Helper()
		if err := s.AddSpecial(g, m); err != nil {
			t.Fatal(err)
		}
	}
	add(5, info)
	add(5, info)
	is(5, info, TypeSpecial)
	if s.TotPages() != 511 || k.Frames().Info(info).Refs != 2 {
		t.Error(s.TotPages(), k.Frames().Info(info))
	}
	if err := s.WritePhys(5*PageSize+10, []byte{9}); err != nil || k.Page(info).Load8(10) != 9 {
		t.Error("special frame not written:", err)
	}
	if _, err := s.Pin(5); !errors.Is(err, ErrBadAddress) {
		t.Error("special frame pinned:", err)
	}
	add(9, info) // moves
	is(5, InvalidMFN, TypeNone)
	is(9, info, TypeSpecial)
	add(9, grant) // takes its place
	is(9, grant, TypeSpecial)
	if k.Frames().Info(info).Refs != 1 || k.Frames().GFN(info) != InvalidGFN {
		t.Error("the reference stays")
	}
	add(10000, info)
	m := s.p2m.Lookup(3).MFN
	if err := s.Move(3, 10000); err != nil {
		t.Fatal(err)
	}
	is(3, InvalidMFN, TypeNone)
	is(10000, m, TypeRAM)
	for what, err := range map[string]error{
		"not special": s.AddSpecial(1, m), "no frame": s.AddSpecial(1, InvalidMFN),
		"far away": s.AddSpecial(InvalidGFN, info), "nothing there": s.RemoveFromPhysmap(3),
		"move nothing": s.Move(3, 4), "move far": s.Move(4, maxGFN), "foreign": s.AddForeign(1, info, DomIDXen),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if err := s.RemoveFromPhysmap(9); err != nil {
		t.Error(err)
	}
	other, _ := k.AllocFrames(0, FrameGuest, 8, ZoneAny)
	if err := s.AddForeign(77, other, 8); err != nil || k.Frames().Claim(other, 0, 8) != FrameBusy {
		t.Error("foreign frame is not held:", err)
	}
	is(77, other, TypeForeign)
	if _, err := s.p2m.ChangeType(100, 101, TypeRAM, TypeBroken); err != nil {
		t.Error(err)
	}
	bad := s.p2m.Lookup(100).MFN
	s.p2m.Map(2000, other, 0, TypeGrantRW)
	if _, err := s.DecreaseReservation([]GFN{2000}, 0); err == nil {
		t.Error("a grant went by decrease_reservation")
	}
	if err := s.RemoveFromPhysmap(2000); !errors.Is(err, ErrBusy) {
		t.Error("a grant went by remove_from_physmap:", err)
	}
	s.p2m.Unmap(2000, 0)
	release(t, k, s)
	if f := k.Frames().Info(bad); f.Owner != DomIDXen {
		t.Error("a broken frame is", f)
	}
	for _, m := range []MFN{info, grant, other, bad} {
		if st := k.FreeFrames(m, 0); st != FrameOK {
			t.Error(m, st)
		}
	}
	k.allFree(t)
}

// TestSpaceOutOfTables runs the operations with few tables: errors, no leaks.
func TestSpaceOutOfTables(t *testing.T) {
	for tables := 1; tables < 9; tables++ {
		k := newMachine(t, 512, 2048)
		s, err := NewSpace(SpaceConfig{Owner: 1, Memory: k, Flusher: k, Format: NPT, MaxOrder: 9, MaxTables: tables, MaxPages: 2000})
		if err != nil {
			t.Fatal(err)
		}
		s.Populate(0, 1024, nil)
		for i := range GFN(20) {
			s.Move(i*51, 1<<30+i<<9)
			s.PopulatePhysmap([]GFN{i << 20}, 2)
			s.DecreaseReservation([]GFN{i * 50}, 0)
		}
		release(t, k, s)
		k.allFree(t)
	}
}

// TestSpaceHoldMoved moves a frame away between Pin's look-up and its reference.
func TestSpaceHoldMoved(t *testing.T) {
	k := newMachine(t, 512, 64)
	s := k.space(t, NPT, 60)
	if err := s.Populate(0, 4, nil); err != nil {
		t.Fatal(err)
	}
	k.onFrames = func() {
		k.onFrames = nil
		if err := s.Move(2, 9); err != nil {
			t.Error(err)
		}
		if err := s.Move(3, 2); err != nil {
			t.Error(err)
		}
	}
	pg, err := s.Pin(2)
	if err != nil || k.onFrames != nil {
		t.Fatal(err)
	}
	if m := s.p2m.Lookup(2).MFN; pg != k.Page(m) || k.Frames().Info(m).Refs != 2 {
		t.Error("Pin returned a frame that is elsewhere")
	}
	if n := k.Frames().Info(s.p2m.Lookup(9).MFN).Refs; n != 1 {
		t.Errorf("the frame that moved has %d references", n)
	}
	s.Unpin(2)
	release(t, k, s)
	k.allFree(t)
}

// TestSpaceHoldFreedTable moves the only frame of a page table away between Pin's look-up and its reference. The
// table's next owner writes what was there.
func TestSpaceHoldFreedTable(t *testing.T) {
	const lonely = 1 << 20
	k := newMachine(t, 512, 64)
	s := k.space(t, NPT, 60)
	if err := s.Populate(lonely, 1, nil); err != nil {
		t.Fatal(err)
	}
	_, w := s.p2m.look(lonely)
	tables := s.p2m.Tables()
	k.onFrames = func() {
		k.onFrames = nil
		if err := s.Move(lonely, 9); err != nil {
			t.Error(err)
		}
		if s.p2m.Tables() > tables {
			t.Error("the table was not freed")
		}
		*w.at = uint64(w.e)
	}
	if pg, err := s.Pin(lonely); !errors.Is(err, ErrBadAddress) || k.onFrames != nil {
		t.Fatalf("Pin returned %v, %v by an entry of a freed table", pg, err)
	}
	if n := k.Frames().Info(s.p2m.Lookup(9).MFN).Refs; n != 1 {
		t.Errorf("the frame that moved has %d references", n)
	}
	release(t, k, s)
	k.allFree(t)
}

// TestSpaceHoldNear holds frames of a large page by a Near, while the page is whole and after a frame of it went.
func TestSpaceHoldNear(t *testing.T) {
	k := newMachine(t, 512, 2048)
	s := k.space(t, NPT, 1000)
	if err := s.Populate(512, 512, nil); err != nil {
		t.Fatal(err)
	}
	var near Near
	hold := func(g GFN, pages int) {
		t.Helper()
		want := s.p2m.Lookup(g)
		reached := 0
		k.onPage = func(MFN) { reached++ }
		m, err := s.HoldNear(g, true, &near)
		k.onPage = nil
		if err != nil || m != want.MFN || reached != pages {
			t.Errorf("guest frame %#x: %#x, %v, by %d tables; it is %#x, and it takes %d tables", g, m, err, reached, want.MFN, pages)
		}
		s.Drop(m, true)
	}
	hold(700, 3)
	for _, g := range []GFN{512, 701, 1023} {
		hold(g, 0)
	}
	if _, err := s.HoldNear(511, true, &near); !errors.Is(err, ErrBadAddress) {
		t.Errorf("the frame before the page: %v", err)
	}
	hold(1023, 3)
	if _, err := s.HoldNear(1024, true, &near); !errors.Is(err, ErrBadAddress) {
		t.Errorf("the frame after the page: %v", err)
	}
	hold(900, 3)
	if err := s.Move(701, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := s.HoldNear(701, true, &near); !errors.Is(err, ErrBadAddress) {
		t.Errorf("the frame that moved away: %v", err)
	}
	hold(700, 4)
	hold(700, 4) // in no large page now
	release(t, k, s)
	k.allFree(t)
}

// TestSpaceFragmented populates a large extent with small frames.
func TestSpaceFragmented(t *testing.T) {
	k := newMachine(t, 512, 2048)
	var odd []MFN
	for m := MFN(512 + 100); m < 2560; m += 512 { // one frame of each 2 MiB is used
		if st := k.f.AllocAt(m, 0, FrameKernel, DomIDXen); st != FrameOK {
			t.Fatal(st)
		}
		odd = append(odd, m)
	}
	s := k.space(t, NPT, 1000)
	if n, err := s.PopulatePhysmap([]GFN{512, 1024}, 9); n != 1 || !errors.Is(err, ErrQuota) {
		t.Errorf("%d extents, %v", n, err)
	}
	if s.TotPages() != 512 { // the second is undone
		t.Errorf("%d frames", s.TotPages())
	}
	release(t, k, s)
	for _, m := range odd {
		k.FreeFrames(m, 0)
	}
	k.allFree(t)
}

// TestSpaceRace copies while memory comes and goes.
func TestSpaceRace(t *testing.T) {
	k := newMachine(t, 512, 2048)
	s := k.space(t, NPT, 2000)
	if err := s.Populate(0, 512, nil); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var b [8]byte
		for g := GFN(0); ; g = (g + 1) % 512 {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.ReadPhys(g.Addr(), b[:]); err != nil && !errors.Is(err, ErrBadAddress) {
				t.Error(err)
				return
			}
			if _, err := s.Pin(g); err == nil {
				s.Unpin(g)
			}
		}
	})
	gone := 0
	for i := range GFN(3000) {
		g := i * 37 % 512
		n, err := s.DecreaseReservation([]GFN{g}, 0)
		if err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		gone += n
		if n == 1 {
			if _, err := s.PopulatePhysmap([]GFN{g}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	if gone == 0 {
		t.Error("every removal met a reader")
	}
	release(t, k, s)
	k.allFree(t)
}

func BenchmarkReadPhys(b *testing.B) {
	k := newMachine(b, 512, 2048)
	s := k.space(b, NPT, 2000)
	s.Populate(0, 512, nil)
	var buf [64]byte
	b.ReportAllocs()
	for b.Loop() {
		s.ReadPhys(0x12340, buf[:])
	}
}

func BenchmarkBalloon4K(b *testing.B) {
	k := newMachine(b, 512, 2048)
	s := k.space(b, NPT, 2000)
	s.Populate(0, 600, nil)
	g := []GFN{5}
	b.ReportAllocs()
	for b.Loop() {
		s.DecreaseReservation(g, 0)
		s.PopulatePhysmap(g, 0)
	}
}

func BenchmarkPopulate2M(b *testing.B) {
	k := newMachine(b, 512, 2048)
	s := k.space(b, NPT, 2000)
	b.SetBytes(2 << 20)
	g := []GFN{512}
	for b.Loop() {
		s.PopulatePhysmap(g, 9)
		s.DecreaseReservation(g, 9)
	}
}
