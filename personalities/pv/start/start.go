// Package start makes what a PV domain finds when it starts: the kernel and its modules
// in memory, the list of its frames (p2m), start_info, the first page tables, the
// hypercall page, and the registers of vcpu 0. It is pure: Layout decides where
// everything goes, Plan.Write puts it there.
//
// Specifications: Xen's public headers xen.h ("Start-of-day memory layout", struct
// start_info), elfnote.h, arch-x86/xen-x86_64.h, arch-x86/xen-x86_32.h.
//
// From VirtBase, which pseudo-physical frame 0 is mapped to, in this order; each begins
// a page:
//
//	kernel             where its segments say
//	ramdisk            unless the kernel can do without (XEN_ELFNOTE_MOD_START_PFN)
//	p2m list           unless the kernel says where (XEN_ELFNOTE_INIT_P2M)
//	start_info, xenstore's ring, console's ring
//	page tables        mapped read-only; the root is the first
//	stack              one page
//	512 KiB at least, up to an address that is a multiple of 4 MiB: VirtEnd
//
// In the frames that follow, which these page tables don't map there, are the page tables
// of INIT_P2M and the list, and then the ramdisk, where the kernel asked for that.
package start

import (
	"errors"
	"fmt"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/image"
)

// PFN is a pseudo-physical frame number: a frame's place in the list that the guest gets
// of its frames.
type PFN uint64

// Errors, wrapped in what a function says.
var (
	// ErrKernel: the kernel is none for PV, or asks for what can't be had.
	ErrKernel = errors.New("this kernel can't start as PV")
	// ErrMemory: the parts do not fit in the domain's memory.
	ErrMemory = errors.New("not enough memory")
	// ErrParams: impossible parameters.
	ErrParams = errors.New("bad start-of-day parameters")
)

const (
	// padding is the least that is mapped behind the last element (xen.h), regionAlign
	// what its end is a multiple of.
	padding     = 512 << 10
	regionAlign = 4 << 20

	// maxPages64 and maxPages32 bound a domain's memory: 64 TiB, and what 32-bit PAE
	// can address.
	maxPages64 = 1 << 34
	maxPages32 = 1 << 24
)

// Params describe the domain.
type Params struct {
	Kernel *image.Kernel
	// Pages is the domain's memory when it starts.
	Pages   uint64
	Cmdline string
	// Modules are what comes beside the kernel: one is the ramdisk as it is; more, or one
	// with a command line, are packed as SIF_MULTIBOOT_MOD has it.
	Modules []Module
}

// Run is a run of frames.
type Run struct {
	First PFN
	Pages uint64
}

func (r Run) end() PFN { return r.First + PFN(r.Pages) }

func (r Run) has(pfn PFN) bool { return pfn >= r.First && pfn < r.end() }

// Plan is where everything goes.
type Plan struct {
	// Bits is 64, or 32 for PAE.
	Bits  int
	Pages uint64
	// VirtBase is where PFN 0 is mapped, VirtEnd the end of what is.
	VirtBase, VirtEnd mm.GuestVirt
	Entry             mm.GuestVirt

	StartInfo, Store, Console, Stack PFN
	// Tables are the page tables of VirtBase to VirtEnd. The root, which the domain
	// finds pinned, is the first.
	Tables Run
	// LowRoot says that the root's frame has to be below 4 GiB, see Arrange.
	LowRoot bool
	// P2M is the list of frames; P2MTables are the page tables that map it, if that is
	// not where the rest is mapped, and lie before it.
	P2M, P2MTables Run
	// Ramdisk are the modules' frames, if there are any.
	Ramdisk Run

	kernel    *image.Kernel
	guest     *guest
	p2mAddr   mm.GuestVirt
	modules   modules
	modsByPFN bool
	cmdline   string
	tree      tree
}

// Width is the guest's.
func (p *Plan) Width() xenabi.Width {
	if p.Bits == 32 {
		return xenabi.Guest32
	}
	return xenabi.Guest64
}

// Levels is the number of levels of the page tables: the root's.
func (p *Plan) Levels() int {
	if p.Bits == 32 {
		return 3
	}
	return 4
}

// lowFrames is the number of frames below 4 GiB.
const lowFrames = 1 << (32 - mm.PageShift)

// Arrange exchanges two of the domain's frames, by swap, if that is needed to have the root
// of its page tables below 4 GiB. An error is that there is none of them there.
func (p *Plan) Arrange(frame func(PFN) mm.MFN, swap func(a, b PFN)) error {
	if !p.LowRoot || frame(p.Tables.First) < lowFrames {
		return nil
	}
	for pfn := range PFN(p.Pages) {
		if frame(pfn) < lowFrames {
			swap(pfn, p.Tables.First)
			return nil
		}
	}
	return fmt.Errorf("%w: kernel %s needs a frame below 4 GiB for its page tables, and none of the domain's is there; take a 64-bit kernel, or one with PAE=yes[extended-cr3]",
		ErrMemory, p.kernel.Name)
}

