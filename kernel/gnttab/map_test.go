package gnttab_test

import (
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/gnttab"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

const (
	permit   = xenabi.GTFPermitAccess
	readonly = xenabi.GTFReadonly
	hostMap  = xenabi.GntMapHostMap
	mapRO    = xenabi.GntMapReadonly
	self     = uint16(mm.DomIDSelf)
)

// pair is a domain 1 that grants and a domain 2 that maps, with 64 pages each.
func pair(t *testing.T) (m *domaintest.Machine, g, p *party) {
	m = domaintest.New(t, 2048)
	t.Cleanup(func() { m.CheckFree(t) })
	return m, newParty(t, m, 1, 64), newParty(t, m, 2, 64)
}

func TestMapRefusals(t *testing.T) {
	_, g, p := pair(t)
	g.entry(8, permit, 2, 10)
	g.entry(9, permit|readonly, 2, 11)
	g.entry(10, permit, 3, 12)
	g.entry(11, xenabi.GTFAcceptTransfer, 2, 13)
	g.entry(12, permit, 2, 64)       // beyond its memory
	g.entry(13, permit, 2, 1<<32-1)  // far beyond
	g.entry(14, permit|0x100, 2, 10) // a part of a page
	if _, err := g.d.Space.Pin(12); err != nil {
		t.Fatal(err)
	}
	if _, err := p.d.Space.Pin(12); err != nil {
		t.Fatal(err)
	}
	defer p.d.Space.Unpin(12)
	defer g.d.Space.Unpin(12)
	for _, c := range []struct {
		name  string
		dom   mm.DomID
		ref   uint32
		at    mm.GFN
		flags uint32
		want  xenabi.GnttabStatus
	}{
		{"no kind of mapping", 1, 8, 100, 0, xenabi.GNTSTBadGntref},
		{"for a device", 1, 8, 100, xenabi.GntMapDeviceMap, xenabi.GNTSTGeneralError},
		{"for a device too", 1, 8, 100, hostMap | xenabi.GntMapDeviceMap, xenabi.GNTSTGeneralError},
		{"for an application", 1, 8, 100, hostMap | xenabi.GntMapApplicationMap, xenabi.GNTSTGeneralError},
		{"a page-table entry", 1, 8, 100, hostMap | xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError},
		{"nobody", 9, 8, 100, hostMap, xenabi.GNTSTBadDomain},
		{"domain 0", 0, 8, 100, hostMap, xenabi.GNTSTBadDomain},
		{"a reserved domain", mm.DomIDXen, 8, 100, hostMap, xenabi.GNTSTBadDomain},
		{"beyond the table", 1, 512, 100, hostMap, xenabi.GNTSTBadGntref},
		{"far beyond the table", 1, ^uint32(0), 100, hostMap, xenabi.GNTSTBadGntref},
		{"an empty entry", 1, 20, 100, hostMap, xenabi.GNTSTGeneralError},
		{"another's entry", 1, 10, 100, hostMap, xenabi.GNTSTGeneralError},
		{"a transfer", 1, 11, 100, hostMap, xenabi.GNTSTGeneralError},
		{"to write read-only", 1, 9, 100, hostMap, xenabi.GNTSTGeneralError},
		{"no memory", 1, 12, 100, hostMap, xenabi.GNTSTBadPage},
		{"no address", 1, 13, 100, hostMap, xenabi.GNTSTBadPage},
		{"a part of a page", 1, 14, 100, hostMap, xenabi.GNTSTGeneralError},
		{"beyond the address space", 1, 8, 1 << 36, hostMap, xenabi.GNTSTGeneralError},
		{"the last address", 1, 8, 1<<52 - 1, hostMap, xenabi.GNTSTGeneralError},
		{"over a page in use", 1, 8, 12, hostMap, xenabi.GNTSTGeneralError},
		{"its own, granted to another", 2, 8, 100, hostMap, xenabi.GNTSTGeneralError},
	} {
		if _, st := p.mapRef(c.dom, c.ref, c.at, c.flags); st != c.want {
			t.Errorf("%s: %d, want %d", c.name, st, c.want)
		}
		if p.d.Grants.Mappings() != 0 || g.d.Grants.Pins() != 0 {
			t.Fatalf("%s: %d mappings, %d pins", c.name, p.d.Grants.Mappings(), g.d.Grants.Pins())
		}
	}
	if p.d.Space.TotPages() != 64 {
		t.Errorf("%d pages left", p.d.Space.TotPages())
	}
}

func TestMapUnmap(t *testing.T) {
	_, g, p := pair(t)
	g.entry(8, permit, 2, 10)
	g.page(10).Store32(0, 0x600d)
	h, st := p.mapRef(1, 8, 100, hostMap)
	if st != 0 || p.page(100).Load32(0) != 0x600d || p.d.Space.P2M().Lookup(100).Type != mm.TypeGrantRW {
		t.Fatalf("map: %d", st)
	}
	// The same again, elsewhere, and read only over a page of its own.
	h2, st := p.mapRef(1, 8, 5, hostMap|mapRO)
	if st != 0 || p.d.Space.P2M().Lookup(5).Type != mm.TypeGrantRO || p.d.Space.TotPages() != 63 {
		t.Fatalf("second map: %d", st)
	}
	if _, st := p.mapRef(1, 8, 100, hostMap); st != xenabi.GNTSTGeneralError {
		t.Errorf("over a grant: %d", st)
	}
	if err := g.d.Grants.SetVersion(2); err != xenabi.EBUSY {
		t.Errorf("set_version of a table in use: %v", err)
	}
	if _, err := g.d.Space.DecreaseReservation([]mm.GFN{10}, 0); err == nil {
		t.Error("the granter gave the page away")
	}
	for _, c := range []struct {
		name string
		a    xenabi.GnttabUnmapAndReplace
		dev  uint64
		want xenabi.GnttabStatus
	}{
		{"no handle", xenabi.GnttabUnmapAndReplace{Handle: 7, HostAddr: 100 << 12}, 0, xenabi.GNTSTBadHandle},
		{"far beyond", xenabi.GnttabUnmapAndReplace{Handle: ^uint32(0), HostAddr: 100 << 12}, 0, xenabi.GNTSTBadHandle},
		{"another page", xenabi.GnttabUnmapAndReplace{Handle: h, HostAddr: 5 << 12}, 0, xenabi.GNTSTGeneralError},
		{"another page's low bits", xenabi.GnttabUnmapAndReplace{Handle: h, HostAddr: 1<<63 | 100<<12}, 0, xenabi.GNTSTGeneralError},
		{"a device's", xenabi.GnttabUnmapAndReplace{Handle: h, HostAddr: 100 << 12}, 1 << 12, xenabi.GNTSTBadDevAddr},
		{"nothing", xenabi.GnttabUnmapAndReplace{Handle: h}, 0, xenabi.GNTSTOkay},
		{"and replace", xenabi.GnttabUnmapAndReplace{Handle: h, HostAddr: 100 << 12, NewAddr: 200 << 12}, 0, xenabi.GNTSTGeneralError},
	} {
		var got xenabi.GnttabStatus
		if c.a.NewAddr != 0 {
			ops(p, xenabi.GnttabOpUnmapAndReplace, &c.a)
			got = c.a.Status
		} else {
			u := xenabi.GnttabUnmapGrantRef{HostAddr: c.a.HostAddr, DevBusAddr: c.dev, Handle: c.a.Handle}
			ops(p, xenabi.GnttabOpUnmapGrantRef, &u)
			got = u.Status
		}
		if got != c.want || p.d.Grants.Mappings() != 2 {
			t.Errorf("unmap %s: %d, want %d", c.name, got, c.want)
		}
	}
	if st := p.unmap(100, h); st != 0 || g.d.Grants.Pins() != 1 {
		t.Errorf("unmap: %d, %d pins", st, g.d.Grants.Pins())
	}
	if st := p.unmap(100, h); st != xenabi.GNTSTBadHandle {
		t.Errorf("unmap twice: %d", st)
	}
	if e, _ := g.d.Grants.Entry(8); e.Flags != permit|xenabi.GTFReading {
		t.Errorf("flags of the entry with a reader: %#x", e.Flags)
	}
	if st := p.unmap(5, h2); st != 0 || g.d.Grants.Pins() != 0 || p.d.Grants.Mappings() != 0 {
		t.Errorf("unmap: %d, %d pins, %d mappings", st, g.d.Grants.Pins(), p.d.Grants.Mappings())
	}
	if _, err := g.d.Space.DecreaseReservation([]mm.GFN{10}, 0); err != nil {
		t.Errorf("nobody holds the page: %v", err)
	}
	// A domain can map what it grants to itself, also at address 0.
	p.entry(8, permit, 2, 20)
	if _, st := p.mapRef(mm.DomIDSelf, 8, 0, hostMap); st != 0 {
		t.Errorf("its own: %d", st)
	}
}

// TestMapOutlivesGranter: a page stays the mapper's until it unmaps it or ends.
func TestMapOutlivesGranter(t *testing.T) {
	m, g, p := pair(t)
	q := newParty(t, m, 3, 64)
	for ref, by := range map[uint32]mm.DomID{8: 2, 9: 3} {
		g.entry(ref, permit, by, 10)
	}
	g.page(10).Store32(0, 0x600d)
	h, _ := p.mapRef(1, 8, 100, hostMap)
	if _, st := q.mapRef(1, 9, 100, hostMap); st != 0 {
		t.Fatal(st)
	}
	if err := g.d.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, st := p.mapRef(1, 8, 101, hostMap); st != xenabi.GNTSTBadDomain {
		t.Errorf("map from the dead: %d", st)
	}
	again := newParty(t, m, 1, 64) // of the same number: it has the old one's frames, but for this
	for i := range mm.GFN(64) {
		again.page(i).Store32(0, 0xbad)
	}
	if v := p.page(100).Load32(0); v != 0x600d {
		t.Errorf("the page became %#x", v)
	}
	if st := p.unmap(100, h); st != 0 {
		t.Error(st)
	}
	if v := q.page(100).Load32(0); v != 0x600d {
		t.Errorf("the page became %#x when one of two had unmapped it", v)
	}
}

func TestMaptrackLimit(t *testing.T) {
	m := domaintest.New(t, 4096)
	defer m.CheckFree(t)
	g := newParty(t, m, 1, 64)
	p := m.Params(t, 2, 1)
	p.MaxPages, p.MaxMaptrack = 64, 2
	d, err := newDomain(m, p)
	if err != nil {
		t.Fatal(err)
	}
	b := &party{TB: t, m: m, d: d, args: make(memory, 4096)}
	g.entry(8, permit, 2, 10)
	before := m.Host.Memory.Stats().Kinds
	seen := map[uint32]bool{}
	for i := range mm.GFN(512) {
		h, st := b.mapRef(1, 8, 1000+i, hostMap)
		if st != 0 || seen[h] {
			t.Fatalf("mapping %d: %d, handle %d", i, st, h)
		}
		seen[h] = true
	}
	// The records are in pages that no guest, not even a PV one, can map.
	after := m.Host.Memory.Stats().Kinds
	if after[mm.FrameKernel] != before[mm.FrameKernel]+2 || after[mm.FrameSpecial] != before[mm.FrameSpecial] {
		t.Errorf("frames before %v, after %v", before, after)
	}
	if _, st := b.mapRef(1, 8, 2000, hostMap); st != xenabi.GNTSTNoSpace {
		t.Errorf("past the limit: %d", st)
	}
	if st := b.unmap(1017, 17); st != 0 {
		t.Error(st)
	}
	if h, st := b.mapRef(1, 8, 2000, hostMap); st != 0 || h != 17 {
		t.Errorf("with room again: %d, handle %d", st, h)
	}
	if err := d.Destroy(); err != nil || g.d.Grants.Pins() != 0 {
		t.Errorf("%v; %d pins", err, g.d.Grants.Pins())
	}
	if err := g.d.Destroy(); err != nil {
		t.Error(err)
	}
	for _, n := range []int{-1, gnttab.MaxMaxMaptrack + 1} {
		if p.MaxMaptrack = n; n != 0 {
			if _, err := newDomain(m, p); err == nil {
				t.Errorf("%d maptrack frames were accepted", n)
			}
		}
	}
}
