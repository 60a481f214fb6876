package block

import (
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	small := Info{Sectors: 100, SectorSize: 512, CanFlush: true, CanDiscard: true, MaxSegments: 2, MaxBytes: 8192}
	large, fixed, plain := small, small, small
	large.SectorSize = 4096
	fixed.ReadOnly = true
	plain.CanFlush, plain.CanDiscard = false, false
	page := []Segment{{Len: 4096}}
	for _, c := range []struct {
		name string
		i    Info
		r    Request
		want error
	}{
		{"a page", small, Request{Op: Write, Sector: 92, Segments: page}, nil},
		{"across the end", small, Request{Op: Write, Sector: 93, Segments: page}, ErrRange},
		{"behind the end", small, Request{Sector: 100, Segments: page}, ErrRange},
		{"wraps", small, Request{Sector: ^uint64(0) - 3, Segments: page}, ErrRange},
		{"nothing", small, Request{}, ErrRange},
		{"an empty segment", small, Request{Segments: []Segment{{Len: 512}, {}}}, ErrRange},
		{"too many segments", small, Request{Segments: []Segment{{Len: 512}, {Len: 512}, {Len: 512}}}, ErrRange},
		{"odd offset", small, Request{Segments: []Segment{{Off: 100, Len: 512}}}, ErrRange},
		{"odd length", small, Request{Segments: []Segment{{Len: 100}}}, ErrRange},
		{"beyond the page", small, Request{Segments: []Segment{{Off: 512, Len: 4096}}}, ErrRange},
		{"half of a large sector", large, Request{Segments: []Segment{{Len: 512}}}, ErrRange},
		{"between large sectors", large, Request{Sector: 4, Segments: page}, ErrRange},
		{"a large sector", large, Request{Sector: 8, Segments: page}, nil},
		{"reads a read-only one", fixed, Request{Segments: page}, nil},
		{"writes a read-only one", fixed, Request{Op: WriteFUA, Segments: page}, ErrReadOnly},
		{"discards on a read-only one", fixed, Request{Op: Discard, Sectors: 1}, ErrReadOnly},
		{"flush", fixed, Request{Op: Flush}, nil},
		{"flush with data", small, Request{Op: Flush, Segments: page}, ErrRange},
		{"flush of what has no cache", plain, Request{Op: Flush}, ErrUnsupported},
		{"discard", small, Request{Op: Discard, Sector: 1, Sectors: 99}, nil},
		{"discard across the end", small, Request{Op: Discard, Sector: 2, Sectors: 99}, ErrRange},
		{"discard of all there is and more", small, Request{Op: Discard, Sector: 1, Sectors: ^uint64(0)}, ErrRange},
		{"discard of nothing", small, Request{Op: Discard}, ErrRange},
		{"no discard", plain, Request{Op: Discard, Sectors: 1}, ErrUnsupported},
		{"no such operation", small, Request{Op: 99, Segments: page}, ErrUnsupported},
	} {
		n, err := c.i.Check(&c.r)
		if !errors.Is(err, c.want) || err == nil && c.r.Segments != nil && n != 4096 {
			t.Errorf("%s: %d bytes, %v; want %v", c.name, n, err, c.want)
		}
	}
}
