package gnttab_test

import (
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/gnttab"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// party is a domain that grants and maps.
type party struct {
	testing.TB
	m    *domaintest.Machine
	d    *domain.Domain
	c    gnttab.Caller
	args memory
}

// memory holds the structures of calls.
type memory []byte

func (m memory) CopyIn(a mm.GuestVirt, dst []byte) error {
	if uint64(a) > uint64(len(m)) || copy(dst, m[a:]) < len(dst) {
		return mm.ErrBadAddress
	}
	return nil
}

func (m memory) CopyOut(a mm.GuestVirt, src []byte) error {
	if uint64(a) > uint64(len(m)) || copy(m[a:], src) < len(src) {
		return mm.ErrBadAddress
	}
	return nil
}

func newParty(tb testing.TB, m *domaintest.Machine, id mm.DomID, pages uint64) *party {
	d := m.Domain(tb, domaintest.Options{ID: id, VCPUs: 1, Pages: pages, Spare: pages})
	return &party{TB: tb, m: m, d: d, args: make(memory, 4096)}
}

// ops does one operation on structures.
func ops[S any, P interface {
	*S
	xenabi.Struct
}](p *party, cmd uint32, all ...P) {
	p.Helper()
	const w = xenabi.Guest64
	size := xenabi.Size(w, all[0])
	for i, s := range all {
		xenabi.Encode(w, p.args[i*size:], s)
	}
	if n, _, err := p.c.Hypercall(p.d.Grants, w, cmd, p.args, 0, uint32(len(all))); err != nil || int(n) != len(all) {
		p.Fatalf("operation %d: %d of %d, %v", cmd, n, len(all), err)
	}
	for i, s := range all {
		xenabi.Decode(w, p.args[i*size:], s)
	}
}

// entry writes an entry, as a guest does, the header last.
func (p *party) entry(ref uint32, flags uint16, to mm.DomID, frame uint64, sub ...uint16) {
	p.Helper()
	v2 := p.d.Grants.Version() == 2
	size := uint32(xenabi.GrantV1Size)
	if v2 {
		size = xenabi.GrantV2Size
	}
	mfn, err := p.d.Grants.FrameForIndex(uint64(ref * size / mm.PageSize))
	if err != nil {
		p.Fatal(err)
	}
	pg, off := p.m.Host.Memory.Page(mfn), int(ref*size%mm.PageSize)
	header := uint32(flags) | uint32(to)<<16
	if !v2 {
		pg.Store32(off, pg.Load32(off)&(xenabi.GTFReading|xenabi.GTFWriting))
		pg.Store32(off+xenabi.GrantV1Frame, uint32(frame))
		pg.Store32(off, header|pg.Load32(off))
		return
	}
	if len(sub) == 2 {
		pg.Store32(off+xenabi.GrantV2PageOff, uint32(sub[0])|uint32(sub[1])<<16)
	}
	pg.Store64(off+xenabi.GrantV2Frame, frame)
	pg.Store32(off, header)
}

// mapRef maps a grant.
func (p *party) mapRef(from mm.DomID, ref uint32, at mm.GFN, flags uint32) (uint32, xenabi.GnttabStatus) {
	p.Helper()
	a := xenabi.GnttabMapGrantRef{HostAddr: uint64(at.Addr()), Flags: flags, Ref: ref, DomID: uint16(from)}
	ops(p, xenabi.GnttabOpMapGrantRef, &a)
	return a.Handle, a.Status
}

func (p *party) unmap(at mm.GFN, handle uint32) xenabi.GnttabStatus {
	p.Helper()
	a := xenabi.GnttabUnmapGrantRef{HostAddr: uint64(at.Addr()), Handle: handle}
	ops(p, xenabi.GnttabOpUnmapGrantRef, &a)
	return a.Status
}

// page is what the guest sees at g.
func (p *party) page(g mm.GFN) mm.Page {
	p.Helper()
	e := p.d.Space.P2M().Lookup(g)
	if e.Type == mm.TypeNone {
		p.Fatalf("domain %d has nothing at %#x", p.d.ID, g)
	}
	return p.m.Host.Memory.Page(e.MFN)
}
