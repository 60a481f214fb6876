package pv

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// context is what the entry code shares with Go: the start of a page outside Go's
// heap, without Go pointers. The FPU image follows at fpuOffset.
type context struct {
	regs   virt.Regs
	cs, ss uint64
	vec    uint64 // why the guest came back: an exception's or interrupt's vector, or below
	err    uint64
	cr2    uint64
	cr3    uint64 // the page tables to run with and their PCID, as CR3 reads
	keep   uint64 // keepTLB, if loading them may leave what the TLB has of their PCID

	ds, es, fs, gs uint64 // selectors
	fsBase, gsBase uint64

	_        [3]uint16
	gdtLimit uint16 // pseudo-descriptor for LGDT: the limit ends where the base begins
	gdtBase  uint64
	ldt      uint64 // selOwnLDT, or 0

	xsave    uint64 // 0: FXSAVE; else XSAVE of these components: the host's XCR0
	xcr0     uint64 // the guest's, if xsave isn't 0
	cr4      uint64 // what of CR4 is for guests: see cr4Guest
	narrow   uint64 // 1: a 32-bit guest
	hostCR4  uint64 // of cr4Guest
	hostSP   uint64
	hostFS   uint64
	hostView uint64 // 1: back to the host's page tables at exits
	fsgsbase uint64 // 1: CR4.FSGSBASE is on
	isolated uint64 // CR3 while the guest runs, if it is isolated, 1 before it has run; else 0
	slow     uint64 // 1: no exit is fastExit's
	fast     uint64 // what fastExit said of this exit; 0: it wasn't asked
	vcpu     uint64 // its address, as fastExit's argument: who runs it keeps it

	ts      uint64    // CR0.TS: the next use of the FPU is #NM
	drLive  uint64    // the guest has breakpoints on: load the debug registers
	dr      [4]uint64 // DR0 to DR3
	dr6     uint64
	dr7     uint64
	hostDR7 uint64 // while drLive: under QEMU's TCG not that of reset (docs/exit.md)

	reload uint64 // the TLB is to be emptied at the next entry: see forget
	npages uint64 // or, if it is 0, of these pages only
	pages  [maxPages]uint64

	kick    uint32 // Kick was called
	running uint32 // in the guest, or about to be: an interrupt is needed to be noticed
	flush   uint32 // RequestFlush was called
	_       uint32
	cpu     uint64 // where, while running
}

// Syscall32 is the Code of an exit by SYSCALL of 32-bit code.
const Syscall32 = 0x101

// What vec says beside vectors.
const (
	vecSyscall   = 0x100
	vecSyscall32 = Syscall32
	vecBadState  = 0x102 // a selector, or the place to go on at, is not good
)

// maxPages is how many pages are flushed one by one; more are all.
const maxPages = 8

// Layout of the page.
const (
	fpuOffset = 1024
	maxFPU    = 4096 - fpuOffset
)

// cr4Guest are the bits of CR4 that differ between guests, and from the host: TSD, by which
// RDTSC is #GP, and SMEP and SMAP, which are off for the kernel of a 32-bit guest: paging
// takes ring 1 for the supervisor.
const cr4Guest = 1<<2 | 1<<20 | 1<<21

// Selectors of the hypervisor's in every GDT, as the entry code calls them.
const (
	SelCode32    = xenabi.FlatCompatCS64
	SelData      = xenabi.FlatKernelSS64
	SelCode64    = xenabi.FlatKernelCS64
	selKernel32  = xenabi.FlatKernelCS32
	selStack32   = xenabi.FlatKernelSS32
	gdtOwnPage   = GDTFrames // the page of a GDT that is the CPU's
	gdtOwnOffset = gdtOwnPage * mm.PageSize
)
