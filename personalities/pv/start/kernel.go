package start

import (
	"fmt"
	"strings"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/image"
)

// offered are the features that a kernel may require of the hypervisor. Writes to page
// tables that are mapped writable nowhere are emulated: that is what a kernel that
// requires writable_page_tables, as Linux does, can build on.
const offered image.Features = 1<<image.WritablePageTables | 1<<image.PAEPgdirAbove4GB | 1<<image.MMUPtUpdatePreserveAD |
	1<<image.HighmemAssist | 1<<image.GnttabMapAvailBits | 1<<image.MemoryOpVnodeSupported | 1<<image.NotDirectMapped

// maxKernelEnd bounds pseudo-physical addresses of a kernel, so that sums of them don't
// overflow; a domain has less memory.
const maxKernelEnd = 1 << 46

// guest is what a kernel's file says of how it wants to start, checked.
type guest struct {
	name   string
	bits   int
	levels int // of page tables
	base   mm.GuestVirt
	offset uint64 // of p_paddr from pseudo-physical addresses
	end    uint64 // of the kernel and its symbols, pseudo-physical
	entry  mm.GuestVirt

	hasHypercalls bool
	hypercalls    PFN

	hasP2M bool
	p2m    mm.GuestVirt

	lowRoot bool // the root of PAE tables is to be below 4 GiB
}

// CheckPV tells why a kernel can't start as PV: an error that wraps ErrKernel, or nil if
// it can, given enough memory.
func CheckPV(k *image.Kernel) error {
	_, err := examine(k)
	return err
}

func (g *guest) refuse(format string, args ...any) error {
	return fmt.Errorf("kernel %s: %w: %s", g.name, ErrKernel, fmt.Sprintf(format, args...))
}

// examine reads the notes.
func examine(k *image.Kernel) (*guest, error) {
	n := &k.Notes
	g := &guest{name: k.Name, bits: k.Class, base: n.VirtBase, offset: n.PaddrOffset, entry: n.Entry}
	g.levels = 4
	if g.bits == 32 {
		g.levels = 3
	}
	if err := g.checkKind(k); err != nil {
		return nil, err
	}
	if err := g.checkFeatures(n); err != nil {
		return nil, err
	}
	if err := g.checkPlace(k); err != nil {
		return nil, err
	}
	if n.Has(image.NoteHypercallPage) {
		a := n.HypercallPage
		if a%mm.PageSize != 0 || a < g.base || uint64(a-g.base)+mm.PageSize > pages(g.end)<<mm.PageShift {
			return nil, g.refuse("its HYPERCALL_PAGE %#x is no page of the kernel; the file is damaged", a)
		}
		g.hasHypercalls, g.hypercalls = true, PFN((a-g.base)>>mm.PageShift)
	}
	// elfnote.h: only x86-64 has it
	if n.Has(image.NoteInitP2M) && g.bits == 64 {
		g.hasP2M, g.p2m = true, n.InitP2M
		if g.p2m%mm.PageSize != 0 {
			return nil, g.refuse("its INIT_P2M %#x begins no page; the file is damaged", g.p2m)
		}
	}
	return g, nil
}

// checkKind refuses kernels that are none for PV.
func (g *guest) checkKind(k *image.Kernel) error {
	n := &k.Notes
	switch {
	case !n.Any():
		return g.refuse("it has no notes for Xen; build Linux with CONFIG_XEN_PV, or take another type of domain")
	case n.Legacy && !n.Has(image.NoteEntry):
		g.entry = k.Entry // as __xen_guest has it
	case !n.Has(image.NoteEntry) && n.Has(image.NotePhys32Entry):
		return g.refuse("it has no ENTRY note, but starts as PVH; write type=\"pvh\", or build Linux with CONFIG_XEN_PV")
	case !n.Has(image.NoteEntry):
		return g.refuse("it has no ENTRY note; build Linux with CONFIG_XEN_PV, or take another type of domain")
	}
	if !strings.HasPrefix(n.XenVersion, "xen-3.0") {
		return g.refuse("its XEN_VERSION is %q; what runs here is xen-3.0", n.XenVersion)
	}
	if g.bits == 32 {
		return g.checkPAE(n)
	}
	return nil
}

