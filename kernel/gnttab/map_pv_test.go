package gnttab_test

import (
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/gnttab"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// pvParty is a PV guest, as far as its grants go: memory management and a grant table. Its
// frames f[0] to f[3] are its tables, for address 0.
type pvParty struct {
	memory
	*domain.VCPU // its part of MMU only
	table        *gnttab.Table
	mmu          *pvmmu.Domain
	types        *pvmmu.Types
	f            []mm.MFN
	flushes      int
}

func (p *pvParty) FlushAll()                              { p.flushes++ }
func (p *pvParty) FlushSet(pvmmu.CPUSet)                  {}
func (p *pvParty) FlushPage(pvmmu.CPUSet, mm.GuestVirt)   {}
func (p *pvParty) SetRoot(bool, mm.MFN)                   {}
func (p *pvParty) SetLDT(mm.GuestVirt, uint32) error      { return nil }
func (p *pvParty) CopyIn(a mm.GuestVirt, b []byte) error  { return p.memory.CopyIn(a, b) }
func (p *pvParty) CopyOut(a mm.GuestVirt, b []byte) error { return p.memory.CopyOut(a, b) }

var _ gnttab.Entries = (*pvParty)(nil)

// records is where a table has its own pages.
type records struct{ mem *mm.Pool }

func (r records) AllocShared() (mm.Page, mm.MFN, error) {
	m, _ := r.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	r.mem.Page(m).Clear()
	return r.mem.Page(m), m, nil
}
func (r records) FreeShared(m mm.MFN)                    { r.mem.FreeFrames(m, 0) }
func (r records) AllocPrivate() (mm.Page, mm.MFN, error) { return r.AllocShared() }
func (r records) FreePrivate(m mm.MFN)                   { r.FreeShared(m) }

// nobody flushes nothing.
type nobody struct{}

func (nobody) FlushGuest(*mm.P2M) {}

func newPVParty(t *testing.T, m *domaintest.Machine, id mm.DomID) *pvParty {
	mem := m.Host.Memory
	p := &pvParty{memory: make(memory, 4096), types: pvmmu.NewTypes(make([]pvmmu.FrameType, 8192))}
	space, err := mm.NewSpace(mm.SpaceConfig{Owner: id, Memory: mem, Flusher: nobody{}, Format: mm.NPT, MaxOrder: 9,
		MaxTables: 1, MaxPages: 64, Direct: &mm.Direct{Types: p.types}})
	if err != nil {
		t.Fatal(err)
	}
	p.mmu = pvmmu.NewDomain(pvmmu.Config{ID: id, Memory: mem, Types: p.types, Flusher: p})
	p.VCPU = &domain.VCPU{MMU: p.mmu.AddVCPU(p)}
	if p.table, err = gnttab.New(gnttab.Config{ID: id, Frames: records{mem}, Space: space, Tables: &m.Host.Grants}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		f, _ := mem.AllocFrames(0, mm.FrameGuest, id, mm.ZoneAny)
		mem.Page(f).Clear()
		p.f = append(p.f, f)
	}
	for i := range 3 {
		mem.Page(p.f[i]).Store64(0, uint64(p.f[i+1])<<12|3)
	}
	if err := p.MMU.SetRoot(true, p.f[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.table.Destroy()
		for p.mmu.Release() != nil {
		}
		for _, f := range p.f {
			if s := mem.FreeFrames(f, 0); s != mm.FrameOK {
				t.Errorf("frame %#x: %v", f, s)
			}
		}
		for done := false; !done; {
			done, _ = space.Release(64)
		}
	})
	return p
}

func (p *pvParty) grant(t *testing.T, cmd uint32, s xenabi.Struct) {
	t.Helper()
	var c gnttab.Caller
	xenabi.Encode(xenabi.Guest64, p.memory, s)
	if _, _, err := c.Hypercall(p.table, xenabi.Guest64, cmd, p, 0, 1); err != nil {
		t.Fatal(err)
	}
	xenabi.Decode(xenabi.Guest64, p.memory, s)
}

// at is the machine address of L1 entry i.
func (p *pvParty) at(i int) uint64 { return uint64(p.f[3])<<12 | uint64(i)<<3 }

func TestPVMaps(t *testing.T) {
	m := domaintest.New(t, 2048)
	t.Cleanup(func() { m.CheckFree(t) })
	g := newParty(t, m, 1, 64)
	p := newPVParty(t, m, 7)
	mem := m.Host.Memory
	g.entry(8, permit, 7, 10)
	g.entry(9, permit|xenabi.GTFReadonly, 7, 11)
	g.entry(10, permit, 1, 12)
	frame := g.d.Space.P2M().Lookup(10).MFN
	mapped := func(addr uint64, ref uint32, flags uint32) (uint32, xenabi.GnttabStatus) {
		t.Helper()
		a := xenabi.GnttabMapGrantRef{HostAddr: addr, Flags: flags | hostMap, Ref: ref, DomID: 1}
		p.grant(t, xenabi.GnttabOpMapGrantRef, &a)
		if ref == 8 && a.Status == 0 && a.DevBusAddr != uint64(frame)<<12 {
			t.Errorf("dev_bus_addr is %#x", a.DevBusAddr)
		}
		return a.Handle, a.Status
	}
	unmap := func(addr uint64, handle uint32) xenabi.GnttabStatus {
		t.Helper()
		a := xenabi.GnttabUnmapGrantRef{HostAddr: addr, Handle: handle}
		p.grant(t, xenabi.GnttabOpUnmapGrantRef, &a)
		return a.Status
	}
	// By address, and by the entry's machine address.
	for name, addr := range map[string]uint64{"address": 0x5000, "entry": p.at(5)} {
		flags := uint32(0)
		if name == "entry" {
			flags = xenabi.GntMapContainsPTE
		}
		h, st := mapped(addr, 8, flags|5<<16)
		if st != 0 {
			t.Fatalf("%s: %d", name, st)
		}
		if e, want := mem.Page(p.f[3]).Load64(8*5), uint64(frame)<<12|1<<63|5<<9|0x67; e != want {
			t.Errorf("%s: the entry is %#x, want %#x", name, e, want)
		}
		if i := p.types.Info(frame); i.Type != pvmmu.Writable || i.Count != 1 {
			t.Errorf("%s: %+v", name, i)
		}
		before := p.flushes
		if st := unmap(addr+0x1000, h); st != xenabi.GNTSTGeneralError {
			t.Errorf("%s: unmapped elsewhere: %d", name, st)
		}
		if st := unmap(addr, h); st != 0 || p.flushes == before {
			t.Errorf("%s: %d, %d flushes", name, st, p.flushes-before)
		}
		if e := mem.Page(p.f[3]).Load64(8 * 5); e != 0 || p.types.Info(frame).Count != 0 || g.d.Grants.Pins() != 0 {
			t.Errorf("%s: the entry is %#x, %+v, %d pins", name, e, p.types.Info(frame), g.d.Grants.Pins())
		}
	}
	for _, bad := range []struct {
		addr  uint64
		ref   uint32
		flags uint32
		st    xenabi.GnttabStatus
	}{
		{0x5000, 9, 0, xenabi.GNTSTGeneralError}, // read-only
		{0x5000, 10, 0, xenabi.GNTSTGeneralError},
		{1 << 30, 8, 0, xenabi.GNTSTGeneralError}, // no table
		{0xffff800000000000, 8, 0, xenabi.GNTSTGeneralError},
		{uint64(p.f[2])<<12 | 8, 8, xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError}, // an L2 table
		{uint64(p.f[6])<<12 | 8, 8, xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError}, // none
		{uint64(frame) << 12, 8, xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError},
		{1 << 60, 8, xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError},
		{p.at(5) + 1, 8, xenabi.GntMapContainsPTE, xenabi.GNTSTGeneralError},
		{0x5000, 8, xenabi.GntMapDeviceMap, xenabi.GNTSTGeneralError},
	} {
		if _, st := mapped(bad.addr, bad.ref, bad.flags); st != bad.st || g.d.Grants.Pins() != 0 {
			t.Errorf("%+v: %d, %d pins", bad, st, g.d.Grants.Pins())
		}
	}
	// What the guest does to the entry by itself takes the mapping away; the handle stays.
	h, st := mapped(0x5000, 9, xenabi.GntMapReadonly)
	if st != 0 {
		t.Fatal(st)
	}
	if err := p.MMU.Update(p.at(5), uint64(p.f[6])<<12|1); err != nil {
		t.Fatal(err)
	}
	if st := unmap(0x5000, h); st != 0 || mem.Page(p.f[3]).Load64(8*5) == 0 || g.d.Grants.Pins() != 0 {
		t.Errorf("%d, %d pins", st, g.d.Grants.Pins())
	}
	// Its own, which can't become a table meanwhile.
	own, err := p.table.FrameForIndex(0)
	if err != nil {
		t.Fatal(err)
	}
	mem.Page(own).Store32(8*8+xenabi.GrantV1Frame, uint32(p.f[5]))
	mem.Page(own).Store32(8*8, uint32(permit)|7<<16)
	a := xenabi.GnttabMapGrantRef{HostAddr: 0x7000, Flags: hostMap, Ref: 8, DomID: 7}
	p.grant(t, xenabi.GnttabOpMapGrantRef, &a)
	if i := p.types.Info(p.f[5]); a.Status != 0 || i.Type != pvmmu.Writable || i.Count != 1 {
		t.Fatalf("%d, %+v", a.Status, i)
	}
	if err := p.MMU.Pin(p.f[5], 1); err != pvmmu.ErrType {
		t.Error(err)
	}
	if st := unmap(0x7000, a.Handle); st != 0 || mem.Page(p.f[3]).Load64(8*7) != 0 {
		t.Error(st)
	}
	if err := p.MMU.Pin(p.f[5], 1); err != nil {
		t.Error(err)
	}
	p.grant(t, xenabi.GnttabOpMapGrantRef, &a)
	if a.Status != xenabi.GNTSTGeneralError {
		t.Errorf("a page table, writable: %d", a.Status)
	}
	// It ends with the domain, too.
	if _, st := mapped(0x6000, 8, 0); st != 0 {
		t.Fatal(st)
	}
}

// TestPVReplace: unmap_and_replace moves the entry of a page of the guest's own over a
// grant's.
func TestPVReplace(t *testing.T) {
	m := domaintest.New(t, 2048)
	t.Cleanup(func() { m.CheckFree(t) })
	g := newParty(t, m, 1, 64)
	p := newPVParty(t, m, 7)
	mem := m.Host.Memory
	g.entry(8, permit, 7, 10)
	frame := g.d.Space.P2M().Lookup(10).MFN
	own := uint64(p.f[6])<<12 | 3
	entry := func(i int) uint64 { return mem.Page(p.f[3]).Load64(8*i) &^ 0xffc }
	a := xenabi.GnttabMapGrantRef{HostAddr: 0x5000, Flags: hostMap, Ref: 8, DomID: 1}
	p.grant(t, xenabi.GnttabOpMapGrantRef, &a)
	if err := p.MMU.Update(p.at(6), own); err != nil || a.Status != 0 {
		t.Fatal(err, a.Status)
	}
	for _, x := range []struct {
		name string
		u    xenabi.GnttabUnmapAndReplace
		want xenabi.GnttabStatus
	}{
		{"no handle", xenabi.GnttabUnmapAndReplace{HostAddr: 0x5000, NewAddr: 0x6000, Handle: a.Handle + 1}, xenabi.GNTSTBadHandle},
		{"another place", xenabi.GnttabUnmapAndReplace{HostAddr: 0x4000, NewAddr: 0x6000, Handle: a.Handle}, xenabi.GNTSTGeneralError},
		{"no place", xenabi.GnttabUnmapAndReplace{HostAddr: 0x5000, NewAddr: 1 << 30, Handle: a.Handle}, xenabi.GNTSTGeneralError},
		{"not canonical", xenabi.GnttabUnmapAndReplace{HostAddr: 0x5000, NewAddr: 1 << 47, Handle: a.Handle}, xenabi.GNTSTGeneralError},
		{"its own place", xenabi.GnttabUnmapAndReplace{HostAddr: 0x5000, NewAddr: 0x5000, Handle: a.Handle}, xenabi.GNTSTGeneralError},
	} {
		p.grant(t, xenabi.GnttabOpUnmapAndReplace, &x.u)
		if x.u.Status != x.want || entry(5)>>12&0xffffffff != uint64(frame) || entry(6) != own || g.d.Grants.Pins() != 1 {
			t.Errorf("%s: %d, the entries are %#x and %#x, %d pins", x.name, x.u.Status, entry(5), entry(6), g.d.Grants.Pins())
		}
	}
	u := xenabi.GnttabUnmapAndReplace{HostAddr: 0x5000, NewAddr: 0x6000, Handle: a.Handle}
	p.grant(t, xenabi.GnttabOpUnmapAndReplace, &u)
	if u.Status != 0 || entry(5) != own || entry(6) != 0 || g.d.Grants.Pins() != 0 || p.table.Mappings() != 0 {
		t.Errorf("%d, the entries are %#x and %#x, %d pins", u.Status, entry(5), entry(6), g.d.Grants.Pins())
	}
	if i := p.types.Info(frame); i.Count != 0 {
		t.Errorf("the grant's frame: %+v", i)
	}
	if i := p.types.Info(p.f[6]); i.Type != pvmmu.Writable || i.Count != 1 {
		t.Errorf("the page: %+v", i)
	}
}
