package mm

import (
	"math/rand/v2"
	"testing"
)

func TestFramesRanges(t *testing.T) {
	var f Frames
	f.Init(make([]FrameInfo, 4096))
	for _, c := range []struct {
		start, end MFN
		want       FrameStatus
	}{
		{0, 0, FrameBadRange}, {5, 4, FrameBadRange}, {0, 4097, FrameBadRange},
		{4095, InvalidMFN, FrameBadRange}, {InvalidMFN, InvalidMFN, FrameBadRange},
		{3, 100, FrameOK}, {50, 60, FrameBadState}, {0, 4, FrameBadState}, {99, 101, FrameBadState},
		{0, 3, FrameOK}, {256, 4096, FrameOK},
	} {
		if got := f.AddRange(c.start, c.end); got != c.want {
			t.Errorf("AddRange(%d, %d) = %v, want %v", c.start, c.end, got, c.want)
		}
	}
	if st := f.Stats(); st.Total != 100+3840 || st.Free != st.Total || st.Low != st.Free {
		t.Fatalf("stats %+v", st)
	}
	before := f.Stats()
	if s := f.Reserve(10, 300, FrameKernel, DomIDXen); s != FrameOK { // over a hole
		t.Fatal(s)
	}
	if s := f.Reserve(299, 301, FrameKernel, DomIDXen); s != FrameBadState {
		t.Fatal(s)
	}
	if st := f.Stats(); before.Free-st.Free != 90+44 || st.Kinds[FrameKernel] != 290 {
		t.Fatalf("stats %+v", st)
	}
	if s := f.AddRange(120, 130); s != FrameBadState { // a reserved hole
		t.Error(s)
	}
	if f.Free(10, 1) != FrameOK || f.Info(10) != (Frame{}) {
		t.Fatal("reserved RAM can't be freed")
	}
}

func TestFramesBadInput(t *testing.T) {
	var f Frames
	f.Init(make([]FrameInfo, 1024))
	f.AddRange(0, 1024)
	if _, ok := f.Alloc(MaxOrder+1, FrameGuest, 1, ZoneAny); ok {
		t.Error("order 19 allocated")
	}
	if _, ok := f.Alloc(11, FrameGuest, 1, ZoneAny); ok {
		t.Error("more than there is")
	}
	for _, k := range []FrameKind{FrameNone, frameFree, numKinds, 255} {
		if _, ok := f.Alloc(0, k, 1, ZoneAny); ok {
			t.Errorf("kind %d allocated", k)
		}
	}
	m, _ := f.Alloc(3, FrameGuest, 1, ZoneAny)
	for _, c := range []struct {
		m    MFN
		o    uint
		want FrameStatus
	}{
		{m + 1, 1, FrameBadRange}, {1024, 0, FrameBadRange}, {InvalidMFN, 0, FrameBadRange},
		{0, 64, FrameBadRange}, {0, 0, FrameBadState}, {m &^ 15, 4, FrameBadState},
	} {
		if got := f.Free(c.m, c.o); got != c.want {
			t.Errorf("Free(%#x, %d) = %v, want %v", c.m, c.o, got, c.want)
		}
	}
	if s := f.AllocAt(m, 0, FrameGuest, 1); s != FrameBadState {
		t.Errorf("AllocAt of a used frame: %v", s)
	}
	if s := f.AllocAt(16, 4, FrameGuest, 2); s != FrameOK || f.CountOwner(2) != 16 {
		t.Errorf("AllocAt: %v, %d frames", s, f.CountOwner(2))
	}
	if f.Free(16, 4) != FrameOK || f.Free(m, 3) != FrameOK || f.Free(m, 3) != FrameBadState {
		t.Error("free, or free twice")
	}
	if st := f.Stats(); st.Blocks[10] != 1 || st.Free != 1024 {
		t.Errorf("not joined: %+v", st)
	}
}