// Virt returns where the page tables map pfn. Precondition: pfn lies before VirtEnd.
func (p *Plan) Virt(pfn PFN) mm.GuestVirt { return p.VirtBase + mm.GuestVirt(pfn<<mm.PageShift) }

// Layout decides where everything goes.
func Layout(c Params) (*Plan, error) {
	g, err := examine(c.Kernel)
	if err != nil {
		return nil, err
	}
	most := uint64(maxPages64)
	if g.bits == 32 {
		most = maxPages32
	}
	if c.Pages > most {
		return nil, fmt.Errorf("%w: memory of %d GiB; a %d-bit PV domain can have %d", ErrParams, c.Pages>>18, g.bits, most>>18)
	}
	if len(c.Cmdline) >= xenabi.MaxGuestCmdline {
		return nil, fmt.Errorf("%w: a command line of %d bytes; PV kernels can be given %d", ErrParams, len(c.Cmdline), xenabi.MaxGuestCmdline-1)
	}
	p := &Plan{
		Bits: g.bits, Pages: c.Pages, VirtBase: g.base, Entry: g.entry, LowRoot: g.lowRoot,
		kernel: c.Kernel, guest: g, cmdline: c.Cmdline,
	}
	if p.modules, err = packModules(c.Modules); err != nil {
		return nil, err
	}
	p.modsByPFN = c.Kernel.Notes.ModStartPFN
	if err := p.place(); err != nil {
		return nil, err
	}
	return p, nil
}

// place gives everything its frames.
func (p *Plan) place() error {
	next := PFN(pages(p.guest.end))
	take := func(n uint64) Run {
		r := Run{next, n}
		next += PFN(n)
		return r
	}
	list := pages(p.Pages * uint64(p.Width()))
	if !p.modsByPFN {
		p.Ramdisk = take(pages(p.modules.size))
	}
	if !p.guest.hasP2M {
		p.P2M = take(list)
		p.p2mAddr = p.Virt(p.P2M.First)
	}
	p.StartInfo, p.Store, p.Console = next, next+1, next+2
	next += 3
	if err := p.fits(next); err != nil {
		return err // before a kernel that claims terabytes gets page tables
	}

	// The tables map themselves: more of them may need another one.
	var end, n uint64
	for {
		end = uint64(p.VirtBase) + uint64(next)<<mm.PageShift + (n+1)<<mm.PageShift + padding
		end = (end + regionAlign - 1) &^ (regionAlign - 1)
		if err := p.guest.room("its memory at the start", uint64(p.VirtBase), end); err != nil {
			return err
		}
		m := p.guest.tables(uint64(p.VirtBase), end)
		if m == n {
			break
		}
		n = m
	}
	p.VirtEnd = mm.GuestVirt(end)
	p.Tables = take(n)
	p.Stack = next
	mapped := Run{0, (end - uint64(p.VirtBase)) >> mm.PageShift}
	p.tree = newTree(p.guest.levels)
	p.tree.add(mapping{uint64(p.VirtBase), mapped}, p.Tables.First)

	next = mapped.end()
	if p.guest.hasP2M {
		from := uint64(p.guest.p2m)
		if err := p.guest.room("its list of frames (INIT_P2M)", from, from+list<<mm.PageShift); err != nil {
			return err
		}
		if from < end && from+list<<mm.PageShift > uint64(p.VirtBase) {
			return p.guest.refuse("its INIT_P2M %#x lies in the kernel's own %#x to %#x; the file is damaged", from, p.VirtBase, end)
		}
		p.p2mAddr = p.guest.p2m
		p.P2MTables = Run{next, p.tree.missing(from, list)}
		p.P2M = Run{p.P2MTables.end(), list}
		p.tree.add(mapping{from, p.P2M}, next)
		next = p.P2M.end()
	}
	if p.modsByPFN {
		p.Ramdisk = take(pages(p.modules.size))
	}
	return p.fits(next)
}

// fits refuses what needs more frames than there are.
func (p *Plan) fits(end PFN) error {
	if uint64(end) <= p.Pages {
		return nil
	}
	return fmt.Errorf("%w: kernel %s and what comes with it (%d KiB of modules) take %d MiB, and the domain has %d; raise memory=",
		ErrMemory, p.kernel.Name, p.modules.size>>10, (uint64(end)+255)>>8, p.Pages>>8)
}

// pages is the number of pages that hold n bytes.
func pages(n uint64) uint64 { return (n + mm.PageMask) >> mm.PageShift }
