package mm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestSpaceOnDemand(t *testing.T) {
	k := newMachine(t, 512, 1200)
	s := k.space(t, NPT, 1000)
	if err := s.MapPoD(512, 2048); err != nil {
		t.Fatal(err)
	}
	if err := s.MapPoD(600, 1); !errors.Is(err, ErrOccupied) {
		t.Error(err)
	}
	if s.TotPages() != 0 {
		t.Error("memory on demand counts already")
	}
	for _, g := range []GFN{600, 601, 1500} {
		if ok, err := s.Demand(g); !ok || err != nil || s.p2m.Lookup(g).Type != TypeRAM {
			t.Fatalf("%#x: %v %v", g, ok, err)
		}
	}
	if s.p2m.Lookup(600).Order != 9 || s.p2m.Lookup(1500).Order != 0 || s.TotPages() != 513 {
		t.Error(s.p2m.Lookup(600), s.p2m.Lookup(1500), s.TotPages())
	}
	if ok, err := s.Demand(5); ok || err != nil {
		t.Error("nothing there:", ok, err)
	}
	release(t, k, s)
	k.allFree(t)
}

// TestSpaceReachesOnDemand: what the hypervisor is the first to touch is made, within
// the quota and what the machine has.
func TestSpaceReachesOnDemand(t *testing.T) {
	var b [8]byte
	page := func(g GFN) GuestPhys { return g.Addr() + PageSize - 4 } // and into the next
	for _, c := range []struct {
		name  string
		touch func(s *Space, g GFN) error
	}{
		{"read", func(s *Space, g GFN) error { return s.ReadPhys(page(g), b[:]) }},
		{"write", func(s *Space, g GFN) error { return s.WritePhys(page(g), b[:]) }},
		{"pin", func(s *Space, g GFN) error {
			for _, g := range []GFN{g, g + 1} {
				if _, err := s.Pin(g); err != nil {
					return err
				}
				s.Unpin(g)
			}
			return nil
		}},
	} {
		k := newMachine(t, 512, 64)
		s := k.space(t, NPT, 5)
		if err := s.MapPoD(3, 20); err != nil {
			t.Fatal(err)
		}
		if err := c.touch(s, 3); err != nil || s.TotPages() != 2 {
			t.Errorf("%s: %v, %d frames", c.name, err, s.TotPages())
		}
		if err := c.touch(s, 4); err != nil || s.TotPages() != 3 {
			t.Errorf("%s of what is half there: %v, %d frames", c.name, err, s.TotPages())
		}
		if err := c.touch(s, 22); !errors.Is(err, ErrBadAddress) || s.TotPages() != 4 {
			t.Errorf("%s across the end: %v, %d frames", c.name, err, s.TotPages())
		}
		if err := c.touch(s, 10); !errors.Is(err, ErrQuota) || s.TotPages() != 5 {
			t.Errorf("%s above the quota: %v, %d frames", c.name, err, s.TotPages())
		}
		s.SetMaxPages(100)
		var rest []MFN
		for m, ok := k.AllocFrames(0, FrameKernel, DomIDXen, ZoneAny); ok; m, ok = k.AllocFrames(0, FrameKernel, DomIDXen, ZoneAny) {
			rest = append(rest, m)
		}
		if err := c.touch(s, 15); !errors.Is(err, ErrNoMemory) || s.TotPages() != 5 {
			t.Errorf("%s without memory: %v, %d frames", c.name, err, s.TotPages())
		}
		for _, m := range rest {
			k.FreeFrames(m, 0)
		}
		release(t, k, s)
		if err := c.touch(s, 15); !errors.Is(err, ErrBadAddress) || s.TotPages() != 0 {
			t.Errorf("%s after Release: %v, %d frames", c.name, err, s.TotPages())
		}
		k.allFree(t)
	}
}

// TestSpaceDemandTaken: memory on demand goes between the look-up and the filling;
// it doesn't come back.
func TestSpaceDemandTaken(t *testing.T) {
	k := newMachine(t, 512, 64)
	s := k.space(t, NPT, 60)
	if err := s.MapPoD(3, 1); err != nil {
		t.Fatal(err)
	}
	k.onPage = func(m MFN) {
		if k.Frames().Info(m).Kind != FrameGuest {
			return
		}
		k.onPage = nil
		if n, err := s.DecreaseReservation([]GFN{3}, 0); n != 1 {
			t.Error(err)
		}
	}
	if err := s.ReadPhys(3*PageSize, make([]byte, 1)); !errors.Is(err, ErrBadAddress) || s.p2m.Lookup(3).Type != TypeNone || s.TotPages() != 0 {
		t.Error(err, s.p2m.Lookup(3), s.TotPages())
	}
	if k.onPage != nil {
		t.Error("nothing was filled")
	}
	release(t, k, s)
	k.allFree(t)
}

