package xenabi

// Hypercall numbers (xen.h, __HYPERVISOR_*).
const (
	HypercallSetTrapTable               = 0
	HypercallMMUUpdate                  = 1
	HypercallSetGDT                     = 2
	HypercallStackSwitch                = 3
	HypercallSetCallbacks               = 4
	HypercallFPUTaskswitch              = 5
	HypercallSchedOpCompat              = 6
	HypercallPlatformOp                 = 7
	HypercallSetDebugreg                = 8
	HypercallGetDebugreg                = 9
	HypercallUpdateDescriptor           = 10
	HypercallMemoryOp                   = 12
	HypercallMulticall                  = 13
	HypercallUpdateVAMapping            = 14
	HypercallSetTimerOp                 = 15
	HypercallEventChannelOpCompat       = 16
	HypercallXenVersion                 = 17
	HypercallConsoleIO                  = 18
	HypercallPhysdevOpCompat            = 19
	HypercallGrantTableOp               = 20
	HypercallVMAssist                   = 21
	HypercallUpdateVAMappingOtherdomain = 22
	HypercallIret                       = 23
	HypercallVCPUOp                     = 24
	HypercallSetSegmentBase             = 25
	HypercallMMUExtOp                   = 26
	HypercallXSMOp                      = 27
	HypercallNMIOp                      = 28
	HypercallSchedOp                    = 29
	HypercallCallbackOp                 = 30
	HypercallXenoprofOp                 = 31
	HypercallEventChannelOp             = 32
	HypercallPhysdevOp                  = 33
	HypercallHVMOp                      = 34
	HypercallSysctl                     = 35
	HypercallDomctl                     = 36
	HypercallKexecOp                    = 37
	HypercallTmemOp                     = 38
	HypercallArgoOp                     = 39
	HypercallXenPMUOp                   = 40
	HypercallDMOp                       = 41
	HypercallHypFSOp                    = 42
	HypercallArch0                      = 48
	HypercallArch1                      = 49
	HypercallArch2                      = 50
	HypercallArch3                      = 51
	HypercallArch4                      = 52
	HypercallArch5                      = 53
	HypercallArch6                      = 54
	HypercallArch7                      = 55
)

// HypercallPageStride is the distance in bytes between two entries of the
// hypercall page (arch-x86/xen-x86_64.h, "hypercall-number * 32").
const HypercallPageStride = 32

// Virtual interrupts (xen.h, VIRQ_*); VIRQIsGlobal classifies them.
const (
	VIRQTimer     = 0
	VIRQDebug     = 1
	VIRQConsole   = 2
	VIRQDomExc    = 3
	VIRQTBuf      = 4
	VIRQDebugger  = 6
	VIRQXenoprof  = 7
	VIRQConRing   = 8
	VIRQPCPUState = 9
	VIRQMemEvent  = 10
	VIRQArgo      = 11
	VIRQENOMEM    = 12
	VIRQXenPMU    = 13
	VIRQArch0     = 16
	VIRQArch1     = 17
	VIRQArch2     = 18
	VIRQArch3     = 19
	VIRQArch4     = 20
	VIRQArch5     = 21
	VIRQArch6     = 22
	VIRQArch7     = 23
)

// NrVIRQs is one more than the highest virtual interrupt (xen.h).
const (
	NrVIRQs = 24
)

// VIRQIsGlobal tells whether v is bound once for a domain (G. in xen.h) and not
// once for each vcpu (V.).
func VIRQIsGlobal(v uint32) bool {
	switch v {
	case VIRQTimer, VIRQDebug, VIRQXenoprof, VIRQXenPMU:
		return false
	}
	return true
}

// Commands of console_io (xen.h).
const (
	ConsoleIOWrite = 0
	ConsoleIORead  = 1
)

// Commands of vm_assist (xen.h).
const (
	VMAssistCmdEnable  = 0
	VMAssistCmdDisable = 1
)

// Types of vm_assist (xen.h).
const (
	VMAssistType4GBSegments        = 0
	VMAssistType4GBSegmentsNotify  = 1
	VMAssistTypeWritablePagetables = 2
	VMAssistTypePAEExtendedCR3     = 3
	VMAssistTypeArchitecturalIOPL  = 4
	VMAssistTypeRunstateUpdateFlag = 5
	VMAssistTypeM2PStrict          = 32
)

// Commands of mmuext_op (xen.h).
const (
	MMUExtPinL1Table       = 0
	MMUExtPinL2Table       = 1
	MMUExtPinL3Table       = 2
	MMUExtPinL4Table       = 3
	MMUExtUnpinTable       = 4
	MMUExtNewBaseptr       = 5
	MMUExtTlbFlushLocal    = 6
	MMUExtInvlpgLocal      = 7
	MMUExtTlbFlushMulti    = 8
	MMUExtInvlpgMulti      = 9
	MMUExtTlbFlushAll      = 10
	MMUExtInvlpgAll        = 11
	MMUExtFlushCache       = 12
	MMUExtSetLDT           = 13
	MMUExtNewUserBaseptr   = 15
	MMUExtClearPage        = 16
	MMUExtCopyPage         = 17
	MMUExtFlushCacheGlobal = 18
	MMUExtMarkSuper        = 19
	MMUExtUnmarkSuper      = 20
)
