package gnttab_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// TestModel has domains grant, take back, map, unmap and copy pages, give memory away and
// get some, end and come again, at random, and compares them with a model: what each
// domain sees at each guest frame, and each status.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{TB: t, r: rand.New(rand.NewPCG(seed, 4)), m: domaintest.New(t, 2048)}
			t.Cleanup(func() { w.m.CheckFree(t) })
			for i := range w.doms {
				w.begin(i)
			}
			for range 1500 {
				w.step()
				w.check()
			}
		})
	}
}

const (
	modelPages = 24 // of RAM
	modelGFNs  = 40
	modelRefs  = 6 // from firstRef on
	firstRef   = 8
)

// page is a page of the model.
type page struct {
	value uint32
	held  int // mappings
}

type modelEntry struct {
	to       mm.DomID
	gfn      mm.GFN
	readonly bool
}

// active is an entry in use.
type active struct {
	modelEntry
	readers, writers int
}

type modelMap struct {
	granter  *modelDomain
	ref      uint32
	at       mm.GFN
	page     *page
	readonly bool
}

type modelDomain struct {
	*party
	ram     map[mm.GFN]*page
	grants  map[mm.GFN]uint32 // handles by place
	maps    map[uint32]modelMap
	entries [modelRefs]modelEntry
	active  [modelRefs]active
}

type world struct {
	testing.TB
	r    *rand.Rand
	m    *domaintest.Machine
	doms [3]*modelDomain
	next uint32
}

func (w *world) begin(i int) {
	d := &modelDomain{party: newParty(w, w.m, mm.DomID(i+1), modelPages), ram: map[mm.GFN]*page{}, grants: map[mm.GFN]uint32{}, maps: map[uint32]modelMap{}}
	if w.r.IntN(2) == 0 {
		if err := d.d.Grants.SetVersion(2); err != nil {
			w.Fatal(err)
		}
	}
	for g := range mm.GFN(modelPages) {
		d.ram[g] = w.fresh(d, g)
	}
	w.doms[i] = d
}

// fresh marks the new page at g.
func (w *world) fresh(d *modelDomain, g mm.GFN) *page {
	if v := d.page(g).Load32(0); v != 0 {
		w.Fatalf("new memory has %#x", v)
	}
	w.next++
	d.page(g).Store32(0, w.next)
	return &page{value: w.next}
}

func (w *world) step() {
	i := w.r.IntN(len(w.doms))
	d, o := w.doms[i], w.doms[w.r.IntN(len(w.doms))]
	ref, at := uint32(w.r.IntN(modelRefs)), mm.GFN(w.r.IntN(modelGFNs))
	switch n := w.r.IntN(100); {
	case n < 20: // grant
		e := modelEntry{o.d.ID, at, w.r.IntN(3) == 0}
		flags := uint16(permit)
		if e.readonly {
			flags |= readonly
		}
		d.entries[ref] = e
		d.entry(firstRef+ref, flags, e.to, uint64(at))
	case n < 25: // take back
		d.entries[ref] = modelEntry{to: mm.DomIDInvalid}
		d.entry(firstRef+ref, 0, 0, 0)
	case n < 55:
		w.mapOne(d, o, ref, at, w.r.IntN(2) == 0)
	case n < 70:
		w.unmapOne(d, uint32(w.r.IntN(len(d.maps)+2)), at)
	case n < 85:
		w.copyOne(d, o, ref, at, w.r.IntN(2) == 0)
	case n < 90:
		_, err := d.d.Space.DecreaseReservation([]mm.GFN{at}, 0)
		p := d.ram[at]
		if (err == nil) != (p != nil && p.held == 0) {
			w.Fatalf("decrease at %#x: %v, model %+v", at, err, p)
		}
		if err == nil {
			delete(d.ram, at)
		}
	case n < 97:
		_, err := d.d.Space.PopulatePhysmap([]mm.GFN{at}, 0)
		_, granted := d.grants[at]
		if (err == nil) != (d.ram[at] == nil && !granted) {
			w.Fatalf("populate at %#x: %v", at, err)
		}
		if err == nil {
			d.ram[at] = w.fresh(d, at)
		}
	default:
		if err := d.d.Destroy(); err != nil {
			w.Fatal(err)
		}
		for _, m := range d.maps {
			w.ended(m)
		}
		w.begin(i)
	}
}

// may tells whether an entry may be used, as an entry that is in use or not.
func (e modelEntry) may(by mm.DomID, write bool) bool {
	return e.to == by && !(write && e.readonly)
}

// usable is what Acquire has to say.
func (d *modelDomain) usable(ref uint32, by mm.DomID, write bool) (mm.GFN, bool) {
	a, e := &d.active[ref], d.entries[ref]
	if a.readers+a.writers == 0 {
		return e.gfn, e.may(by, write)
	}
	return a.gfn, a.may(by, write) && (!write || a.writers > 0 || e.may(by, write))
}

