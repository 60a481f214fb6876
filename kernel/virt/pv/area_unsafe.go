package pv

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// What a guest's L4 slot 260 shows of its own vcpus: for each, the pages of its GDT
// and of its LDT, where the processor reads descriptors. Two vcpus may share an L4, so
// each has its own addresses.
const (
	AreaBase   = 0xffff8200_00000000
	areaStride = 2 << 20 // of vcpus: one page table each
	MaxVCPUs   = 512     // what one table of the second level holds
	ldtOffset  = 64 << 10

	// GDTFrames is how many of a GDT's pages are the guest's; LDTFrames is the same of an
	// LDT.
	GDTFrames = xenabi.FirstReservedGDTPage
	LDTFrames = 16
)

// Bits of page-table entries (APM vol. 2, 5.4).
const (
	ptePresent  = 1 << 0
	pteWrite    = 1 << 1
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteNX       = 1 << 63
)

// Area is a domain's part of the hypervisor's slots. It implements virt.Maps, of which
// only Free means anything.
type Area struct {
	m        *Machine
	top, mid table
	vcpus    [MaxVCPUs]table
	next     int    // vcpu to be made
	domain   uint64 // a number of spec.NewDomain's
	// Narrow says that the domain's guest is one of 32 bits. It is set before there are
	// vcpus.
	Narrow bool
}

// table is a page table outside Go's heap.
type table struct {
	mfn   mm.MFN
	words *[512]uint64
}

func (t *table) entry() uint64 { return uint64(t.mfn)<<mm.PageShift | ptePresent | pteWrite }

func (a *Area) table(t *table) error {
	mfn, p, err := a.m.cfg.Pages.Alloc(1)
	if err != nil {
		return fmt.Errorf("page tables for descriptors: %w", err)
	}
	*t = table{mfn, (*[512]uint64)(p)}
	return nil
}

// Entry is what belongs in slot 260 of the domain's L4 tables.
func (a *Area) Entry() uint64 { return a.top.entry() }

// open makes the pages of vcpu n, with an empty GDT.
func (a *Area) open(n int) (*[512]uint64, error) {
	if n < 0 || n >= len(a.vcpus) {
		return nil, fmt.Errorf("vcpu %d: a PV domain has at most %d", n, len(a.vcpus))
	}
	t := &a.vcpus[n]
	if t.words == nil {
		if err := a.table(t); err != nil {
			return nil, err
		}
		for i := range GDTFrames + 2 {
			t.words[i] = leaf(a.m.zero)
		}
		atomic.StoreUint64(&a.mid.words[n], t.entry())
	}
	return t.words, nil
}

// leaf maps a page for the processor to read descriptors. It is not written: the
// accessed bit of each is set when it is checked.
func leaf(m mm.MFN) uint64 {
	return uint64(m)<<mm.PageShift | ptePresent | pteAccessed | pteDirty | pteNX
}

// InterceptMSR implements virt.Maps: each access exits, whatever is asked.
func (a *Area) InterceptMSR(uint32, bool, bool) bool { return false }

// InterceptPorts implements virt.Maps.
func (a *Area) InterceptPorts(uint16, uint16, bool) {}

// Free implements virt.Maps.
func (a *Area) Free() {
	for _, t := range append([]*table{&a.top, &a.mid}, pointers(&a.vcpus)...) {
		if t.words != nil {
			a.m.cfg.Pages.Free(t.mfn, 1)
			*t = table{}
		}
	}
}

func pointers(v *[MaxVCPUs]table) (p []*table) {
	for i := range v {
		p = append(p, &v[i])
	}
	return p
}

// contextAt is the context at the start of a page outside Go's heap.
func contextAt(p unsafe.Pointer) *context { return (*context)(p) }

// rootAt is the page table at p.
//
//go:nosplit
func rootAt(p unsafe.Pointer) *[512]uint64 { return (*[512]uint64)(p) }

// address is where something outside Go's heap lies.
//
//go:nosplit
func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// image is the FPU's, behind it.
func image(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(unsafe.Add(p, fpuOffset)), n) }

var _ [fpuOffset - unsafe.Sizeof(context{})]byte // it fits
