package blkback_test

import (
	"testing"

	"nidus/drivers/block/ram"
	"nidus/mm"
)

// TestLargeSectors: of a disk with sectors of 4096 bytes the guest is told so, still in
// units of 512. Segments that are whole sectors together are done, however the device's
// limits cut them; what is no whole sector is an error, and not a breach of the protocol.
func TestLargeSectors(t *testing.T) {
	g := newGuest(t, ram.Config{Bytes: 1 << 20, SectorSize: 4096})
	g.begin(&limited{Disk: g.disk}, false)
	g.connect(0)
	for name, want := range map[string]string{"sectors": "2048", "sector-size": "4096", "physical-sector-size": "4096"} {
		if v, err := g.Store.Read("/local/domain/0/backend/vbd/1/51712/" + name); v != want {
			t.Errorf("%s is %q, %v", name, v, err)
		}
	}
	page, low, high := seg{firstData, 0, 7}, seg{firstData + 1, 0, 3}, seg{firstData + 2, 4, 7}
	for _, c := range []struct {
		sector uint64
		segs   []seg
		want   int16
	}{
		{0, []seg{page}, 0}, {2040, []seg{page}, 0}, {8, []seg{low, high}, 0}, {8, []seg{low, high, low, high}, 0}, {8, []seg{page, low, high, low, high, page}, 0},
		{1, []seg{page}, -1}, {4, []seg{page}, -1}, {8, []seg{low}, -1}, {8, []seg{page, high}, -1}, {2048, []seg{page}, -1}, {2040, []seg{page, page}, -1},
	} {
		for op := range uint8(2) {
			if a := g.do(req{op: op, sector: c.sector, segs: c.segs}); a.status != c.want {
				t.Errorf("operation %d, sector %d, %v: %+v", op, c.sector, c.segs, a)
			}
		}
	}
	// Two halves, from two pages, are a sector.
	g.Page(low.ref).Write(0, []byte("begin"))
	g.Page(high.ref).Write(mm.PageSize-3, []byte("end"))
	g.do(req{op: 1, sector: 16, segs: []seg{low, high}})
	g.do(req{op: 0, sector: 16, segs: []seg{page}})
	var b [mm.PageSize]byte
	if g.Page(page.ref).Read(0, b[:]); string(b[:5]) != "begin" || string(b[mm.PageSize-3:]) != "end" {
		t.Errorf("the sector is %q...%q", b[:5], b[mm.PageSize-3:])
	}
	if l := g.Lines(); len(l) != 0 {
		t.Errorf("log: %q", l)
	}
}
