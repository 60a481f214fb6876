package gnttab_test

import (
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/gnttab"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

func newDomain(m *domaintest.Machine, p domain.Params) (*domain.Domain, error) {
	return domain.New(m.Host, p)
}

const (
	srcRef = xenabi.GntCopySourceGref
	dstRef = xenabi.GntCopyDestGref
)

func (p *party) copy(a xenabi.GnttabCopy) xenabi.GnttabStatus {
	p.Helper()
	ops(p, xenabi.GnttabOpCopy, &a)
	return a.Status
}

func TestCopy(t *testing.T) {
	for _, version := range []uint32{1, 2} {
		_, g, p := pair(t)
		for _, d := range []*party{g, p} {
			if err := d.d.Grants.SetVersion(version); err != nil {
				t.Fatal(err)
			}
		}
		g.entry(8, permit, 2, 10)
		g.entry(9, permit|readonly, 2, 11)
		g.entry(10, permit, 2, 64)
		g.entry(11, permit, 3, 12)
		p.entry(8, permit, 2, 13)
		for _, c := range []struct {
			name string
			a    xenabi.GnttabCopy
			want xenabi.GnttabStatus
		}{
			{"from a grant", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, Flags: srcRef, DestDomID: self, DestFrame: 20, DestOffset: 5, Len: 100}, 0},
			{"from a read-only grant", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 9, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 4096}, 0},
			{"to a grant", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 21, DestDomID: 1, DestFrame: 8, Flags: dstRef, SourceOffset: 4000, Len: 96}, 0},
			{"from grant to grant", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 9, DestDomID: 1, DestFrame: 8, Flags: srcRef | dstRef, DestOffset: 4095, Len: 1}, 0},
			{"within itself", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 22, DestDomID: 2, DestFrame: 22, DestOffset: 3, Len: 4000}, 0},
			{"by its own grant", xenabi.GnttabCopy{SourceDomID: 2, SourceFrame: 8, Flags: srcRef, DestDomID: self, DestFrame: 22, Len: 9}, 0},
			{"nothing", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, SourceOffset: 4096, Flags: srcRef, DestDomID: self, DestFrame: 20}, 0},
			{"the high half of a reference", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 1<<32 | 8, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 9}, 0},
			{"over the end of the source", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, SourceOffset: 4000, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 97}, xenabi.GNTSTBadCopyArg},
			{"over the end", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, Flags: srcRef, DestDomID: self, DestFrame: 20, DestOffset: 0xffff, Len: 0xffff}, xenabi.GNTSTBadCopyArg},
			{"from nobody", xenabi.GnttabCopy{SourceDomID: 9, SourceFrame: 8, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTBadDomain},
			{"to nobody", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 8, Flags: dstRef, DestDomID: 9, DestFrame: 20, Len: 9}, xenabi.GNTSTBadDomain},
			{"from another's frame", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTPermissionDenied},
			{"to another's frame", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 8, DestDomID: 1, DestFrame: 20, Len: 9}, xenabi.GNTSTPermissionDenied},
			{"from no frame", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 64, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTBadPage},
			{"to no frame", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 6, DestDomID: self, DestFrame: ^uint64(0), Len: 9}, xenabi.GNTSTBadPage},
			{"from a grant of no frame", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 10, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTBadPage},
			{"from another's grant", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 11, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTGeneralError},
			{"beyond the table", xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 1 << 20, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: 9}, xenabi.GNTSTBadGntref},
			{"to a read-only grant", xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 8, Flags: dstRef, DestDomID: 1, DestFrame: 9, Len: 9}, xenabi.GNTSTGeneralError},
		} {
			if c.want != 0 {
				if st := p.copy(c.a); st != c.want {
					t.Errorf("v%d, %s: %d, want %d", version, c.name, st, c.want)
				}
			} else if !copied(g, p, c.a) {
				t.Errorf("v%d, %s: refused, or other bytes than that were copied", version, c.name)
			}
			if g.d.Grants.Pins()+p.d.Grants.Pins() != 0 {
				t.Fatalf("v%d, %s: pins are left", version, c.name)
			}
		}
	}
}

// copied does a copy of p's, of which each grant n of 8 and 9 is of frame n + 2 of g, or
// of frame 13 of p, and tells whether it was right.
func copied(g, p *party, a xenabi.GnttabCopy) bool {
	end := func(dom uint16, frame uint64, gref bool) mm.Page {
		switch {
		case dom == 1:
			return g.page(mm.GFN(uint32(frame) + 2))
		case gref:
			return p.page(13)
		}
		return p.page(mm.GFN(frame))
	}
	src := end(a.SourceDomID, a.SourceFrame, a.Flags&srcRef != 0)
	dst := end(a.DestDomID, a.DestFrame, a.Flags&dstRef != 0)
	var from, want, got [mm.PageSize]byte
	for i := range from {
		from[i] = byte(i*7 + i>>8)
	}
	dst.Clear()
	src.Write(0, from[:])
	dst.Read(0, want[:])
	copy(want[a.DestOffset:], from[a.SourceOffset:a.SourceOffset+a.Len])
	st := p.copy(a)
	dst.Read(0, got[:])
	return st == 0 && got == want
}

