package e1000

import "nidus/drivers/nic/intel"

// Registers besides those of package intel, by their offsets (8254x manual, chapter 13; 82574,
// chapter 10).
const (
	regITR   = 0x00c4
	regEIAC  = 0x00dc // 82574
	regIAM   = 0x00e0 // 82574
	regIVAR  = 0x00e4 // 82574
	regEITR0 = 0x00e8 // 82574: one for each of the messages
	regTIPG  = 0x0410
	regRDTR  = 0x2820
	regRADV  = 0x282c
	regTIDV  = 0x3820

	numEITR = 2 // that are used
)

// Bits of CTRL_EXT.
const (
	extIAME = 1 << 27 // 82574
	extPBA  = 1 << 31
)

// Interrupt causes (82574: those of its queues).
const (
	causeRXQ0  = 1 << 20
	causeTXQ0  = 1 << 22
	causeOther = 1 << 24
)

// IVAR gives causes their messages (82574).
const (
	ivarValid = 1 << 3
	ivarAllWB = 1 << 31 // each write-back of a sent frame's descriptor is a cause
	ivar      = ivarAllWB | (ivarValid|intel.MessageOther)<<16 | (ivarValid|intel.MessageQueues)<<8 | (ivarValid | intel.MessageQueues)
)

// rctl4096 is bytes of a buffer in RCTL: BSIZE, BSEX.
const rctl4096 = 3<<16 | 1<<25

// TIPG (10, 8 and 6 are for copper), TXDCTL.
const (
	tipg       = 10 | 8<<10 | 6<<20
	txdctlWT   = 1 << 16 // each descriptor is written back at once
	txdctlGRAN = 1 << 24 // the thresholds count descriptors
	txdctlMust = 1 << 22 // PCI Express: has to be 1
)

// itr is the least time between two interrupts, in units of 256 ns: 50 us (ITR).
const itr = 195
