// Package startinfo prepares the memory that a PVH guest finds when it starts:
// hvm_start_info with its modules, command lines and memory map, the ACPI
// tables, and the places that the hypervisor keeps for itself. It is pure: it
// decides addresses, and writes through mm.GuestMemory.
//
// Specifications: Xen's public headers arch-x86/hvm/start_info.h (version 1)
// and hvm/e820.h; Xen's docs/misc/pvh for the processor's first state.
//
// Guest physical memory, from below:
//
//	0x00000000            one page left alone: address 0 means "not there"
//	0x00001000            hvm_start_info, module list, memory map
//	0x00002000            command lines
//	0x000a0000-0x000dffff memory that no map mentions
//	0x000e0000-0x000fffff ACPI tables, where also BIOS-minded guests look
//	0x00100000-           kernel, then modules, each page aligned
//	          -0xf0000000 end of low RAM at most; what does not fit is above 4 GiB
//	0xfeff8000-0xfeffffff special pages: console, xenstore, and so on
package startinfo

import (
	"errors"
	"fmt"

	"nidus/mm"
	"nidus/personalities/acpi"
)

// Fixed places (see the package comment).
const (
	infoBase    mm.GuestPhys = 0x1000
	cmdlineBase mm.GuestPhys = 0x2000
	cmdlineEnd  mm.GuestPhys = 0x80000
	lowRAMEnd   mm.GuestPhys = 0xa0000
	acpiBase    mm.GuestPhys = 0xe0000
	acpiEnd     mm.GuestPhys = 0x100000

	// DefaultHoleStart is where the space for devices begins (hvm/e820.h,
	// HVM_BELOW_4G_RAM_END).
	DefaultHoleStart mm.GuestPhys = 0xf0000000
	// highestHole keeps RAM clear of the I/O APICs' and local APICs' places.
	highestHole mm.GuestPhys = 0xfec00000
	holeEnd     mm.GuestPhys = 1 << 32

	// LowestKernel is the lowest address at which a kernel can lie.
	LowestKernel = acpiEnd
)

// Bounds on what a guest can be given.
const (
	// MaxModules bounds the modules: the list shares one page with the rest.
	MaxModules = 32
	// MaxCmdline bounds one command line, in bytes without the final zero.
	// Linux reads 2047.
	MaxCmdline = 16 << 10
	// MinMemory is the least memory of a guest, in bytes.
	MinMemory = 4 << 20
)

// Errors of Layout, wrapped in what it says.
var (
	// ErrMemory: the parts do not fit in the guest's memory.
	ErrMemory = errors.New("not enough memory")
	// ErrParams: contradictory or impossible parameters.
	ErrParams = errors.New("bad start-of-day parameters")
)

// Module is a file that the guest gets beside its kernel; the first is the
// ramdisk.
type Module struct {
	// Name is for messages.
	Name string
	// Size is in bytes.
	Size uint64
	// Cmdline goes into the module list.
	Cmdline string
}

// Params describe the guest.
type Params struct {
	// Memory is the guest's memory in bytes, a multiple of a page.
	Memory uint64
	// HoleStart begins the space for devices below 4 GiB; 0 means
	// DefaultHoleStart.
	HoleStart mm.GuestPhys
	// KernelStart and KernelEnd are the kernel's span.
	KernelStart, KernelEnd mm.GuestPhys
	Cmdline                string
	Modules                []Module
	// CPUs are all processors that the guest can ever have.
	CPUs []acpi.CPU
	// Flags are SIF_* of xen.h; 0 for a guest without privileges.
	Flags uint32
}

// Range is a range of guest physical memory.
type Range struct {
	Start mm.GuestPhys
	Size  uint64
}

// End returns the address after the range.
func (r Range) End() mm.GuestPhys { return r.Start + mm.GuestPhys(r.Size) }

// PlacedModule is a module with its place.
type PlacedModule struct {
	Module
	Addr    mm.GuestPhys // page aligned
	cmdline mm.GuestPhys
}

// Plan is where everything goes.
type Plan struct {
	// RAM are the ranges to back with memory; together they are
	// Params.Memory. The special pages come on top.
	RAM []Range
	// Special are the pages of the hypervisor's own, also to be backed.
	Special SpecialPages
	// MemoryMap is what the guest is told, here and by XENMEM_memory_map.
	MemoryMap []MapEntry
	// StartInfo is the address for the first vcpu's EBX.
	StartInfo mm.GuestPhys
	// Kernel is where a kernel may lie: from LowestKernel to the end of low
	// RAM.
	Kernel Range
	// Modules have their places; the caller copies their contents.
	Modules []PlacedModule
	// Tables are the ACPI tables.
	Tables *acpi.Tables

	flags       uint32
	cmdline     string
	cmdlineAddr mm.GuestPhys
}

