package xenabi

// SharedInfo says where the fields of shared_info and vcpu_info lie for guests
// of one width (xen.h; arch-x86/xen.h, xen-x86_64.h, xen-x86_32.h). All values
// are byte offsets, from the start of shared_info or of a vcpu_info.
type SharedInfo struct {
	Width Width
	Size  int // of struct shared_info

	EvtchnPending int // one bit a port, in words of Width
	EvtchnMask    int
	NrEvtchn      int // ports of the 2-level ABI (event_channel.h)

	WCVersion int
	WCSec     int
	WCNsec    int
	WCSecHi   int

	ArchMaxPFN             int
	ArchPFNToMFNFrameList  int // pfn_to_mfn_frame_list_list
	ArchNMIReason          int
	ArchP2MCR3             int
	ArchP2MVaddr           int
	ArchP2MGeneration      int
	VCPUEvtchnPendingSel   int // in vcpu_info, one word
	VCPUArchCR2            int // in vcpu_info, one word
	RunstateSize           int // struct vcpu_runstate_info (vcpu.h)
	RunstateStateEntryTime int
	RunstateTime           int // array of 4, each 8 bytes, by RUNSTATE_*
}

// Offsets that both widths share (xen.h).
const (
	// LegacyMaxVCPUs is how many vcpus have a vcpu_info in shared_info
	// (arch-x86/xen.h, XEN_LEGACY_MAX_VCPUS); the array is at offset 0.
	LegacyMaxVCPUs = 32
	// VCPUInfoSize is the size of struct vcpu_info.
	VCPUInfoSize = 64

	// In vcpu_info.
	VCPUEvtchnUpcallPending = 0 // byte
	VCPUEvtchnUpcallMask    = 1 // byte
	VCPUTime                = 32

	// In vcpu_time_info.
	TimeVersion        = 0
	TimeTSCTimestamp   = 8
	TimeSystemTime     = 16
	TimeTSCToSystemMul = 24
	TimeTSCShift       = 28 // signed byte
	TimeFlags          = 29 // byte
	TimeSize           = 32

	// In vcpu_runstate_info (vcpu.h).
	RunstateState = 0 // 4 bytes
)

// Offsets in struct evtchn_fifo_control_block (event_channel.h).
const (
	FIFOControlReady = 0
	FIFOControlHead  = 8 // array of EvtchnFIFOMaxQueues, each 4 bytes
	FIFOControlSize  = 8 + 4*EvtchnFIFOMaxQueues
)

// Offsets in struct xencons_interface, the console page (io/console.h).
const (
	ConsoleIn      = 0
	ConsoleInSize  = 1024
	ConsoleOut     = 1024
	ConsoleOutSize = 2048
	ConsoleInCons  = 3072
	ConsoleInProd  = 3076
	ConsoleOutCons = 3080
	ConsoleOutProd = 3084
)

// Offsets in struct xenstore_domain_interface, the xenstore page
// (io/xs_wire.h).
const (
	XenstoreRingSize       = 1024
	XenstoreReq            = 0
	XenstoreRsp            = 1024
	XenstoreReqCons        = 2048
	XenstoreReqProd        = 2052
	XenstoreRspCons        = 2056
	XenstoreRspProd        = 2060
	XenstoreServerFeatures = 2064
	XenstoreConnection     = 2068
	XenstoreError          = 2072
)

// Sizes and offsets of grant table entries (grant_table.h, grant_entry_v1,
// grant_entry_v2). The header (flags, domid) is the same in both.
const (
	GrantFlags = 0 // 2 bytes
	GrantDomID = 2 // 2 bytes

	GrantV1Size  = 8
	GrantV1Frame = 4 // 4 bytes

	GrantV2Size       = 16
	GrantV2Frame      = 8 // 8 bytes: full_page and sub_page
	GrantV2PageOff    = 4 // 2 bytes: sub_page
	GrantV2Length     = 6 // 2 bytes: sub_page
	GrantV2TransDomID = 4 // 2 bytes: transitive
	GrantV2TransGref  = 8 // 4 bytes: transitive

	GrantStatusSize = 2 // grant_status_t
)

var (
	shared64 = SharedInfo{
		Width: Guest64, Size: 3136,
		EvtchnPending: 2048, EvtchnMask: 2560, NrEvtchn: Evtchn2LNrChannels64,
		WCVersion: 3072, WCSec: 3076, WCNsec: 3080, WCSecHi: 3084,
		ArchMaxPFN: 3088, ArchPFNToMFNFrameList: 3096, ArchNMIReason: 3104,
		ArchP2MCR3: 3112, ArchP2MVaddr: 3120, ArchP2MGeneration: 3128,
		VCPUEvtchnPendingSel: 8, VCPUArchCR2: 16,
		RunstateSize: 48, RunstateStateEntryTime: 8, RunstateTime: 16,
	}
	shared32 = SharedInfo{
		Width: Guest32, Size: 2344,
		EvtchnPending: 2048, EvtchnMask: 2176, NrEvtchn: Evtchn2LNrChannels32,
		WCVersion: 2304, WCSec: 2308, WCNsec: 2312, WCSecHi: 2340,
		ArchMaxPFN: 2316, ArchPFNToMFNFrameList: 2320, ArchNMIReason: 2324,
		ArchP2MCR3: 2328, ArchP2MVaddr: 2332, ArchP2MGeneration: 2336,
		VCPUEvtchnPendingSel: 4, VCPUArchCR2: 8,
		RunstateSize: 44, RunstateStateEntryTime: 4, RunstateTime: 12,
	}
)

// UpcallDue tells of the first four bytes of a vcpu_info whether an upcall is pending and not
// masked.
func UpcallDue(w uint32) bool {
	return w>>(8*VCPUEvtchnUpcallPending)&0xff != 0 && w>>(8*VCPUEvtchnUpcallMask)&0xff == 0
}

// SharedInfoOf returns the layout for guests of width w; anything but Guest32
// counts as Guest64. The caller must not change it.
func SharedInfoOf(w Width) *SharedInfo {
	if w == Guest32 {
		return &shared32
	}
	return &shared64
}

// VCPUInfo returns the offset of vcpu's vcpu_info in shared_info, and whether
// shared_info has one.
func (*SharedInfo) VCPUInfo(vcpu int) (off int, ok bool) {
	if vcpu < 0 || vcpu >= LegacyMaxVCPUs {
		return 0, false
	}
	return vcpu * VCPUInfoSize, true
}