// TestSpaceDemandModel compares random operations on memory on demand with a model:
// each page is absent, promised, or there with what was written last. With LimitDemand
// pages that are zero may become promised ones again.
func TestSpaceDemandModel(t *testing.T) {
	for seed := range uint64(20) {
		limited := seed >= 10
		r := rand.New(rand.NewPCG(seed, 9))
		k := newMachine(t, 512, 2200)
		const pages, quota = 2048, 700
		s := k.space(t, []*Format{NPT, EPT}[seed%2], quota)
		promised, there := map[GFN]bool{}, map[GFN]byte{}
		if limited {
			s.LimitDemand(quota)
		}
		// takenBack makes zero pages promised ones where that happened, and tells whether
		// one could be taken.
		takenBack := func() (more bool) {
			for g, v := range there {
				if !limited || v != 0 {
					continue
				}
				if s.p2m.Lookup(g).Type == TypePoD {
					delete(there, g)
					promised[g] = true
				} else {
					more = true
				}
			}
			return more
		}
		for range 600 {
			g := GFN(r.IntN(pages))
			if r.IntN(2) == 0 {
				g = g&^511 + GFN(r.IntN(8))
			}
			_, has := there[g]
			// the error that reaching g has to have; nil: it is there, or made
			reach := func(err error) bool {
				switch {
				case has:
					return err == nil
				case !promised[g]:
					return errors.Is(err, ErrBadAddress)
				case err == nil: // one page of 4 KiB or 2 MiB was made
					e := s.p2m.Lookup(g)
					for i := range GFN(1) << e.Order {
						at := g>>e.Order<<e.Order + i
						if !promised[at] {
							t.Fatalf("%#x was made with %#x, and was not promised", at, g)
						}
						delete(promised, at)
						there[at] = 0
					}
					return true
				}
				return errors.Is(err, ErrQuota) && len(there) == quota && !takenBack()
			}
			var err error
			switch op := r.IntN(12); {
			case op < 3:
				b := []byte{99}
				if err = s.ReadPhys(g.Addr()+7, b); !reach(err) || err == nil && b[0] != there[g] {
					t.Fatalf("seed %d: read of %#x: %d, %v; want %d", seed, g, b[0], err, there[g])
				}
			case op < 6:
				v := byte(r.Uint32())
				if err = s.WritePhys(g.Addr()+7, []byte{v}); !reach(err) {
					t.Fatalf("seed %d: write of %#x: %v", seed, g, err)
				} else if err == nil {
					there[g] = v
				}
			case op < 8:
				takenBack()
				_, has = there[g]
				n := []uint64{1, 1, 3, 512}[r.IntN(4)]
				at := g
				if n == 512 {
					at = g &^ 511
				}
				free := true
				for i := range GFN(n) {
					_, has := there[at+i]
					free = free && !has && !promised[at+i]
				}
				if err = s.MapPoD(at, n); (err == nil) != free {
					t.Fatalf("seed %d: promise of %d at %#x: %v", seed, n, at, err)
				}
				for i := GFN(0); free && i < GFN(n); i++ {
					promised[at+i] = true
				}
			case op < 11:
				_, err = s.DecreaseReservation([]GFN{g}, 0)
				if (err == nil) != (has || promised[g]) {
					t.Fatalf("seed %d: decrease at %#x: %v", seed, g, err)
				}
				delete(there, g)
				delete(promised, g)
			default:
				if _, err = s.Pin(g); !reach(err) {
					t.Fatalf("seed %d: pin of %#x: %v", seed, g, err)
				} else if err == nil {
					s.Unpin(g)
				}
			}
			takenBack()
			if n := s.TotPages(); n != uint64(len(there)) || n > quota {
				t.Fatalf("seed %d: %d frames, not %d", seed, n, len(there))
			}
		}
		for g, v := range there {
			var b [1]byte
			if err := s.ReadPhys(g.Addr()+7, b[:]); err != nil || !bytes.Equal(b[:], []byte{v}) {
				t.Fatalf("seed %d: in the end %#x holds %d, not %d: %v", seed, g, b[0], v, err)
			}
		}
		release(t, k, s)
		k.allFree(t)
	}
}

