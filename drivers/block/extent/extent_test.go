package extent

import (
	"bytes"
	"errors"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

const sector = 512

// TestModel: random reads and writes over pieces in any order of a disk, and what is
// beside them stays as it was.
func TestModel(t *testing.T) {
	for seed := range int64(8) {
		rnd := rand.New(rand.NewSource(seed))
		m := domaintest.New(t, 256)
		mem := m.Host.Memory
		base := make([]byte, 128*sector)
		rnd.Read(base)
		under, err := ram.New(ram.Config{Memory: mem, Base: bytes.Clone(base)})
		if err != nil {
			t.Fatal(err)
		}
		// Pieces of 1 to 9 sectors, from places of 10.
		readOnly := seed%2 == 0
		var all []Extent
		at := uint64(0)
		for _, place := range rnd.Perm(12)[:8] {
			if readOnly && rnd.Intn(2) == 0 {
				at += uint64(rnd.Intn(5))
			}
			n := uint64(1 + rnd.Intn(9))
			all = append(all, Extent{at, uint64(place * 10), n})
			at += n
		}
		if readOnly {
			at += 3
		}
		d, err := New(Config{Disk: under, Extents: all, Sectors: at, ReadOnly: readOnly, Memory: mem, Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		model := make([]byte, at*sector)
		for _, e := range all {
			copy(model[e.First*sector:], base[e.Disk*sector:][:e.Sectors*sector])
		}
		frames := make([]mm.MFN, 4)
		for i := range frames {
			frames[i], _ = mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		}
		for range 1000 {
			var segs []block.Segment
			var data []byte
			for _, f := range frames[:1+rnd.Intn(4)] {
				off := rnd.Intn(8)
				g := block.Segment{Frame: f, Off: uint16(off * sector), Len: uint16((1 + rnd.Intn(8-off)) * sector)}
				b := make([]byte, g.Len)
				rnd.Read(b)
				mem.Page(f).Write(int(g.Off), b)
				segs, data = append(segs, g), append(data, b...)
			}
			first := uint64(rnd.Intn(int(at)))
			r := &block.Request{Op: block.Op(rnd.Intn(3)), Sector: first, Segments: segs}
			err := block.Do(d, r)
			switch {
			case readOnly && r.Op != block.Read:
				if !errors.Is(err, block.ErrReadOnly) {
					t.Fatalf("a write to what is read: %v", err)
				}
			case len(data) > len(model)-int(first*sector):
				if !errors.Is(err, block.ErrRange) {
					t.Fatalf("beyond the end: %v", err)
				}
			case err != nil:
				t.Fatal(err)
			case r.Op == block.Read:
				got := []byte{}
				for _, g := range segs {
					b := make([]byte, g.Len)
					mem.Page(g.Frame).Read(int(g.Off), b)
					got = append(got, b...)
				}
				if !bytes.Equal(got, model[first*sector:][:len(got)]) {
					t.Fatalf("seed %d: %d bytes at sector %d are others", seed, len(got), first)
				}
			default:
				copy(model[first*sector:], data)
			}
		}
		for _, e := range all {
			copy(base[e.Disk*sector:], model[e.First*sector:][:e.Sectors*sector])
		}
		got := make([]byte, len(base))
		for i := 0; i < len(base); i += mm.PageSize {
			if err := block.Do(under, &block.Request{Sector: uint64(i / sector), Segments: []block.Segment{{Frame: frames[0], Len: mm.PageSize}}}); err != nil {
				t.Fatal(err)
			}
			mem.Page(frames[0]).Read(0, got[i:][:mm.PageSize])
		}
		if !bytes.Equal(got, base) {
			t.Errorf("seed %d: the disk below is another one", seed)
		}
		d.Close()
		if err := block.Do(d, &block.Request{Segments: []block.Segment{{Frame: frames[0], Len: sector}}}); !errors.Is(err, block.ErrGone) {
			t.Errorf("after Close: %v", err)
		}
		under.Close()
		for _, f := range frames {
			mem.FreeFrames(f, 0)
		}
		m.CheckFree(t)
	}
}

func TestBad(t *testing.T) {
	m := domaintest.New(t, 16)
	under, err := ram.New(ram.Config{Memory: m.Host.Memory, Bytes: 64 << 10, SectorSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	for _, c := range []struct {
		why     string
		sectors uint64
		all     []Extent
	}{
		{"holes", 16, []Extent{{8, 8, 8}}},
		{"holes", 16, []Extent{{0, 8, 8}}},
		{"holes", 8, nil},
		{"less than a sector", 7, nil},
		{"not on the disk", 8, []Extent{{0, 128, 8}}},
		{"not on the disk", 16, []Extent{{0, 120, 16}}},
		{"not on the disk", 16, []Extent{{0, 1<<64 - 8, 16}}},
		{"not behind", 16, []Extent{{0, 8, 16}, {8, 32, 8}}},
		{"not behind", 16, []Extent{{0, 8, 0}}},
		{"not behind", 16, []Extent{{1<<64 - 8, 0, 16}}},
		{"within a sector", 16, []Extent{{0, 4, 16}}},
	} {
		if _, err := New(Config{Disk: under, Extents: c.all, Sectors: c.sectors}); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v: %v, not %s", c.all, err, c.why)
		}
	}
}

// TestFill: a write to holes waits for as many pieces as it needs, and reads don't.
func TestFill(t *testing.T) {
	m := domaintest.New(t, 64)
	mem := m.Host.Memory
	under, err := ram.New(ram.Config{Memory: mem, Bytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	all := []Extent{{4, 100, 2}}
	var d *Device
	fail, asked := error(nil), []uint64{}
	d, err = New(Config{Disk: under, Extents: all, Sectors: 16, Memory: mem, Fill: func(first, sectors uint64) error {
		asked = append(asked, first, sectors)
		if fail != nil {
			return fail
		}
		all = append(all, Extent{first, 20 + 2*first, 1})
		slices.SortFunc(all, func(a, b Extent) int { return int(a.First) - int(b.First) })
		return d.Set(slices.Clone(all), 16)
	}})
	if err != nil || d.Info().Prompt {
		t.Fatal(err, "or it does not wait")
	}
	f, _ := mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	do := func(op block.Op, at uint64, b []byte) error {
		mem.Page(f).Write(0, b)
		err := block.Do(d, &block.Request{Op: op, Sector: at, Segments: []block.Segment{{Frame: f, Len: uint16(len(b))}}})
		mem.Page(f).Read(0, b)
		return err
	}
	want := bytes.Repeat([]byte("12345678"), 5*sector/8)
	if err := do(block.Write, 2, bytes.Clone(want)); err != nil || !slices.Equal(asked, []uint64{2, 2, 3, 1, 6, 1}) {
		t.Errorf("%v; it asked for %v", err, asked)
	}
	got := make([]byte, 8*sector)
	if err := do(block.Read, 0, got); err != nil || !bytes.Equal(got, slices.Concat(make([]byte, 2*sector), want, make([]byte, sector))) || len(asked) != 6 {
		t.Errorf("%v; it reads otherwise, or asked for %v", err, asked)
	}
	fail = block.ErrNoSpace
	if err := do(block.Write, 6, make([]byte, 2*sector)); !errors.Is(err, fail) {
		t.Error(err)
	}
	if err := do(block.Write, 2, make([]byte, 5*sector)); err != nil {
		t.Error(err)
	}
	d.Close()
	under.Close()
	mem.FreeFrames(f, 0)
	m.CheckFree(t)
}
