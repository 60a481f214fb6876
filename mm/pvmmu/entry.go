package pvmmu

import (
	"sync/atomic"

	"nidus/mm"
)

// entry is a page table entry (AMD APM vol. 2, 5.4).
type entry uint64

const (
	present  entry = 1 << 0
	writable entry = 1 << 1
	user     entry = 1 << 2
	pwt      entry = 1 << 3
	pcd      entry = 1 << 4
	accessed entry = 1 << 5
	dirty    entry = 1 << 6
	large    entry = 1 << 7 // PAT in an L1 entry
	global   entry = 1 << 8
	noExec   entry = 1 << 63

	frameBits entry = (1<<52 - 1) &^ (1<<12 - 1)

	// caching is what an L1 entry says of the memory type.
	caching = pwt | pcd | large
	// upperReserved is what no guest may set in an entry of L2 to L4: large pages are not
	// offered, and tables are cached as the hypervisor has them.
	upperReserved = pwt | pcd | large | global
	// dirtied is what the processor sets by itself.
	dirtied = accessed | dirty
)

// tableSize is the number of entries of a page table.
const tableSize = len(mm.Table{})

// The entries of an L4 table that are the hypervisor's (xen-x86_64.h:
// HYPERVISOR_VIRT_START to HYPERVISOR_VIRT_END).
const (
	holeStart = 256
	HoleSlots = 16
	holeEnd   = holeStart + HoleSlots
)

func (e entry) frame() mm.MFN         { return mm.MFN(e & frameBits >> mm.PageShift) }
func (e entry) is(f entry) bool       { return e&f != 0 }
func (e entry) refs() entry           { return e & (present | writable | frameBits) }
func entryOf(m mm.MFN) entry          { return entry(m) << mm.PageShift & frameBits }
func slot(t *mm.Table, i int) *uint64 { return &t[i] }

func load(t *mm.Table, i int) entry     { return entry(atomic.LoadUint64(slot(t, i))) }
func store(t *mm.Table, i int, e entry) { atomic.StoreUint64(slot(t, i), uint64(e)) }
func swap(t *mm.Table, i int, o, n entry) bool {
	return atomic.CompareAndSwapUint64(slot(t, i), uint64(o), uint64(n))
}

// adjustL1 makes of a guest's L1 entry the one that is written. Nothing stays in the TLB
// over a change of the address space (no G): the guest's kernel may have another use for the
// address. RAM has one memory type for all who map it, the hypervisor's: two at once would
// show a guest what was in memory before it was cleared. A 64-bit guest's kernel runs in
// ring 3, so all it maps is user's.
//
//go:nosplit
func (d *Domain) adjustL1(e entry) (entry, error) {
	switch {
	case d.leaks(e):
		return 0, ErrLeak
	case !e.is(present):
		return e, nil
	case e.is(caching):
		return 0, ErrEntry
	}
	e &^= global
	if !d.pae {
		e |= user
	}
	return e, nil
}

// adjustUpper is adjustL1 for a table of a higher level. In a PAE table of level 3 there
// are no such bits (5.3.4 there), and they are all set in what the processor uses.
func (d *Domain) adjustUpper(typ Type, e entry) (entry, error) {
	switch {
	case d.leaks(e):
		return 0, ErrLeak
	case !e.is(present):
		return e, nil
	case e.is(upperReserved):
		return 0, ErrEntry
	}
	if !d.pae {
		e |= user
	}
	return e, nil
}

// l1Bits are the address bits that the L1 cache of Intel's Core processors looks at, whatever
// the number of their physical ones (Intel's "L1 terminal fault" guidance).
const l1Bits entry = 1<<44 - 1

// leaks tells whether an entry that is not present names memory which the processor may read by
// it all the same, while the access waits for its fault, if the L1 cache has it. The first
// page's address is that of an empty entry, and is let pass; so is one that a kernel has
// inverted for safety.
//
//go:nosplit
func (d *Domain) leaks(e entry) bool {
	a := e & frameBits & l1Bits
	return uint64(a) < d.cfg.Leaks && a != 0 && !e.is(present)
}

// leaksAny tells whether one of the n entries from i on leaks.
func (d *Domain) leaksAny(t *mm.Table, i, n int) bool {
	for k := 0; d.cfg.Leaks != 0 && k < n; k++ {
		if d.leaks(load(t, i+k)) {
			return true
		}
	}
	return false
}
