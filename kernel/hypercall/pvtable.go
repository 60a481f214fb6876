package hypercall

import (
	"nidus/kernel/domain"
	"nidus/kernel/xenabi"
)

// pv is what PV guests have. Numbers without a handler are ENOSYS, and logged once.
var pv = Table{
	xenabi.HypercallSetTrapTable:               setTrapTable,
	xenabi.HypercallMMUUpdate:                  mmuUpdate,
	xenabi.HypercallSetGDT:                     setGDT,
	xenabi.HypercallStackSwitch:                stackSwitch,
	xenabi.HypercallSetCallbacks:               setCallbacks,
	xenabi.HypercallFPUTaskswitch:              fpuTaskswitch,
	xenabi.HypercallSchedOpCompat:              schedOpCompat,
	xenabi.HypercallPlatformOp:                 refused,
	xenabi.HypercallSetDebugreg:                setDebugreg,
	xenabi.HypercallGetDebugreg:                getDebugreg,
	xenabi.HypercallUpdateDescriptor:           updateDescriptor,
	xenabi.HypercallMemoryOp:                   memoryOp,
	xenabi.HypercallMulticall:                  multicall,
	xenabi.HypercallUpdateVAMapping:            updateVAMapping,
	xenabi.HypercallSetTimerOp:                 setTimerOp,
	xenabi.HypercallEventChannelOpCompat:       eventChannelOpCompat,
	xenabi.HypercallXenVersion:                 xenVersion,
	xenabi.HypercallConsoleIO:                  consoleIO,
	xenabi.HypercallPhysdevOpCompat:            absent,
	xenabi.HypercallGrantTableOp:               grantTableOp,
	xenabi.HypercallVMAssist:                   pvAssist,
	xenabi.HypercallUpdateVAMappingOtherdomain: updateVAMappingOtherdomain,
	xenabi.HypercallIret:                       iret,
	xenabi.HypercallVCPUOp:                     vcpuOp,
	xenabi.HypercallSetSegmentBase:             setSegmentBase,
	xenabi.HypercallMMUExtOp:                   mmuExtOp,
	xenabi.HypercallXSMOp:                      absent,
	xenabi.HypercallNMIOp:                      pvNMIOp,
	xenabi.HypercallSchedOp:                    schedOp,
	xenabi.HypercallCallbackOp:                 callbackOp,
	xenabi.HypercallXenoprofOp:                 absent,
	xenabi.HypercallEventChannelOp:             eventChannelOp,
	xenabi.HypercallPhysdevOp:                  physdevOp,
	xenabi.HypercallHVMOp:                      absent,
	xenabi.HypercallSysctl:                     refused,
	xenabi.HypercallDomctl:                     refused,
	xenabi.HypercallKexecOp:                    absent,
	xenabi.HypercallTmemOp:                     absent,
	xenabi.HypercallArgoOp:                     absent,
	xenabi.HypercallXenPMUOp:                   xenPMUOp,
	xenabi.HypercallDMOp:                       absent,
	xenabi.HypercallHypFSOp:                    absent,
	xenabi.HypercallArch0:                      absent, // mca
	xenabi.HypercallArch1:                      absent, // paging_domctl_cont
}

// trapLen is the length of SYSCALL and of INT 0x82.
const trapLen = 2

// HandlePV does the hypercall of a PV guest's kernel. RIP is behind the instruction, and
// is put back to it if the Outcome is Repeat: there is nothing to skip.
func HandlePV(v *domain.VCPU) Outcome {
	o := pv.call(v, v.PV.Width)
	if o.Kind == Repeat {
		v.HV.Regs().RIP -= trapLen
	}
	return o
}
