package xenabi

// Commands of sched_op (sched.h).
const (
	SchedOpYield          = 0
	SchedOpBlock          = 1
	SchedOpShutdown       = 2
	SchedOpPoll           = 3
	SchedOpRemoteShutdown = 4
	SchedOpShutdownCode   = 5
	SchedOpWatchdog       = 6
	SchedOpPinOverride    = 7
)

// Reasons for SCHEDOP_shutdown (sched.h).
const (
	ShutdownPoweroff  = 0
	ShutdownReboot    = 1
	ShutdownSuspend   = 2
	ShutdownCrash     = 3
	ShutdownWatchdog  = 4
	ShutdownSoftReset = 5
	ShutdownMax       = 5
)

// Commands of vcpu_op (vcpu.h).
const (
	VCPUOpInitialise                 = 0
	VCPUOpUp                         = 1
	VCPUOpDown                       = 2
	VCPUOpIsUp                       = 3
	VCPUOpGetRunstateInfo            = 4
	VCPUOpRegisterRunstateMemoryArea = 5
	VCPUOpSetPeriodicTimer           = 6
	VCPUOpStopPeriodicTimer          = 7
	VCPUOpSetSingleshotTimer         = 8
	VCPUOpStopSingleshotTimer        = 9
	VCPUOpRegisterVCPUInfo           = 10
	VCPUOpSendNMI                    = 11
	VCPUOpGetPhysID                  = 12
	VCPUOpRegisterVCPUTimeMemoryArea = 13
)

// States of a vcpu in vcpu_runstate_info (vcpu.h).
const (
	RunstateRunning  = 0
	RunstateRunnable = 1
	RunstateBlocked  = 2
	RunstateOffline  = 3
)

// Flags of vcpu.h and of vcpu_time_info (xen.h).
const (
	RunstateUpdate            = 1 << 63 // XEN_RUNSTATE_UPDATE
	VCPUSingleshotTimerFuture = 1 << 0  // VCPU_SSHOTTMR_future
	PVClockTSCStable          = 1 << 0  // XEN_PVCLOCK_TSC_STABLE_BIT
	PVClockGuestStopped       = 1 << 1  // XEN_PVCLOCK_GUEST_STOPPED
)

// Commands of memory_op (memory.h).
const (
	XenMemIncreaseReservation              = 0
	XenMemDecreaseReservation              = 1
	XenMemPopulatePhysmap                  = 6
	XenMemExchange                         = 11
	XenMemMaximumRamPage                   = 2
	XenMemCurrentReservation               = 3
	XenMemMaximumReservation               = 4
	XenMemMaximumGPFN                      = 14
	XenMemMachphysMFNList                  = 5
	XenMemMachphysCompatMFNList            = 25
	XenMemMachphysMapping                  = 12
	XenMemAddToPhysmap                     = 7
	XenMemAddToPhysmapBatch                = 23
	XenMemRemoveFromPhysmap                = 15
	XenMemMemoryMap                        = 9
	XenMemMachineMemoryMap                 = 10
	XenMemSetMemoryMap                     = 13
	XenMemSetPoDTarget                     = 16
	XenMemGetPoDTarget                     = 17
	XenMemGetSharingFreedPages             = 18
	XenMemGetSharingSharedPages            = 19
	XenMemPagingOp                         = 20
	XenMemPagingOpNominate                 = 0
	XenMemPagingOpEvict                    = 1
	XenMemPagingOpPrep                     = 2
	XenMemAccessOp                         = 21
	XenMemAccessOpSetAccess                = 0
	XenMemAccessOpGetAccess                = 1
	XenMemAccessOpSetAccessMulti           = 4
	XenMemSharingOp                        = 22
	XenMemSharingOpNominateGfn             = 0
	XenMemSharingOpNominateGref            = 1
	XenMemSharingOpShare                   = 2
	XenMemSharingOpDebugGfn                = 3
	XenMemSharingOpDebugMFN                = 4
	XenMemSharingOpDebugGref               = 5
	XenMemSharingOpAddPhysmap              = 6
	XenMemSharingOpAudit                   = 7
	XenMemSharingOpRangeShare              = 8
	XenMemSharingOpFork                    = 9
	XenMemSharingOpForkReset               = 10
	XenMemClaimPages                       = 24
	XenMemReservedDeviceMemoryMap          = 27
	XenMemAcquireResource                  = 28
	XenMemResourceIOReqServer              = 0
	XenMemResourceGrantTable               = 1
	XenMemResourceVmtraceBuf               = 2
	XenMemResourceGrantTableIDShared       = 0
	XenMemResourceGrantTableIDStatus       = 1
	XenMemResourceIOReqServerFrameBufIOReq = 0
	XenMemGetVNUMAInfo                     = 26
)

