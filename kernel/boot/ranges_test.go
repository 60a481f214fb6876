package boot

import (
	"math/rand"
	"testing"
)

// checkRanges asserts what every table promises.
func checkRanges(t *testing.T, list []Range) {
	t.Helper()
	for i, r := range list {
		if r.Start >= r.End || r.End > MaxPhys {
			t.Fatalf("range %d %+v: empty or out of bounds", i, r)
		}
		if r.Type < MemUsable || r.Type > MemUnusable {
			t.Fatalf("range %d %+v: impossible type", i, r)
		}
		if i == 0 {
			continue
		}
		p := list[i-1]
		if p.End > r.Start {
			t.Fatalf("ranges %+v and %+v overlap or are not sorted", p, r)
		}
		if p.End == r.Start && p.Type == r.Type {
			t.Fatalf("ranges %+v and %+v are not merged", p, r)
		}
	}
}

// TestRangesModel compares the table with a map of single cells.
func TestRangesModel(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for round := range 2000 {
		var rt rangeTable
		var model [64]MemType
		for range rng.Intn(20) {
			start, size := uint64(rng.Intn(64)), uint64(rng.Intn(20))
			size = min(size, 64-start)
			typ := MemType(rng.Intn(5) + 1)
			if !rt.add(start, size, typ) {
				t.Fatal("table full")
			}
			for i := start; i < start+size; i++ {
				if model[i] == 0 || typ.rank() > model[i].rank() {
					model[i] = typ
				}
			}
		}
		checkRanges(t, rt.list[:rt.n])
		var got [64]MemType
		for _, r := range rt.list[:rt.n] {
			for i := r.Start; i < r.End; i++ {
				got[i] = r.Type
			}
		}
		if got != model {
			t.Fatalf("round %d:\n got %v\nwant %v", round, got, model)
		}
	}
}

func TestRangesLimits(t *testing.T) {
	var rt rangeTable
	for i := range uint64(MaxRanges) {
		if !rt.add(i*0x2000, 0x1000, MemUsable) {
			t.Fatalf("range %d refused", i)
		}
	}
	before := rt.list
	if rt.add(0x5000_0000, 0x1000, MemUsable) {
		t.Error("a range too many was accepted")
	}
	if rt.add(0x100, 0x100, MemReserved) {
		t.Error("a hole that splits a range was accepted")
	}
	if rt.n != MaxRanges || rt.list != before {
		t.Error("a refused range changed the table")
	}
	if !rt.add(0x1000, 0x1000, MemUsable) || rt.n != MaxRanges-1 {
		t.Errorf("filling a gap: %d ranges, want %d", rt.n, MaxRanges-1)
	}

	rt = rangeTable{}
	for _, c := range []struct{ start, size uint64 }{
		{MaxPhys, 1}, {^uint64(0), 1}, {^uint64(0), ^uint64(0)}, {0x1000, 0},
	} {
		if !rt.add(c.start, c.size, MemUsable) || rt.n != 0 {
			t.Errorf("add(%#x, %#x) kept something: %v", c.start, c.size, rt.list[:rt.n])
		}
	}
	rt.add(0x1000, ^uint64(0), MemReserved)
	if want := (Range{0x1000, MaxPhys, MemReserved}); rt.n != 1 || rt.list[0] != want {
		t.Errorf("got %v, want %v", rt.list[0], want)
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []struct{ start, end, first, last uint64 }{
		{0, 0x9fc00, 0, 0x9f}, {1, 0x3000, 1, 3}, {0x1001, 0x1fff, 2, 1},
	} {
		f, l := Range{Start: c.start, End: c.end}.Frames()
		if f != c.first || l != c.last {
			t.Errorf("[%#x,%#x): frames %#x to %#x, want %#x to %#x", c.start, c.end, f, l, c.first, c.last)
		}
	}
}
