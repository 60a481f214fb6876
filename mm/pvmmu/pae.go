package pvmmu

import "nidus/mm"

// A 32-bit guest's tables (AMD APM vol. 2, 5.2.3): an L3 table of 4 entries for a GiB each,
// the last of which has the hypervisor's part at its end (xen-x86_32.h,
// HYPERVISOR_VIRT_START_PAE). The guest runs in compatibility mode of a 64-bit host, below
// an L4 table of ours, whose first entry leads to an L3 table of ours, too: it has a copy of
// the guest's four entries, so that what else the guest has in its frame means nothing.
const (
	paeEntries  = 4
	holeL2Start = (0xf5800000 - 0xc0000000) >> 21
	// HoleL2Slots is how many entries of the L2 table of the highest GiB are the
	// hypervisor's.
	HoleL2Slots = tableSize - holeL2Start
)

// paeRoot is the tables of the hypervisor's own that a 32-bit vcpu runs on.
type paeRoot struct {
	l4, l3 mm.MFN
	ok     bool
}

// top is the type of the highest table that the guest makes.
func (d *Domain) top() Type {
	if d.pae {
		return L3
	}
	return L4
}

// entryChanged carries a change of an L3 table to the vcpus that run on it.
func (d *Domain) entryChanged(m mm.MFN, typ Type) {
	if !d.pae || typ != L3 {
		return
	}
	for _, v := range d.vcpus {
		if v.kernel == m {
			d.copyL3(v, m)
		}
	}
}

// copyL3 makes v's own L3 table the guest's. In a PAE table the entries have no rights of
// their own: here they have all.
func (d *Domain) copyL3(v *VCPU, m mm.MFN) {
	from, to := d.mem.Table(m), d.mem.Table(v.pae.l3)
	for i := range paeEntries {
		e := load(from, i)
		if e.is(present) {
			e = entryOf(e.frame()) | present | writable | user
		} else {
			e = 0
		}
		store(to, i, e)
	}
}

// makeRoot gives a 32-bit vcpu the tables that it runs on.
func (d *Domain) makeRoot(v *VCPU) error {
	if !d.pae || v.pae.ok {
		return nil
	}
	var r paeRoot
	var ok bool
	if r.l3, ok = d.mem.AllocTable(mm.DomIDXen); !ok {
		return mm.ErrNoMemory
	}
	if r.l4, ok = d.mem.AllocTable(mm.DomIDXen); !ok {
		d.mem.FreeTable(r.l3)
		return mm.ErrNoMemory
	}
	t := d.mem.Table(r.l4)
	store(t, 0, entryOf(r.l3)|present|writable|user)
	d.fillHole(t, L4)
	r.ok = true
	v.pae = r
	return nil
}

// freeRoot takes them back, once no CPU uses them.
func (d *Domain) freeRoot(v *VCPU) {
	if v.pae.ok {
		d.mem.FreeTable(v.pae.l4)
		d.mem.FreeTable(v.pae.l3)
		v.pae = paeRoot{}
	}
}