// Spaces of XENMEM_add_to_physmap (memory.h).
const (
	MapSpaceSharedInfo  = 0
	MapSpaceGrantTable  = 1
	MapSpaceGMFN        = 2
	MapSpaceGMFNRange   = 3
	MapSpaceGMFNForeign = 4
	MapSpaceDevMMIO     = 5
)

// MapIdxGrantTableStatus in an index of MapSpaceGrantTable selects the status
// frames (memory.h, XENMAPIDX_grant_table_status).
const MapIdxGrantTableStatus = 0x80000000

// Commands of xen_version (version.h).
const (
	XenVerVersion            = 0
	XenVerExtraversion       = 1
	XenVerCompileInfo        = 2
	XenVerCapabilities       = 3
	XenVerChangeset          = 4
	XenVerPlatformParameters = 5
	XenVerGetFeatures        = 6
	XenVerPagesize           = 7
	XenVerGuestHandle        = 8
	XenVerCommandline        = 9
	XenVerBuildID            = 10
)

// Bit numbers of XENVER_get_features (features.h).
const (
	XenFeatWritablePageTables       = 0
	XenFeatWritableDescriptorTables = 1
	XenFeatAutoTranslatedPhysmap    = 2
	XenFeatSupervisorModeKernel     = 3
	XenFeatPAEPgDirAbove4GB         = 4
	XenFeatMMUPTUpdatePreserveAD    = 5
	XenFeatHighmemAssist            = 6
	XenFeatGnttabMapAvailBits       = 7
	XenFeatHVMCallbackVector        = 8
	XenFeatHVMSafePvclock           = 9
	XenFeatHVMPirqs                 = 10
	XenFeatDom0                     = 11
	XenFeatMemoryOpVnodeSupported   = 13
	XenFeatARMSMCCCSupported        = 14
	XenFeatLinuxRSDPUnrestricted    = 15
	XenFeatNotDirectMapped          = 16
	XenFeatDirectMapped             = 17
	XenFeatNrSubmaps                = 1
)

// Commands of hvm_op (hvm/hvm_op.h).
const (
	HVMOpSetParam                 = 0
	HVMOpGetParam                 = 1
	HVMOpFlushTLBs                = 5
	HVMOpPagetableDying           = 9
	HVMOpGetTime                  = 10
	HVMOpXentrace                 = 11
	HVMOpSetMemAccess             = 12
	HVMOpGetMemAccess             = 13
	HVMOpGetMemType               = 15
	HVMOpSetEvtchnUpcallVector    = 23
	HVMOpGuestRequestVMEvent      = 24
	HVMOpAltP2M                   = 25
	HVMOpAltP2MInterfaceVersion   = 0x00000001
	HVMOpAltP2MGetDomainState     = 1
	HVMOpAltP2MSetDomainState     = 2
	HVMOpAltP2MVCPUEnableNotify   = 3
	HVMOpAltP2MCreateP2m          = 4
	HVMOpAltP2MDestroyP2m         = 5
	HVMOpAltP2MSwitchP2m          = 6
	HVMOpAltP2MSetMemAccess       = 7
	HVMOpAltP2MChangeGfn          = 8
	HVMOpAltP2MSetMemAccessMulti  = 9
	HVMOpAltP2MSetSuppressVE      = 10
	HVMOpAltP2MGetSuppressVE      = 11
	HVMOpAltP2MGetMemAccess       = 12
	HVMOpAltP2MVCPUDisableNotify  = 13
	HVMOpAltP2MGetP2mIdx          = 14
	HVMOpAltP2MSetSuppressVEMulti = 15
	HVMOpAltP2MSetVisibility      = 16
)

