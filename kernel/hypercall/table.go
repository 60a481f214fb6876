package hypercall

import "nidus/kernel/xenabi"

// hvm is what guests in hardware containers have (PVH, HVM). Numbers without a
// handler are ENOSYS, and logged once.
var hvm = Table{
	xenabi.HypercallSchedOpCompat:  schedOpCompat,
	xenabi.HypercallPlatformOp:     refused,
	xenabi.HypercallMemoryOp:       memoryOp,
	xenabi.HypercallMulticall:      multicall,
	xenabi.HypercallSetTimerOp:     setTimerOp,
	xenabi.HypercallXenVersion:     xenVersion,
	xenabi.HypercallConsoleIO:      consoleIO,
	xenabi.HypercallGrantTableOp:   grantTableOp,
	xenabi.HypercallVMAssist:       vmAssist,
	xenabi.HypercallVCPUOp:         vcpuOp,
	xenabi.HypercallXSMOp:          absent,
	xenabi.HypercallNMIOp:          nmiOp,
	xenabi.HypercallSchedOp:        schedOp,
	xenabi.HypercallEventChannelOp: eventChannelOp,
	xenabi.HypercallPhysdevOp:      absent, // there are no PIRQs
	xenabi.HypercallHVMOp:          hvmOp,
	xenabi.HypercallSysctl:         refused,
	xenabi.HypercallDomctl:         refused,
	xenabi.HypercallKexecOp:        absent,
	xenabi.HypercallTmemOp:         absent,
	xenabi.HypercallArgoOp:         absent,
	xenabi.HypercallXenPMUOp:       xenPMUOp,
	xenabi.HypercallDMOp:           absent,
	xenabi.HypercallHypFSOp:        absent,
	xenabi.HypercallArch1:          absent, // paging_domctl_cont
}

// refused is a hypercall for the control domain only.
func refused(*call) int64 { return errno(xenabi.EPERM) }

// absent is one that is known not to be there, so that it isn't logged: guests
// look for it.
func absent(*call) int64 { return errno(xenabi.ENOSYS) }

// xenPMUOp: no performance counters are offered, as Xen without vpmu=.
func xenPMUOp(*call) int64 { return errno(xenabi.EOPNOTSUPP) }
