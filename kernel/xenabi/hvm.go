package xenabi

// HVMStartMagic is what HVMStartInfo.Magic holds, and HVMStartVersion the
// version that has all its fields (arch-x86/hvm/start_info.h).
const (
	HVMStartMagic   = 0x336ec578
	HVMStartVersion = 1
)

// Types of HVMMemmapEntry, as E820's (arch-x86/hvm/start_info.h).
const (
	HVMMemmapTypeRAM      = 1
	HVMMemmapTypeReserved = 2
	HVMMemmapTypeACPI     = 3
	HVMMemmapTypeNVS      = 4
	HVMMemmapTypeUnusable = 5
	HVMMemmapTypeDisabled = 6
	HVMMemmapTypePMem     = 7
)

// Leaves of CPUID that describe the hypervisor, and flags of the HVM leaf,
// FirstLeaf + 4 (arch-x86/cpuid.h).
const (
	CPUIDFirstLeaf    = 0x40000000
	CPUIDMaxNumLeaves = 5
	CPUIDSignatureEBX = 0x566e6558 // "XenV"
	CPUIDSignatureECX = 0x65584d4d // "MMXe"
	CPUIDSignatureEDX = 0x4d4d566e // "nVMM"

	CPUIDHVMAPICAccessVirt = 1 << 0
	CPUIDHVMX2APICVirt     = 1 << 1
	CPUIDHVMIOMMUMappings  = 1 << 2
	CPUIDHVMVCPUIDPresent  = 1 << 3
	CPUIDHVMDomIDPresent   = 1 << 4
	CPUIDHVMExtDestID      = 1 << 5
	CPUIDHVMUpcallVector   = 1 << 6
)