// checkPAE reads PAE_MODE: yes or bimodal, and whether the root of page tables can be
// anywhere (elfnote.h: a kernel with ELF notes takes that, one with __xen_guest says so).
func (g *guest) checkPAE(n *image.Notes) error {
	mode, cr3 := strings.CutSuffix(n.PAEMode, "[extended-cr3]")
	if mode != "yes" && mode != "bimodal" && mode != "yes,bimodal" {
		return g.refuse("its PAE_MODE is %q, and 32-bit kernels run with PAE only; take one built with PAE", n.PAEMode)
	}
	g.lowRoot = n.Legacy && !cr3 && !n.Supported.Has(image.PAEPgdirAbove4GB)
	return nil
}

// checkFeatures refuses kernels that require what PV guests don't get.
func (g *guest) checkFeatures(n *image.Notes) error {
	var lacking []string
	for f := range image.Feature(64) {
		if (n.Required &^ offered).Has(f) {
			lacking = append(lacking, f.String())
		}
	}
	lacking = append(lacking, n.UnknownRequired...)
	if len(lacking) > 0 {
		return g.refuse("it requires %s, which PV guests are not offered here; take another kernel or type of domain", strings.Join(lacking, ", "))
	}
	hole := mm.GuestVirt(xenabi.HypervisorVirtStart64)
	if g.bits == 32 {
		hole = xenabi.HypervisorVirtStart32
	}
	if n.Has(image.NoteHVStartLow) && n.HVStartLow > hole {
		return g.refuse("it wants the hypervisor above %#x (HV_START_LOW), and that begins at %#x; take another kernel", n.HVStartLow, hole)
	}
	return nil
}

// checkPlace checks where the kernel wants to be.
func (g *guest) checkPlace(k *image.Kernel) error {
	lo, hi := k.Span()
	switch {
	case g.base%mm.PageSize != 0:
		return g.refuse("its VIRT_BASE %#x begins no page; the file is damaged", g.base)
	case uint64(lo) < g.offset || uint64(hi)-g.offset > maxKernelEnd:
		return g.refuse("its PADDR_OFFSET %#x does not fit its segments, %#x to %#x; the file is damaged", g.offset, lo, hi)
	}
	end := uint64(g.base) + uint64(hi) - g.offset
	g.end = uint64(hi) - g.offset
	if k.Symbols != nil {
		g.end = uint64(k.SymbolsAt()) - g.offset + k.Symbols.Size()
	}
	start := uint64(g.base) + uint64(lo) - g.offset
	if err := g.room("the kernel", uint64(g.base), uint64(g.base)+g.end); err != nil {
		return err
	}
	if uint64(g.entry) < start || uint64(g.entry) >= end {
		return g.refuse("its ENTRY %#x lies outside the kernel, %#x to %#x; the file is damaged", g.entry, start, end)
	}
	return nil
}

// room refuses a range of virtual addresses that a guest can't have.
func (g *guest) room(what string, start, end uint64) error {
	const canonical = 1 << 47
	switch {
	case g.bits == 32 && start < end && end <= xenabi.HypervisorVirtStart32:
		return nil
	case g.bits == 64 && start < end && (end <= canonical || start >= xenabi.HypervisorVirtEnd64):
		return nil
	}
	hole := fmt.Sprintf("from %#x up", uint64(xenabi.HypervisorVirtStart32))
	if g.bits == 64 {
		hole = fmt.Sprintf("from %#x to %#x, as are addresses that don't exist", uint64(canonical), uint64(xenabi.HypervisorVirtEnd64))
	}
	return g.refuse("%s would be at %#x to %#x (VIRT_BASE %#x), and the addresses %s are not the guest's", what, start, end, g.base, hole)
}

// phys returns the pseudo-physical address of a segment.
func (g *guest) phys(s *image.Segment) mm.GuestPhys { return s.PhysAddr - mm.GuestPhys(g.offset) }