// Layout decides where everything goes.
func Layout(p Params) (*Plan, error) {
	if p.HoleStart == 0 {
		p.HoleStart = DefaultHoleStart
	}
	switch {
	case p.Memory%mm.PageSize != 0:
		return nil, fmt.Errorf("%w: memory of %d bytes is not whole pages", ErrParams, p.Memory)
	case p.Memory < MinMemory:
		return nil, fmt.Errorf("%w: the domain has %d KiB; give it at least %d MiB (memory=)", ErrMemory, p.Memory>>10, MinMemory>>20)
	case p.Memory > 1<<46:
		return nil, fmt.Errorf("%w: memory of %d GiB", ErrParams, p.Memory>>30)
	case p.HoleStart%mm.PageSize != 0 || p.HoleStart < MinMemory || p.HoleStart > highestHole:
		return nil, fmt.Errorf("%w: the space for devices can't begin at %#x", ErrParams, p.HoleStart)
	case p.KernelStart >= p.KernelEnd:
		return nil, fmt.Errorf("%w: a kernel from %#x to %#x", ErrParams, p.KernelStart, p.KernelEnd)
	case p.KernelStart < LowestKernel:
		return nil, fmt.Errorf("%w: the kernel wants to be at %#x, and the first MiB is taken; link it at %#x or above", ErrParams, p.KernelStart, LowestKernel)
	case len(p.Modules) > MaxModules:
		return nil, fmt.Errorf("%w: %d modules, at most %d are possible", ErrParams, len(p.Modules), MaxModules)
	}

	low := min(p.Memory, uint64(p.HoleStart))
	plan := &Plan{
		RAM:       []Range{{0, low}},
		Special:   specialPages(),
		StartInfo: infoBase,
		Kernel:    Range{LowestKernel, low - uint64(LowestKernel)},
		flags:     p.Flags,
	}
	if high := p.Memory - low; high > 0 {
		plan.RAM = append(plan.RAM, Range{holeEnd, high})
	}
	if uint64(p.KernelEnd) > low {
		return nil, fmt.Errorf("%w: the kernel ends at %#x and the domain's memory at %#x; give it at least %d MiB (memory=)",
			ErrMemory, p.KernelEnd, low, mebibytes(uint64(p.KernelEnd)))
	}
	if err := plan.placeModules(p, low); err != nil {
		return nil, err
	}
	if err := plan.placeCmdlines(p); err != nil {
		return nil, err
	}
	var err error
	if plan.Tables, err = acpi.Build(acpi.Config{Base: acpiBase, Size: uint64(acpiEnd - acpiBase), CPUs: p.CPUs}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParams, err)
	}
	plan.MemoryMap = memoryMap(plan.RAM)
	return plan, nil
}

// placeModules puts the modules behind the kernel, where every guest has
// mapped what it finds in its first page tables.
func (plan *Plan) placeModules(p Params, low uint64) error {
	at := pageUp(uint64(p.KernelEnd))
	for i, m := range p.Modules {
		if m.Size == 0 {
			return fmt.Errorf("%w: module %d (%s) is empty", ErrParams, i, m.Name)
		}
		free := uint64(0)
		if at < low {
			free = low - at
		}
		if m.Size > free {
			advice := fmt.Sprintf("give the domain at least %d MiB (memory=)", mebibytes(at+min(m.Size, 1<<60)))
			if at+min(m.Size, 1<<60) > uint64(p.HoleStart) {
				advice = fmt.Sprintf("it can't be larger than that below the device space at %#x", p.HoleStart)
			}
			return fmt.Errorf("%w: module %s takes %d KiB, and above the kernel %d KiB are free; %s",
				ErrMemory, m.Name, (m.Size+1023)>>10, free>>10, advice)
		}
		plan.Modules = append(plan.Modules, PlacedModule{Module: m, Addr: mm.GuestPhys(at)})
		at = pageUp(at + m.Size)
	}
	return nil
}

func (plan *Plan) placeCmdlines(p Params) error {
	at := cmdlineBase
	place := func(what, s string) (mm.GuestPhys, error) {
		if len(s) > MaxCmdline {
			return 0, fmt.Errorf("%w: the command line of %s has %d characters, at most %d are possible", ErrParams, what, len(s), MaxCmdline)
		}
		for i := range len(s) {
			if s[i] == 0 {
				return 0, fmt.Errorf("%w: the command line of %s has a zero byte at %d", ErrParams, what, i)
			}
		}
		here := at
		at += mm.GuestPhys(len(s)+1+7) &^ 7
		if at > cmdlineEnd {
			return 0, fmt.Errorf("%w: the command lines take more than %d KiB", ErrParams, (cmdlineEnd-cmdlineBase)>>10)
		}
		return here, nil
	}
	var err error
	plan.cmdline = p.Cmdline
	if plan.cmdlineAddr, err = place("the kernel", p.Cmdline); err != nil {
		return err
	}
	for i := range plan.Modules {
		m := &plan.Modules[i]
		if m.Cmdline == "" {
			continue // address 0: there is none
		}
		if m.cmdline, err = place("module "+m.Name, m.Cmdline); err != nil {
			return err
		}
	}
	return nil
}

func pageUp(a uint64) uint64 { return (a + mm.PageMask) &^ mm.PageMask }

// mebibytes rounds up to whole MiB.
func mebibytes(n uint64) uint64 { return (n + 1<<20 - 1) >> 20 }