// TestCopySubPage: grants of a part of a page, and those of what another one granted.
func TestCopySubPage(t *testing.T) {
	m, g, p := pair(t)
	q := newParty(t, m, 3, 64)
	for _, d := range []*party{g, q} {
		if err := d.d.Grants.SetVersion(2); err != nil {
			t.Fatal(err)
		}
	}
	const sub, trans = permit | xenabi.GTFSubPage, xenabi.GTFTransitive
	g.entry(8, sub, 2, 10, 100, 50)
	g.entry(9, sub, 3, 10, 100, 50)
	g.entry(10, permit, 3, 11)
	g.entry(11, sub, 2, 10, 4000, 97)
	q.entry(8, trans, 2, 9, 1, 0)           // to a part of a page of domain 1
	q.entry(9, trans|readonly, 2, 10, 1, 0) // to a page of it
	q.entry(10, trans, 2, 8, 1, 0)          // to what is domain 2's
	q.entry(11, trans, 2, 8, 77, 0)         // to nobody
	q.entry(12, trans, 2, 8, 3, 0)          // to another one of these
	q.entry(13, trans, 2, 10, 1, 0)
	for _, c := range []struct {
		dom    uint16
		ref    uint64
		off, n uint16
		write  bool
		want   xenabi.GnttabStatus
	}{
		{1, 8, 100, 50, false, 0}, {1, 8, 120, 30, true, 0}, {1, 8, 99, 10, false, xenabi.GNTSTGeneralError},
		{1, 8, 140, 11, true, xenabi.GNTSTGeneralError}, {1, 11, 4000, 1, false, xenabi.GNTSTGeneralError},
		{3, 8, 100, 50, false, 0}, {3, 8, 100, 51, false, xenabi.GNTSTGeneralError},
		{3, 9, 0, 4096, false, 0}, {3, 9, 0, 1, true, xenabi.GNTSTGeneralError}, {3, 13, 0, 4096, true, 0},
		{3, 10, 100, 1, false, xenabi.GNTSTGeneralError}, {3, 11, 0, 1, false, xenabi.GNTSTGeneralError},
		{3, 12, 0, 1, false, xenabi.GNTSTGeneralError},
	} {
		a := xenabi.GnttabCopy{SourceDomID: c.dom, SourceFrame: c.ref, SourceOffset: c.off, Flags: srcRef, DestDomID: self, DestFrame: 20, Len: c.n}
		if c.write {
			a = xenabi.GnttabCopy{SourceDomID: self, SourceFrame: 20, Flags: dstRef, DestDomID: c.dom, DestFrame: c.ref, DestOffset: c.off, Len: c.n}
		}
		if st := p.copy(a); st != c.want {
			t.Errorf("%+v: %d", c, st)
		}
		if _, st := p.mapRef(mm.DomID(c.dom), uint32(c.ref), 100, hostMap); st != xenabi.GNTSTGeneralError {
			t.Errorf("%+v was mapped: %d", c, st)
		}
	}
	if n := g.d.Grants.Pins() + q.d.Grants.Pins(); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}

// TestBatch: a long array goes in pieces, and what fails is only its own structure's.
func TestBatch(t *testing.T) {
	_, g, p := pair(t)
	g.entry(8, permit, 2, 10)
	const w, n = xenabi.Guest64, 85
	p.args = make(memory, n*40)
	for i := range n {
		a := xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 8, Flags: srcRef, DestDomID: self, DestFrame: uint64(i), Len: 9}
		xenabi.Encode(w, p.args[i*40:], &a)
	}
	done, next, err := p.c.Hypercall(p.d.Grants, w, xenabi.GnttabOpCopy, p.args, 0, n)
	if done != gnttab.MaxBatch || next != gnttab.MaxBatch*40 || err != nil {
		t.Fatalf("%d done, next at %d, %v", done, next, err)
	}
	if done, next, err = p.c.Hypercall(p.d.Grants, w, xenabi.GnttabOpCopy, p.args, next, n-done); done != n-gnttab.MaxBatch || next != n*40 || err != nil {
		t.Fatalf("%d done, next at %d, %v", done, next, err)
	}
	for i := range n {
		var a xenabi.GnttabCopy
		want := xenabi.GNTSTOkay
		if i >= 64 {
			want = xenabi.GNTSTBadPage
		}
		if xenabi.Decode(w, p.args[i*40:], &a); a.Status != want {
			t.Errorf("copy %d: %d", i, a.Status)
		}
	}
}