// Indexes of HVMOP_set_param and _get_param, and the types of HVMParamCallbackIRQ in its bits 63:56 (hvm/params.h).
const (
	HVMParamPAEEnabled            = 4
	HVMParamDMDomain              = 13
	HVMParamMemoryEventCr0        = 20
	HVMParamMemoryEventCR3        = 21
	HVMParamMemoryEventCr4        = 22
	HVMParamMemoryEventInt3       = 23
	HVMParamNestedhvm             = 24
	HVMParamMemoryEventSingleStep = 25
	HVMParamBufIOReqEvtchn        = 26
	HVMParamMemoryEventMsr        = 30
	HVMParamCallbackIRQ           = 0
	HVMParamCallbackTypeGsi       = 0
	HVMParamCallbackTypePCIINTx   = 1
	HVMParamCallbackTypeVector    = 2
	HVMParamStorePFN              = 1
	HVMParamStoreEvtchn           = 2
	HVMParamIOReqPFN              = 5
	HVMParamBufIOReqPFN           = 6
	HVMParamViridian              = 9
	HVMParamTimerMode             = 10
	HVMParamHPETEnabled           = 11
	HVMParamIdentPT               = 12
	HVMParamACPISState            = 14
	HVMParamVM86TSS               = 15
	HVMParamVPTAlign              = 16
	HVMParamConsolePFN            = 17
	HVMParamConsoleEvtchn         = 18
	HVMParamACPIIOPortsLocation   = 19
	HVMParamPagingRingPFN         = 27
	HVMParamMonitorRingPFN        = 28
	HVMParamSharingRingPFN        = 29
	HVMParamTripleFaultReason     = 31
	HVMParamIOReqServerPFN        = 32
	HVMParamNrIOReqServerPages    = 33
	HVMParamVMGenerationIDAddr    = 34
	HVMParamAltP2M                = 35
	HVMParamX87FIPWidth           = 36
	HVMParamVM86TSSSized          = 37
	HVMParamMCACap                = 38
)

// HVMNrParams is one more than the highest index (hvm/params.h).
const (
	HVMNrParams = 39
)

// Commands of callback_op (callback.h).
const (
	CallbackTypeEvent              = 0
	CallbackTypeFailsafe           = 1
	CallbackTypeSyscall            = 2
	CallbackTypeSysenterDeprecated = 3
	CallbackTypeNMI                = 4
	CallbackTypeSysenter           = 5
	CallbackTypeSyscall32          = 7
	CallbackOpRegister             = 0
	CallbackOpUnregister           = 1
)

// Commands of physdev_op (physdev.h).
const (
	PhysdevOpEOI              = 12
	PhysdevOpPIRQEOIGMFNV1    = 17
	PhysdevOpPIRQEOIGMFNV2    = 28
	PhysdevOpIRQStatusQuery   = 5
	PhysdevOpSetIOPL          = 6
	PhysdevOpSetIobitmap      = 7
	PhysdevOpApicRead         = 8
	PhysdevOpApicWrite        = 9
	PhysdevOpAllocIRQVector   = 10
	PhysdevOpFreeIRQVector    = 11
	PhysdevOpMapPIRQ          = 13
	PhysdevOpUnmapPIRQ        = 14
	PhysdevOpManagePCIAdd     = 15
	PhysdevOpManagePCIRemove  = 16
	PhysdevOpRestoreMsi       = 19
	PhysdevOpManagePCIAddExt  = 20
	PhysdevOpSetupGsi         = 21
	PhysdevOpGetFreePIRQ      = 23
	PhysdevOpPCIMmcfgReserved = 24
	PhysdevOpPCIDeviceAdd     = 25
	PhysdevOpPCIDeviceRemove  = 26
	PhysdevOpRestoreMsiExt    = 27
	PhysdevOpPrepareMsix      = 30
	PhysdevOpReleaseMsix      = 31
	PhysdevOpDbgpOp           = 29
)

// Modes of vcpu_hvm_context (hvm/hvm_vcpu.h).
const (
	VCPUHVMMode32b = 0
	VCPUHVMMode64b = 1
)
