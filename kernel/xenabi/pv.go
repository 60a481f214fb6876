package xenabi

// Where the hypervisor lies in a PV guest's address space: nothing of the guest's can be
// mapped from Start up to, and without, End. A 32-bit guest's hole goes to 4 GiB
// (arch-x86/xen-x86_64.h, xen-x86_32.h).
const (
	HypervisorVirtStart64 = 0xffff8000_00000000
	HypervisorVirtEnd64   = 0xffff8800_00000000
	HypervisorVirtStart32 = 0xf5800000
)

// Selectors that every PV guest's GDT has, for its kernel
// (arch-x86/xen-x86_64.h, xen-x86_32.h, FLAT_KERNEL_*).
const (
	FlatKernelCS64 = 0xe033
	FlatKernelSS64 = 0xe02b
	FlatKernelDS64 = 0
	FlatKernelCS32 = 0xe019
	FlatKernelSS32 = 0xe021
	FlatKernelDS32 = 0xe021
)
