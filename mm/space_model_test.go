package mm

import (
	"math/rand/v2"
	"testing"
)

// TestSpaceModel runs random operations. The TLB of the test forgets nothing by
// itself; a frame that it holds must not be freed, and after an operation it
// must agree with the tables.
func TestSpaceModel(t *testing.T) {
	for _, f := range []*Format{NPT, EPT} {
		for seed := range uint64(5) {
			spaceModel(t, f, rand.New(rand.NewPCG(seed, 3)))
		}
	}
}

func spaceModel(t *testing.T, f *Format, r *rand.Rand) {
	t.Helper()
	k := newMachine(t, 512, 2500)
	tlb := map[GFN]Entry{}
	flushes := 0
	k.onFlush = func() { clear(tlb); flushes++ }
	k.onFree = func(m MFN, order uint) {
		table := k.Frames().Info(m).Kind == FrameTable
		for g, e := range tlb {
			if table || e.MFN >= m && e.MFN < m+1<<order {
				t.Fatalf("frame %#x (order %d) freed while the TLB has it for %#x", m, order, g)
			}
		}
	}
	s := k.space(t, f, 1800)
	special := [3]MFN{}
	for i := range special {
		special[i], _ = k.AllocFrames(0, FrameSpecial, DomIDXen, ZoneAny)
	}
	granted := [4]MFN{} // of domain 9
	for i := range granted {
		granted[i], _ = k.AllocFrames(0, FrameGuest, 9, ZoneAny)
	}
	grants := map[GFN]bool{}
	pins := map[GFN]int{}
	owner := map[MFN]GFN{}
	for range 2000 {
		g := GFN(r.IntN(2048))
		order := []uint{0, 0, 0, 0, 2, 9}[r.IntN(6)]
		a := g >> order << order
		switch r.IntN(12) {
		case 0, 1:
			s.PopulatePhysmap([]GFN{a, a + 512}, order)
		case 2, 3:
			s.DecreaseReservation([]GFN{a, a + 512}, order)
		case 4:
			s.AddSpecial(g, special[r.IntN(3)])
		case 5:
			s.RemoveFromPhysmap(g)
		case 6:
			s.Move(g, GFN(r.IntN(2048)))
		case 7:
			if _, err := s.Pin(g); err == nil {
				pins[g]++
			}
		case 8:
			for g := range pins {
				s.Unpin(g)
				if pins[g]--; pins[g] == 0 {
					delete(pins, g)
				}
				break
			}
		case 10:
			if s.AddGrant(g, granted[r.IntN(len(granted))], 9, r.IntN(2) == 0) == nil {
				grants[g] = true
			}
		case 11:
			for g := range grants {
				if err := s.RemoveGrant(g); err != nil {
					t.Fatal(err)
				}
				delete(grants, g)
			}
			s.Settle()
		case 9:
			for i := g; i < g+100; i++ {
				if e := s.p2m.Lookup(i); e.Type != TypeNone {
					tlb[i] = e
				}
			}
		}
		for g, e := range tlb {
			if now := s.p2m.Lookup(g); now.MFN != e.MFN || now.Type != e.Type {
				t.Fatalf("guest frame %#x: the TLB has %v, the table %v", g, e, now)
			}
		}
		for g := range pins {
			if s.p2m.Lookup(g).Type != TypeRAM {
				t.Fatalf("pinned guest frame %#x lost its memory", g)
			}
		}
		clear(owner)
		ram := uint64(0)
		for g, e := range s.p2m.All(0, 4096) {
			for i := range MFN(1) << e.Order {
				if e.Type == TypeRAM {
					ram++
				}
				if old, ok := owner[e.MFN+i]; ok && !grants[g] {
					t.Fatalf("frame %#x is at %#x and %#x", e.MFN+i, old, g)
				}
				owner[e.MFN+i] = g
			}
		}
		if st := k.Stats(); ram != s.TotPages() || st.Kinds[FrameGuest] != ram+uint64(len(granted)) || st.Kinds[FrameTable] != uint64(s.p2m.Tables()) {
			t.Fatalf("%d frames mapped, %d counted, machine %v", ram, s.TotPages(), st.Kinds)
		}
	}
	if flushes == 0 {
		t.Error("no flush in the whole run")
	}
	for g := range grants {
		if s.p2m.Lookup(g).Type != TypeGrantRO && s.p2m.Lookup(g).Type != TypeGrantRW {
			t.Errorf("guest frame %#x lost its grant", g)
		}
		s.RemoveGrant(g)
	}
	for _, m := range granted { // their owner ends while they may be mapped
		if last, _ := k.Frames().Disown(m, 9); last {
			k.FreeFrames(m, 0)
		}
	}
	for g, n := range pins {
		for range n {
			s.Unpin(g)
		}
	}
	release(t, k, s)
	for _, m := range special {
		k.FreeFrames(m, 0)
	}
	k.allFree(t)
}