func (w *world) mapOne(d, o *modelDomain, ref uint32, at mm.GFN, ro bool) {
	want := xenabi.GNTSTOkay
	var p *page
	gfn, ok := o.usable(ref, d.d.ID, !ro)
	if ok {
		p = o.ram[gfn]
	}
	_, occupied := d.grants[at]
	// The page is held while its own place is looked at.
	over := d.ram[at]
	switch {
	case !ok:
		want = xenabi.GNTSTGeneralError
	case p == nil:
		want = xenabi.GNTSTBadPage
	case occupied, over != nil && (over.held > 0 || over == p):
		want = xenabi.GNTSTGeneralError
	}
	flags := uint32(hostMap)
	if ro {
		flags |= mapRO
	}
	h, st := d.mapRef(o.d.ID, firstRef+ref, at, flags)
	if st != want {
		w.Fatalf("domain %d maps %d of %d at %#x (read only %v): %d, want %d", d.d.ID, ref, o.d.ID, at, ro, st, want)
	}
	if st != 0 {
		return
	}
	a := &o.active[ref]
	if a.readers+a.writers == 0 {
		a.modelEntry = o.entries[ref]
	}
	if ro {
		a.readers++
	} else {
		a.writers++
	}
	p.held++
	delete(d.ram, at)
	d.grants[at] = h
	if _, dup := d.maps[h]; dup {
		w.Fatalf("handle %d was given twice", h)
	}
	d.maps[h] = modelMap{o, ref, at, p, ro}
}

func (w *world) unmapOne(d *modelDomain, h uint32, at mm.GFN) {
	m, ok := d.maps[h]
	if ok && w.r.IntN(4) > 0 {
		at = m.at
	}
	want := xenabi.GNTSTOkay
	switch {
	case !ok:
		want = xenabi.GNTSTBadHandle
	case at == 0: // nothing is asked for
	case at != m.at:
		want = xenabi.GNTSTGeneralError
	}
	if st := d.unmap(at, h); st != want {
		w.Fatalf("domain %d unmaps handle %d at %#x: %d, want %d", d.d.ID, h, at, st, want)
	}
	if ok && at == m.at && at != 0 {
		delete(d.maps, h)
		delete(d.grants, at)
		w.ended(m)
	}
}

// ended does what follows from the end of a mapping.
func (w *world) ended(m modelMap) {
	m.page.held--
	if a := &m.granter.active[m.ref]; m.readonly {
		a.readers--
	} else {
		a.writers--
	}
}

func (w *world) copyOne(d, o *modelDomain, ref uint32, at mm.GFN, write bool) {
	gfn, ok := o.usable(ref, d.d.ID, write)
	far, near := o.ram[gfn], d.ram[at]
	want := xenabi.GNTSTOkay
	a := xenabi.GnttabCopy{SourceDomID: uint16(o.d.ID), SourceFrame: uint64(firstRef + ref), Flags: srcRef, DestDomID: self, DestFrame: uint64(at), Len: 4}
	if write {
		a = xenabi.GnttabCopy{DestDomID: uint16(o.d.ID), DestFrame: uint64(firstRef + ref), Flags: dstRef, SourceDomID: self, SourceFrame: uint64(at), Len: 4}
	}
	first := !ok
	if write {
		first = near == nil
	}
	switch {
	case ok && far != nil && near != nil:
		if write {
			far.value = near.value
		} else {
			near.value = far.value
		}
	case first && !write || !ok && near != nil:
		want = xenabi.GNTSTGeneralError
	default:
		want = xenabi.GNTSTBadPage
	}
	if st := d.copy(a); st != want {
		w.Fatalf("domain %d copies (write %v) frame %#x and %d of %d: %d, want %d", d.d.ID, write, at, ref, o.d.ID, st, want)
	}
}

// check compares what the domains see with the model. Pages of the model that are two
// are two frames, whoever has them.
func (w *world) check() {
	frames := map[mm.MFN]*page{}
	for _, d := range w.doms {
		for g := range mm.GFN(modelGFNs) {
			e := d.d.Space.P2M().Lookup(g)
			p, want := d.ram[g], mm.TypeRAM
			if h, ok := d.grants[g]; ok {
				m := d.maps[h]
				if p, want = m.page, mm.TypeGrantRW; m.readonly {
					want = mm.TypeGrantRO
				}
			} else if p == nil {
				want = mm.TypeNone
			}
			if e.Type != want {
				w.Fatalf("domain %d has %v at %#x, want %v", d.d.ID, e.Type, g, want)
			}
			if p == nil {
				continue
			}
			if v := d.page(g).Load32(0); v != p.value {
				w.Fatalf("domain %d reads %d at %#x, want %d", d.d.ID, v, g, p.value)
			}
			if old := frames[e.MFN]; old != nil && old != p {
				w.Fatalf("frame %#x is two pages", e.MFN)
			}
			frames[e.MFN] = p
		}
		for ref, a := range d.active {
			e, _ := d.d.Grants.Entry(firstRef + uint32(ref))
			if d.d.Grants.Version() == 1 && (e.Flags&xenabi.GTFReading != 0) != (a.readers+a.writers > 0) {
				w.Fatalf("entry %d of domain %d: flags %#x, in use by %d and %d", ref, d.d.ID, e.Flags, a.readers, a.writers)
			}
		}
		if n := d.d.Grants.Mappings(); n != len(d.maps) {
			w.Fatalf("domain %d has %d mappings, want %d", d.d.ID, n, len(d.maps))
		}
	}
}