// TestReclaim: what is zero goes to where memory is wanted, and nothing else does.
func TestReclaim(t *testing.T) {
	k := newMachine(t, 512, 4096)
	s := k.space(t, NPT, 2000)
	s.LimitDemand(1024)
	s.LimitDemand(600) // not less than before
	if err := s.Populate(0, 1024, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.MapPoD(1024, 900); err != nil {
		t.Fatal(err)
	}
	for g := GFN(0); g < 512; g += 2 { // half of the first large page is in use
		if err := s.WritePhys(g.Addr()+4095, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Pin(700); err != nil { // of the second a frame is held
		t.Fatal(err)
	}
	// A guest that writes while it is looked for: the flush is when it has to leave.
	const late = 5
	frame := s.p2m.Lookup(late).MFN
	k.onFlush = func() {
		if s.p2m.Lookup(late).Type == TypePoD {
			k.onFlush = nil
			k.Page(frame).Store32(0, 77)
		}
	}
	got := 0
	for g := GFN(1024); g < 1024+900; g++ {
		err := s.WritePhys(g.Addr(), []byte{2})
		if err != nil {
			if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "its balloon driver") {
				t.Fatal(err)
			}
			break
		}
		got++
	}
	// All zero frames but the one that is held and the one that was written to.
	if want := 256 + 512 - 2; got != want || s.TotPages() != 1024 {
		t.Errorf("%d pages made of zero ones, want %d; %d in all", got, want, s.TotPages())
	}
	var b [4]byte
	if err := s.ReadPhys(GFN(late).Addr(), b[:]); err != nil || b[0] != 77 {
		t.Errorf("what was written late: %d, %v", b[0], err)
	}
	for g := GFN(0); g < 512; g += 2 {
		if err := s.ReadPhys(g.Addr()+4095, b[:1]); err != nil || b[0] != 1 {
			t.Fatalf("%#x lost its content: %d, %v", g, b[0], err)
		}
	}
	s.Unpin(700)
	s.LimitDemand(2000)
	if err := s.WritePhys(GFN(1900).Addr(), []byte{1}); err != nil {
		t.Errorf("with a higher limit: %v", err)
	}
	release(t, k, s)
	k.allFree(t)
}

// TestLowered: a guest that is to have less goes on using what it was promised, until it
// gives it back; it gets no more again than it is to have.
func TestLowered(t *testing.T) {
	const most, less, pod = 300, 100, 50
	k := newMachine(t, 512, 4096)
	s := k.space(t, NPT, most)
	s.LimitDemand(most)
	if err := s.Populate(0, most-pod, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.MapPoD(most-pod, pod); err != nil {
		t.Fatal(err)
	}
	write := func(g GFN) error { return s.WritePhys(g.Addr(), []byte{1}) }
	for g := range GFN(most - pod) { // so that there is nothing to take back
		if err := write(g); err != nil {
			t.Fatal(err)
		}
	}
	s.SetMaxPages(less)
	if n, err := s.PopulatePhysmap([]GFN{1000}, 0); n != 0 || !errors.Is(err, ErrQuota) {
		t.Errorf("more though it is to give: %d, %v", n, err)
	}
	if err := write(most - 1); err != nil {
		t.Errorf("the first use of a page that it was promised: %v", err)
	}
	// It gives the first ones back, and gets as many again as it is to have.
	for g := range GFN(most - less) {
		if n, err := s.DecreaseReservation([]GFN{g}, 0); n != 1 {
			t.Fatal(g, err)
		}
	}
	got := 0
	for g := range GFN(most - less) {
		if n, _ := s.PopulatePhysmap([]GFN{g}, 0); n == 0 {
			break
		}
		got++
	}
	had := s.TotPages()
	for g := GFN(most - pod); g < most; g++ {
		_ = write(g)
	}
	if s.TotPages() > less || got > pod-1 {
		t.Errorf("%d pages were got again, then it had %d, and with what it was promised %d; want %d", got, had, s.TotPages(), less)
	}
	release(t, k, s)
	k.allFree(t)
}

// TestHoldWaits: a page that is looked at, whether it may be taken back, can't be held for
// a moment. Who wants it waits for that: the guest has done nothing wrong.
func TestHoldWaits(t *testing.T) {
	k := newMachine(t, 512, 64)
	s := k.space(t, NPT, 60)
	if err := s.Populate(3, 1, nil); err != nil {
		t.Fatal(err)
	}
	s.p2m.mu.Lock()
	e := s.p2m.Lookup(3)
	if err := s.claim(3, 0, e); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Pin(3)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it has not waited: %v", err)
		done <- err
	case <-time.After(20 * time.Millisecond):
	}
	s.unclaim(0, e)
	s.p2m.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.Unpin(3)
	release(t, k, s)
	k.allFree(t)
}
