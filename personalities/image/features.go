package image

import "strings"

// Feature is a bit of XENFEAT_* (features.h).
type Feature uint

// Features that a kernel's notes can name (features.h, XENFEAT_*).
const (
	WritablePageTables       Feature = 0
	WritableDescriptorTables Feature = 1
	AutoTranslatedPhysmap    Feature = 2
	SupervisorModeKernel     Feature = 3
	PAEPgdirAbove4GB         Feature = 4
	MMUPtUpdatePreserveAD    Feature = 5
	HighmemAssist            Feature = 6
	GnttabMapAvailBits       Feature = 7
	HVMCallbackVector        Feature = 8
	HVMSafePVClock           Feature = 9
	HVMPirqs                 Feature = 10
	Dom0                     Feature = 11
	GrantMapIdentity         Feature = 12
	MemoryOpVnodeSupported   Feature = 13
	ARMSMCCCSupported        Feature = 14
	LinuxRSDPUnrestricted    Feature = 15
	NotDirectMapped          Feature = 16
	DirectMapped             Feature = 17
)

// featureNames are the names in a FEATURES note, by bit.
var featureNames = [...]string{
	WritablePageTables:       "writable_page_tables",
	WritableDescriptorTables: "writable_descriptor_tables",
	AutoTranslatedPhysmap:    "auto_translated_physmap",
	SupervisorModeKernel:     "supervisor_mode_kernel",
	PAEPgdirAbove4GB:         "pae_pgdir_above_4gb",
	MMUPtUpdatePreserveAD:    "mmu_pt_update_preserve_ad",
	HighmemAssist:            "highmem_assist",
	GnttabMapAvailBits:       "gnttab_map_avail_bits",
	HVMCallbackVector:        "hvm_callback_vector",
	HVMSafePVClock:           "hvm_safe_pvclock",
	HVMPirqs:                 "hvm_pirqs",
	Dom0:                     "dom0",
	GrantMapIdentity:         "grant_map_identity",
	MemoryOpVnodeSupported:   "memory_op_vnode_supported",
	ARMSMCCCSupported:        "ARM_SMCCC_supported",
	LinuxRSDPUnrestricted:    "linux_rsdp_unrestricted",
	NotDirectMapped:          "not_direct_mapped",
	DirectMapped:             "direct_mapped",
}

func (f Feature) String() string {
	if int(f) < len(featureNames) {
		return featureNames[f]
	}
	return "unknown feature"
}

// Features is a set of Feature, by bit.
type Features uint64

// Has tells whether f is in the set.
func (s Features) Has(f Feature) bool { return f < 64 && s>>f&1 != 0 }

// parseFeatures reads a FEATURES note: names with '|' between them, a '!'
// before one that the kernel can't do without. unknown are required names
// that features.h does not have.
func parseFeatures(list string) (supported, required Features, unknown []string) {
	for name := range strings.SplitSeq(list, "|") {
		name, must := strings.CutPrefix(strings.TrimSpace(name), "!")
		known := false
		for bit, n := range featureNames {
			if n == name {
				known = true
				supported |= 1 << bit
				if must {
					required |= 1 << bit
				}
			}
		}
		if must && !known && len(unknown) < 16 {
			unknown = append(unknown, name)
		}
	}
	return supported, required, unknown
}
