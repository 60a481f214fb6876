package xenabi

// widthConsts are the constants that are others for guests of another width, as the headers
// name them.
var widthConsts = map[Width]map[string]uint64{
	Guest64: {
		"FLAT_KERNEL_CS": FlatKernelCS64, "FLAT_KERNEL_SS": FlatKernelSS64, "FLAT_KERNEL_DS": FlatKernelDS64,
		"FLAT_USER_CS": FlatKernelCS64, "FLAT_USER_SS": FlatKernelSS64, "FLAT_USER_CS32": FlatCompatCS64,
		"__HYPERVISOR_VIRT_START": HypervisorVirtStart64, "__HYPERVISOR_VIRT_END": HypervisorVirtEnd64,
		"__MACH2PHYS_VIRT_START": Mach2PhysVirtStart64, "__MACH2PHYS_VIRT_END": Mach2PhysVirtEnd64,
	},
	Guest32: {
		"FLAT_KERNEL_CS": FlatKernelCS32, "FLAT_KERNEL_SS": FlatKernelSS32, "FLAT_KERNEL_DS": FlatKernelDS32,
		"FLAT_USER_CS": FlatUserCS32, "FLAT_USER_SS": FlatUserSS32,
		"__HYPERVISOR_VIRT_START": HypervisorVirtStart32,
		"__MACH2PHYS_VIRT_START":  Mach2PhysVirtStart32, "__MACH2PHYS_VIRT_END": Mach2PhysVirtEnd32,
	},
}