func TestFramesRefs(t *testing.T) {
	var f Frames
	f.Init(make([]FrameInfo, 16))
	f.AddRange(0, 16)
	m, _ := f.Alloc(2, FrameGuest, 1, ZoneAny)
	if f.GFN(m) != InvalidGFN {
		t.Error("a fresh frame has a place")
	}
	f.SetGFN(m, 0x9_8765_4321)
	if f.GFN(m) != 0x9_8765_4321 || f.GFN(99) != InvalidGFN || f.GFN(15-m) != InvalidGFN {
		t.Error("GFN")
	}
	check := func(what string, got, want FrameStatus) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("other owner", f.Ref(m, 2), FrameBadState)
	check("out of range", f.Ref(16, 1), FrameBadRange)
	check("ref", f.Ref(m+1, 1), FrameOK)
	check("free referenced", f.Free(m, 2), FrameBusy)
	check("claim referenced", f.Claim(m, 2, 1), FrameBusy)
	check("owner of referenced", f.SetOwner(m+1, 1, 2), FrameBusy)
	for i := MFN(0); i < 4; i++ { // the failures changed nothing
		if n := f.Info(m + i).Refs; n != 1 && !(i == 1 && n == 2) {
			t.Errorf("frame %d has %d references", i, n)
		}
	}
	if last, s := f.Unref(m + 1); last || s != FrameOK {
		t.Error("unref")
	}
	check("claim", f.Claim(m, 2, 1), FrameOK)
	check("ref claimed", f.Ref(m, 1), FrameBadState)
	check("claim twice", f.Claim(m, 2, 1), FrameBadState)
	f.Unclaim(m, 2)
	check("ref", f.Ref(m, 1), FrameOK)
	f.meta[m].store(f.meta[m].load()&^(1<<32-1) | maxRefs)
	check("overflow", f.Ref(m, 1), FrameOverflow)
	f.meta[m].store(f.meta[m].load()&^(1<<32-1) | 1)
	check("owner", f.SetOwner(m, 1, 2), FrameOK)
	check("ref of the new", f.Ref(m, 2), FrameOK)
	f.Unref(m)
	if last, s := f.Unref(m); !last || s != FrameOK {
		t.Error("last unref")
	}
	if _, s := f.Unref(m); s != FrameBadState {
		t.Error("too many unrefs")
	}
	check("free with mixed references", f.Free(m, 2), FrameBusy)
	check("free", f.Free(m, 0), FrameOK)
}

func TestFramesZones(t *testing.T) {
	var f Frames
	f.Init(make([]FrameInfo, lowFrames+512))
	f.AddRange(lowFrames-64, lowFrames+512)
	for i := range 512 {
		if m, ok := f.Alloc(0, FrameGuest, 1, ZoneAny); !ok || m < lowFrames {
			t.Fatalf("%d: frame %#x while high memory is left", i, m)
		}
	}
	if m, ok := f.Alloc(0, FrameGuest, 1, ZoneAny); !ok || m >= lowFrames {
		t.Fatalf("frame %#x", m)
	}
	for range 63 {
		if m, ok := f.Alloc(0, FrameKernel, 1, ZoneLow); !ok || m >= lowFrames {
			t.Fatalf("frame %#x", m)
		}
	}
	if _, ok := f.Alloc(0, FrameGuest, 1, ZoneAny); ok {
		t.Fatal("frame from nowhere")
	}
	if st := f.Stats(); st.Low != 0 || st.Kinds[FrameGuest] != 513 {
		t.Fatalf("%+v", st)
	}
}

