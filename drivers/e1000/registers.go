package e1000

// Registers, by their offsets (8254x manual, chapter 13; 82574, chapter 10).
const (
	regCTRL   = 0x0000
	regSTATUS = 0x0008
	regEECD   = 0x0010
	regEXT    = 0x0018 // CTRL_EXT
	regICR    = 0x00c0
	regITR    = 0x00c4
	regIMS    = 0x00d0
	regIMC    = 0x00d8
	regEIAC   = 0x00dc // 82574
	regIAM    = 0x00e0 // 82574
	regIVAR   = 0x00e4 // 82574
	regEITR0  = 0x00e8 // 82574: one for each of the messages
	regRCTL   = 0x0100
	regTCTL   = 0x0400
	regTIPG   = 0x0410
	regRDBAL  = 0x2800
	regRDBAH  = 0x2804
	regRDLEN  = 0x2808
	regRDH    = 0x2810
	regRDT    = 0x2818
	regRDTR   = 0x2820
	regRADV   = 0x282c
	regTDBAL  = 0x3800
	regTDBAH  = 0x3804
	regTDLEN  = 0x3808
	regTDH    = 0x3810
	regTDT    = 0x3818
	regTIDV   = 0x3820
	regTXDCTL = 0x3828
	regRXCSUM = 0x5000
	regMTA    = 0x5200 // 128 words
	regRAL0   = 0x5400
	regRAH0   = 0x5404

	numMTA   = 128
	regsSize = 0x6000 // that are used, of 128 KiB
)

// Bits of CTRL, STATUS, EECD, CTRL_EXT.
const (
	ctrlFD       = 1 << 0
	ctrlNoMaster = 1 << 2 // PCI Express only
	ctrlLRST     = 1 << 3
	ctrlASDE     = 1 << 5
	ctrlSLU      = 1 << 6
	ctrlILOS     = 1 << 7
	ctrlForced   = 1<<11 | 1<<12 // speed, duplex
	ctrlRST      = 1 << 26
	ctrlVME      = 1 << 30
	ctrlPhyRST   = 1 << 31

	statusLU     = 1 << 1
	statusMaster = 1 << 19 // PCI Express only: requests are under way

	eecdAutoRead = 1 << 9 // 82574: what the EEPROM holds was read

	extIAME = 1 << 27 // 82574
	extPBA  = 1 << 31
)

// Interrupt causes (ICR, 13.4.17; 82574: the same and those of its queues).
const (
	causeTXDW  = 1 << 0
	causeLSC   = 1 << 2
	causeRXDMT = 1 << 4
	causeRXO   = 1 << 6
	causeRXT   = 1 << 7
	causeRXQ0  = 1 << 20
	causeTXQ0  = 1 << 22
	causeOther = 1 << 24

	// What a message or the one line stands for.
	causesQueues = causeTXDW | causeRXDMT | causeRXO | causeRXT
)

// IVAR gives causes their messages (82574).
const (
	messageQueues = 0
	messageOther  = 1
	numMessages   = 2

	ivarValid = 1 << 3
	ivarAllWB = 1 << 31 // each write-back of a sent frame's descriptor is a cause
	ivar      = ivarAllWB | (ivarValid|messageOther)<<16 | (ivarValid|messageQueues)<<8 | (ivarValid | messageQueues)
)

// RCTL.
const (
	rctlEN    = 1 << 1
	rctlUPE   = 1 << 3 // all frames to one
	rctlMPE   = 1 << 4 // all frames to several
	rctlBAM   = 1 << 15
	rctl4096  = 3<<16 | 1<<25 // bytes of a buffer: BSIZE, BSEX
	rctlSECRC = 1 << 26       // without the FCS
)

// TCTL, TIPG (10, 8 and 6 are for copper), TXDCTL.
const (
	tctlEN   = 1 << 1
	tctlPSP  = 1 << 3  // short frames are filled up
	tctlCT   = 15 << 4 // collisions until a frame is given up
	tctlCOLD = 0x40 << 12
	tctlRTLC = 1 << 24

	tipg       = 10 | 8<<10 | 6<<20
	txdctlWT   = 1 << 16 // each descriptor is written back at once
	txdctlGRAN = 1 << 24 // the thresholds count descriptors
	txdctlMust = 1 << 22 // PCI Express: has to be 1
)

// RXCSUM.
const (
	rxcsumIP  = 1 << 8
	rxcsumTCP = 1 << 9
)

const rahValid = 1 << 31

// itr is the least time between two interrupts, in units of 256 ns: 50 us (ITR).
const itr = 195
