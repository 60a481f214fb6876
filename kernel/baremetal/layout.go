// Package baremetal is the seam between stock Go and the machine: it boots the
// CPUs and answers, in ring 0, the few Linux calls that the Go runtime makes
// (clone, futex, mmap, tgkill, rt_sig*, epoll, clock_gettime...).
//
// The runtime's SYSCALL instructions are turned into CALLs of callEntry by the
// overlay (see mkoverlay), so the machine's own SYSCALL target is free for
// guests. CPU exceptions become signal frames; timers and IPIs reschedule
// threads; everything else of Go works as on Linux.
//
// Everything reached from kentry runs on a per-CPU stack with interrupts off and
// with a stand-in g. It must not allocate, panic, or store pointers to memory
// that the collector knows (there is no P for a write barrier): state lies in
// flat arrays, and addresses are uint64.
//
// References: AMD64 Architecture Programmer's Manual volume 2 (24593) chapters
// 4 to 8, 12 and 16; Intel SDM volume 3 chapter 10 (APIC); System V ABI for
// AMD64 (the initial stack); Linux's uapi headers for the calls' numbers.
package baremetal

// Where things are. L4 slots 256 to 271, the hole that 64-bit PV guests leave,
// are the same in every address space (docs/address-space.md).
const (
	HoleBase  = 0xffff8000_00000000
	HoleEnd   = 0xffff8800_00000000
	MMIOBase  = 0xffff8280_00000000 // physical addresses below 4 GiB, uncached
	ImageBase = 0xffff82d0_80000000 // the image: virtual minus physical address
	DirectMap = 0xffff8300_00000000 // all RAM, cached
	DirectEnd = 0xffff8700_00000000
	VMapBase  = 0xffff8700_00000000 // what needs page tables: Go's heap, stacks
	VMapEnd   = HoleEnd
)

// Limits of the seam's flat tables.
const (
	MaxCPUs    = 64
	MaxThreads = 1024
)

// Page-table entry bits (APM vol. 2, 5.4).
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteUser    = 1 << 2
	ptePWT     = 1 << 3
	ptePCD     = 1 << 4
	pteLarge   = 1 << 7
	pteGlobal  = 1 << 8
	pteNX      = 1 << 63

	pteAddr = 0x000fffff_fffff000

	pteData = ptePresent | pteWrite | pteGlobal | pteNX
	pteMMIO = pteData | ptePWT | ptePCD

	page4K = 4 << 10
	page2M = 2 << 20
	page1G = 1 << 30
)