// TestFramesModel runs random operations against a plain map of who has what.
func TestFramesModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var f Frames
		const n = 5000
		f.Init(make([]FrameInfo, n))
		ram := make([]bool, n)
		for m := MFN(r.IntN(20)); m < n; {
			end := min(m+MFN(1+r.IntN(2000)), n)
			if s := f.AddRange(m, end); s != FrameOK {
				t.Fatal(s)
			}
			for i := m; i < end; i++ {
				ram[i] = true
			}
			m = end + MFN(r.IntN(100))
		}
		start := f.Stats()
		type block struct {
			m MFN
			o uint
		}
		var blocks []block
		used := make([]bool, n)
		nused := uint64(0)
		for range 5000 {
			if r.IntN(2) == 0 || len(blocks) == 0 {
				o := uint(r.IntN(8))
				m, ok := MFN(0), false
				if r.IntN(4) == 0 {
					m = MFN(r.IntN(n)) &^ (1<<o - 1)
					want := m+1<<o <= n
					for i := m; want && i < m+1<<o; i++ {
						want = ram[i] && !used[i]
					}
					s := f.AllocAt(m, o, FrameGuest, DomID(o))
					// A block that free blocks hold only together is refused.
					if ok = s == FrameOK; ok && !want {
						t.Fatalf("AllocAt(%#x, %d) of used memory", m, o)
					}
				} else {
					m, ok = f.Alloc(o, FrameGuest, DomID(o), ZoneAny)
				}
				if !ok {
					continue
				}
				for i := m; i < m+1<<o; i++ {
					if used[i] || !ram[i] || f.Info(i) != (Frame{FrameGuest, DomID(o), 1}) {
						t.Fatalf("frame %#x: used %v, RAM %v, %+v", i, used[i], ram[i], f.Info(i))
					}
					used[i] = true
				}
				nused += 1 << o
				blocks = append(blocks, block{m, o})
			} else {
				i := r.IntN(len(blocks))
				b := blocks[i]
				if b.o > 0 && r.IntN(3) == 0 { // free one half
					blocks[i] = block{b.m + 1<<(b.o-1), b.o - 1}
					b.o--
				} else {
					blocks[i] = blocks[len(blocks)-1]
					blocks = blocks[:len(blocks)-1]
				}
				if s := f.Free(b.m, b.o); s != FrameOK {
					t.Fatalf("Free(%#x, %d): %v", b.m, b.o, s)
				}
				for i := b.m; i < b.m+1<<b.o; i++ {
					used[i] = false
				}
				nused -= 1 << b.o
			}
			if st := f.Stats(); st.Free != st.Total-nused || st.Kinds[FrameGuest] != nused {
				t.Fatalf("%+v with %d used", st, nused)
			}
		}
		for _, b := range blocks {
			if s := f.Free(b.m, b.o); s != FrameOK {
				t.Fatal(s)
			}
		}
		if f.Stats() != start {
			t.Fatalf("seed %d: not what it was:\n%+v\n%+v", seed, f.Stats(), start)
		}
	}
}

// TestFramesNoAlloc: kernel entry may not allocate.
func TestFramesNoAlloc(t *testing.T) {
	var f Frames
	f.Init(make([]FrameInfo, 1024))
	f.AddRange(0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		m, _ := f.Alloc(3, FrameGuest, 1, ZoneAny)
		f.Ref(m, 1)
		f.Unref(m)
		f.Claim(m, 3, 1)
		f.Free(m, 3)
		f.Free(m, 3)
		f.Reserve(5, 6, FrameKernel, 1)
		f.Free(5, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var many Frames
	many.Init(make([]FrameInfo, 1024))
	s := FrameOK
	for m := MFN(0); m < 1024 && s == FrameOK; m += 2 {
		s = many.AddRange(m, m+1)
	}
	if s != FrameOverflow {
		t.Error(s)
	}
}

func BenchmarkFramesAllocFree(b *testing.B) {
	var f Frames
	f.Init(make([]FrameInfo, 1<<20))
	f.AddRange(0, 1<<20)
	for b.Loop() {
		m, _ := f.Alloc(0, FrameGuest, 1, ZoneAny)
		f.Free(m, 0)
	}
}

func BenchmarkFramesAllocFree2M(b *testing.B) {
	var f Frames
	f.Init(make([]FrameInfo, 1<<20))
	f.AddRange(0, 1<<20)
	for b.Loop() {
		m, _ := f.Alloc(9, FrameGuest, 1, ZoneAny)
		f.Free(m, 9)
	}
}

func BenchmarkFramesRef(b *testing.B) {
	var f Frames
	f.Init(make([]FrameInfo, 16))
	f.AddRange(0, 16)
	m, _ := f.Alloc(0, FrameGuest, 1, ZoneAny)
	for b.Loop() {
		f.Ref(m, 1)
		f.Unref(m)
	}
}
