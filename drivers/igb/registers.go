package igb

import "nidus/drivers/nic/intel"

// Registers besides those of package intel, by their offsets (82576 and I210, chapter 8).
// Those of queues are the first one's.
const (
	regMDIC     = 0x0020
	regPHPM     = 0x0e14 // 82580 and later
	regGPIE     = 0x1514 // 82576 and later, as all about MSI-X
	regEIMS     = 0x1524
	regEIMC     = 0x1528
	regEIAC     = 0x152c
	regEIAM     = 0x1530
	regEITR0    = 0x1680 // one for each of the messages
	regIVAR0    = 0x1700
	regIVARMisc = 0x1740
	regSRRCTL   = 0x280c
	regRXDCTL   = 0x2828
	regSWSM     = 0x5b50
	regSync     = 0x5b5c // SW_FW_SYNC
)

// GPIE.
const (
	gpieNSICR = 1 << 0 // reading ICR takes all causes away
	gpieMulti = 1 << 4 // more than one message
	gpieEIAME = 1 << 30
	gpiePBA   = 1 << 31
)

// IVAR0 and IVAR_MISC give causes their messages: a byte for the first queue of what comes in,
// one for the first of what is sent; in the other register the second is for all other causes.
const (
	ivarValid = 1 << 7
	ivar0     = ivarValid | intel.MessageQueues | (ivarValid|intel.MessageQueues)<<8
	ivarMisc  = (ivarValid | intel.MessageOther) << 8
)

// Bits of EICR, EIMS and the like.
const (
	bitQueues = 1 << intel.MessageQueues
	bitOther  = 1 << intel.MessageOther
)

// itr is the least time between two interrupts, 50 us: in bits 2 to 14, units of 1 us; of the
// 82575 in bits 0 to 15, units of 256 ns.
const itr = 50 << 2

// SRRCTL: KiB of a buffer, and advanced descriptors with one buffer.
const srrctl = 4 | 1<<25

// RXDCTL and TXDCTL: descriptors are fetched if there are fewer than 8 and the host has
// another one, and written back one by one.
const (
	dctlEnable = 1 << 25
	rxdctl     = dctlEnable | 8 | 1<<8 | 1<<16
	txdctl     = dctlEnable | 8 | 1<<8
)

// PHPM.
const phpmNoLink = 1 << 5 // Go Link Disconnect
