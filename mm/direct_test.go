package mm

import (
	"errors"
	"testing"
)

// openTypes lets everybody write to everything.
type openTypes struct{}

func (openTypes) GetWritable(MFN, DomID) bool { return true }
func (openTypes) PutWritable(MFN)             {}

// TestDirectFrames: a block is nobody's until it is given, counts when it is charged, and
// goes one way only.
func TestDirectFrames(t *testing.T) {
	k := newMachine(t, 512, 1100)
	m2p, err := NewM2P(k, 512+1100)
	if err != nil {
		t.Fatal(err)
	}
	for _, narrow := range []bool{false, true} {
		e := m2p.Extents(narrow)
		if len(e) != 1 {
			t.Fatalf("%d extents", len(e))
		}
		const m, pfn = 1023, 0x5678
		m2p.Set(m, pfn)
		at, got := m*8, uint64(0)
		if narrow {
			at = m * 4
		}
		if pg := k.Page(e[0] + MFN(at>>PageShift)); narrow {
			got = uint64(pg.Load32(at & PageMask))
		} else {
			got = pg.Load64(at & PageMask)
		}
		if got != pfn {
			t.Errorf("narrow %v: %#x in the extent", narrow, got)
		}
		m2p.Set(m, InvalidM2P)
	}
	s, err := NewSpace(SpaceConfig{Owner: 7, Memory: k, Flusher: k, Format: NPT, MaxOrder: 9, MaxTables: 1, MaxPages: 20,
		Direct: &Direct{Types: openTypes{}, M2P: m2p}})
	if err != nil {
		t.Fatal(err)
	}
	f := k.Frames()
	m, err := s.FreshFrames(2, ZoneAny)
	if err != nil {
		t.Fatal(err)
	}
	for i := range MFN(4) {
		if f.Info(m+i).Owner == 7 || s.ReadPhys(GFN(m+i).Addr(), make([]byte, 1)) == nil {
			t.Fatalf("frame %#x is the domain's before it is given", m+i)
		}
	}
	if s.TotPages() != 0 {
		t.Error("it counts")
	}
	s.FreeFresh(m, 2)

	if m, err = s.AllocDirect(2, ZoneAny); err != nil || s.TotPages() != 4 {
		t.Fatal(err, s.TotPages())
	}
	if err := s.WritePhys(GFN(m+3).Addr(), []byte{5}); err != nil {
		t.Fatal(err)
	}
	m2p.Set(m+3, 99)
	// Exchanged for a fresh one: the count stays.
	n, err := s.FreshFrames(0, ZoneAny)
	if err != nil || f.Claim(m+3, 0, 7) != FrameOK {
		t.Fatal(err)
	}
	s.GiveFresh(n, 0)
	s.TakeDirect(m + 3)
	if s.TotPages() != 4 || f.Info(n).Owner != 7 || f.Info(m+3).Owner == 7 || m2p.Get(m+3) != InvalidM2P {
		t.Error(s.TotPages(), f.Info(n), f.Info(m+3), m2p.Get(m+3))
	}
	var b [1]byte
	if err := s.ReadPhys(GFN(n).Addr(), b[:]); err != nil || b[0] != 0 {
		t.Error("not cleared:", err, b)
	}
	if _, err := s.AllocDirect(5, ZoneAny); !errors.Is(err, ErrQuota) || s.TotPages() != 4 {
		t.Error(err, s.TotPages())
	}
	if err := s.Charge(16); err != nil || s.Charge(1) == nil {
		t.Error(err)
	}
	s.Uncharge(16)
	if f.Claim(m, 0, 7) != FrameOK {
		t.Fatal("not claimed")
	}
	s.FreeDirect(m)
	if s.TotPages() != 3 {
		t.Error(s.TotPages())
	}
	release(t, k, s)
	m2p.Free()
	k.allFree(t)
}
