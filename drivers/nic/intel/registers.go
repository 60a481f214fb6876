package intel

// Registers that all families have, by their offsets. Those of the rings are the first
// queue's (8254x manual, chapter 13; 82574, chapter 10; 82576 and I210, chapter 8, where some
// of them have a second place, and these are the aliases).
const (
	CTRL   = 0x0000
	STATUS = 0x0008
	EECD   = 0x0010
	EXT    = 0x0018 // CTRL_EXT
	ICR    = 0x00c0
	IMS    = 0x00d0
	IMC    = 0x00d8
	RCTL   = 0x0100
	TCTL   = 0x0400
	RDBAL  = 0x2800
	RDBAH  = 0x2804
	RDLEN  = 0x2808
	RDH    = 0x2810
	RDT    = 0x2818
	TDBAL  = 0x3800
	TDBAH  = 0x3804
	TDLEN  = 0x3808
	TDH    = 0x3810
	TDT    = 0x3818
	TXDCTL = 0x3828
	RXCSUM = 0x5000
	MTA    = 0x5200 // 128 words
	RAL0   = 0x5400
	RAH0   = 0x5404

	numMTA = 128
	// RegsSize is how much of the registers is used, of 128 KiB or more.
	RegsSize = 0x6000
)

// Bits of CTRL, STATUS, EECD.
const (
	ctrlFD       = 1 << 0
	ctrlNoMaster = 1 << 2 // PCI Express only
	ctrlLRST     = 1 << 3
	ctrlASDE     = 1 << 5
	CtrlSLU      = 1 << 6
	ctrlILOS     = 1 << 7
	ctrlForced   = 1<<11 | 1<<12 // speed, duplex
	CtrlRST      = 1 << 26
	ctrlVME      = 1 << 30
	ctrlPhyRST   = 1 << 31

	StatusLU     = 1 << 1
	statusMaster = 1 << 19 // PCI Express only: requests are under way

	EECDAutoRead = 1 << 9 // PCI Express: what the EEPROM holds was read
)

// Interrupt causes (ICR).
const (
	CauseTXDW  = 1 << 0
	CauseLSC   = 1 << 2
	CauseRXDMT = 1 << 4
	CauseRXO   = 1 << 6
	CauseRXT   = 1 << 7 // advanced descriptors: RXDW

	// CausesQueues are what a single message or the one line stands for, but for the link's.
	CausesQueues = CauseTXDW | CauseRXDMT | CauseRXO | CauseRXT
)

// RCTL.
const (
	RctlEN    = 1 << 1
	RctlUPE   = 1 << 3 // all frames to one
	RctlMPE   = 1 << 4 // all frames to several
	RctlBAM   = 1 << 15
	RctlSECRC = 1 << 26 // without the FCS
)

// TCTL.
const (
	TctlEN   = 1 << 1
	TctlPSP  = 1 << 3  // short frames are filled up
	TctlCT   = 15 << 4 // collisions until a frame is given up
	TctlCOLD = 0x40 << 12
	TctlRTLC = 1 << 24
)

// RXCSUM.
const (
	rxcsumIP  = 1 << 8
	rxcsumTCP = 1 << 9
)

// RAHValid in RAH0: there is an address.
const RAHValid = 1 << 31
