package xenabi

// Where the hypervisor lies in a PV guest's address space: nothing of the guest's can be
// mapped from Start up to, and without, End. A 32-bit guest's hole goes to 4 GiB
// (arch-x86/xen-x86_64.h, xen-x86_32.h).
const (
	HypervisorVirtStart64 = 0xffff8000_00000000
	HypervisorVirtEnd64   = 0xffff8800_00000000
	HypervisorVirtStart32 = 0xf5800000
)

// Where a PV guest finds the machine-to-physical table (the same headers).
const (
	Mach2PhysVirtStart64 = 0xffff8000_00000000
	Mach2PhysVirtEnd64   = 0xffff8040_00000000
	Mach2PhysVirtStart32 = 0xf5800000
	Mach2PhysVirtEnd32   = 0xf6800000
)

// FirstReservedGDTPage is how many pages of a PV guest's GDT, of its 16, are its own
// (arch-x86/xen.h, FIRST_RESERVED_GDT_PAGE).
const FirstReservedGDTPage = 14

// Selectors of the flat segments that every PV guest's GDT has, by the guest's width
// (arch-x86/xen-x86_64.h, xen-x86_32.h, FLAT_*). The processes of a 64-bit guest have the
// segments of its kernel, and FlatCompatCS64 for code of 32 bits.
const (
	FlatKernelCS64 = 0xe033
	FlatKernelSS64 = 0xe02b
	FlatKernelDS64 = 0
	FlatCompatCS64 = 0xe023 // FLAT_RING3_CS32

	FlatKernelCS32 = 0xe019
	FlatKernelSS32 = 0xe021
	FlatKernelDS32 = 0xe021
	FlatUserCS32   = 0xe02b
	FlatUserSS32   = 0xe033
)
