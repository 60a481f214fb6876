package xenabi

// Commands of event_channel_op (event_channel.h).
const (
	EvtchnOpBindInterdomain = 0
	EvtchnOpBindVIRQ        = 1
	EvtchnOpBindPIRQ        = 2
	EvtchnOpClose           = 3
	EvtchnOpSend            = 4
	EvtchnOpStatus          = 5
	EvtchnOpAllocUnbound    = 6
	EvtchnOpBindIPI         = 7
	EvtchnOpBindVCPU        = 8
	EvtchnOpUnmask          = 9
	EvtchnOpReset           = 10
	EvtchnOpInitControl     = 11
	EvtchnOpExpandArray     = 12
	EvtchnOpSetPriority     = 13
)

// Results of EVTCHNOP_status (event_channel.h).
const (
	EvtchnStatClosed      = 0
	EvtchnStatUnbound     = 1
	EvtchnStatInterdomain = 2
	EvtchnStatPIRQ        = 3
	EvtchnStatVIRQ        = 4
	EvtchnStatIPI         = 5
)

// FIFO priorities (0 is the highest), bit numbers of an event word, and the width of its link field (event_channel.h).
const (
	EvtchnFIFOPriorityMax     = 0
	EvtchnFIFOPriorityDefault = 7
	EvtchnFIFOPriorityMin     = 15
	EvtchnFIFOPending         = 31
	EvtchnFIFOMasked          = 30
	EvtchnFIFOLinked          = 29
	EvtchnFIFOBusy            = 28
	EvtchnFIFOLinkBits        = 17
)

// Limits of the two event channel ABIs (event_channel.h).
const (
	EvtchnFIFOMaxQueues  = EvtchnFIFOPriorityMin + 1
	EvtchnFIFONrChannels = 1 << EvtchnFIFOLinkBits
	EvtchnFIFOLinkMask   = EvtchnFIFONrChannels - 1
	Evtchn2LNrChannels64 = 8 * 8 * 64
	Evtchn2LNrChannels32 = 4 * 4 * 64
)

// Commands of grant_table_op (grant_table.h).
const (
	GnttabOpMapGrantRef     = 0
	GnttabOpUnmapGrantRef   = 1
	GnttabOpSetupTable      = 2
	GnttabOpDumpTable       = 3
	GnttabOpTransfer        = 4
	GnttabOpCopy            = 5
	GnttabOpQuerySize       = 6
	GnttabOpUnmapAndReplace = 7
	GnttabOpSetVersion      = 8
	GnttabOpGetStatusFrames = 9
	GnttabOpGetVersion      = 10
	GnttabOpSwapGrantRef    = 11
	GnttabOpCacheFlush      = 12
)

// Reserved grant references (grant_table.h).
const (
	GnttabNrReservedEntries = 8
	GnttabReservedConsole   = 0
	GnttabReservedXenstore  = 1
)

// GnttabStatus is the status field of a grant operation (grant_table.h,
// enum grant_status).
type GnttabStatus int16

// Status of a grant operation (grant_table.h, GNTST_*).
const (
	GNTSTOkay             GnttabStatus = 0
	GNTSTGeneralError     GnttabStatus = -1
	GNTSTBadDomain        GnttabStatus = -2
	GNTSTBadGntref        GnttabStatus = -3
	GNTSTBadHandle        GnttabStatus = -4
	GNTSTBadVirtAddr      GnttabStatus = -5
	GNTSTBadDevAddr       GnttabStatus = -6
	GNTSTNoDeviceSpace    GnttabStatus = -7
	GNTSTPermissionDenied GnttabStatus = -8
	GNTSTBadPage          GnttabStatus = -9
	GNTSTBadCopyArg       GnttabStatus = -10
	GNTSTAddressTooBig    GnttabStatus = -11
	GNTSTEagain           GnttabStatus = -12
	GNTSTNoSpace          GnttabStatus = -13
)

// Flags of a grant entry (grant_table.h, GTF_*).
const (
	GTFInvalid        = 0
	GTFPermitAccess   = 1
	GTFAcceptTransfer = 2
	GTFTransitive     = 3
	GTFTypeMask       = 3

	GTFReadonly = 1 << 2
	GTFReading  = 1 << 3
	GTFWriting  = 1 << 4
	GTFPWT      = 1 << 5
	GTFPCD      = 1 << 6
	GTFPAT      = 1 << 7
	GTFSubPage  = 1 << 8

	GTFTransferCommitted = 1 << 2
	GTFTransferCompleted = 1 << 3
)

// Flags of GNTTABOP_map_grant_ref, _copy and _cache_flush (grant_table.h).
const (
	GntMapDeviceMap      = 1 << 0
	GntMapHostMap        = 1 << 1
	GntMapReadonly       = 1 << 2
	GntMapApplicationMap = 1 << 3
	GntMapContainsPTE    = 1 << 4

	GntCopySourceGref = 1 << 0
	GntCopyDestGref   = 1 << 1

	GntCacheClean      = 1 << 0
	GntCacheInval      = 1 << 1
	GntCacheSourceGref = 1 << 31
)
