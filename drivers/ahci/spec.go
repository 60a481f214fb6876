package ahci

import (
	"errors"
	"fmt"
)

// Registers of the controller (AHCI 1.3.1, section 3.1).
const (
	regCap     = 0x00
	regGHC     = 0x04
	regIS      = 0x08
	regPI      = 0x0c
	regCap2    = 0x24
	regHandoff = 0x28
	portBase   = 0x100
	portSize   = 0x80

	capSlots   = 8 // bits 8 to 12: one less than there are
	capStagger = 1 << 27
	capNCQ     = 1 << 30
	cap64      = 1 << 31

	ghcReset      = 1 << 0
	ghcInterrupts = 1 << 1
	ghcAHCI       = 1 << 31

	cap2Handoff = 1 << 0
	handoffBIOS = 1 << 0
	handoffOS   = 1 << 1
)

// Registers of a port (section 3.3).
const (
	pxCLB  = 0x00 // 64 bits: the list of commands
	pxFB   = 0x08 // 64 bits: what the disk says
	pxIS   = 0x10
	pxIE   = 0x14
	pxCMD  = 0x18
	pxTFD  = 0x20
	pxSIG  = 0x24
	pxSSTS = 0x28
	pxSCTL = 0x2c
	pxSERR = 0x30
	pxSACT = 0x34
	pxCI   = 0x38

	cmdStart     = 1 << 0
	cmdSpinUp    = 1 << 1
	cmdReceive   = 1 << 4
	cmdReceives  = 1 << 14
	cmdRuns      = 1 << 15
	cmdInterface = 0xf << 28 // the state that the interface is to go to
	cmdActive    = 1 << 28

	isDone    = 1<<0 | 1<<1 | 1<<2 | 1<<3 // four kinds of FIS
	isConnect = 1 << 6                    // something was connected
	isLink    = isConnect | 1<<22         // or the state of the line changed
	isTask    = 1 << 30                   // the disk reports an error
	isFatal   = 1<<27 | 1<<28 | 1<<29 | 1<<24
	isAll     = isDone | isLink | isTask | isFatal

	sstsDET     = 0xf
	detUp       = 3
	sctlReset   = 1
	sctlNoSleep = 3 << 8 // no partial, no slumber

	serrReady = 1 << 16 // the state of the line changed

	tfdError = 1 << 0
	tfdDRQ   = 1 << 3
	tfdFault = 1 << 5
	tfdBusy  = 1 << 7

	sigDisk       = 0x00000101
	sigPacket     = 0xeb140101
	sigMultiplier = 0x96690101
	sigEnclosure  = 0xc33c0101

	dead = 0xffffffff // what a controller that is gone reads as
)

// Memory (section 4.2). All of a port but the tables fits into a frame.
const (
	headerSize  = 32
	atReceived  = 1024 // behind 32 headers
	maxSlots    = 32
	atPRDT      = 0x80 // of a table
	prdSize     = 16
	headerWrite = 1 << 6
	headerATAPI = 1 << 5
	headerPRDs  = 16
	fisWords    = 5
	// atBuffer is where in a table's frame, behind the most PRDs, there is room for what
	// a command without segments moves.
	atBuffer   = 0xe00
	bufferSize = 512
)

// Commands (ACS-3, section 7).
const (
	ataRead          = 0x25 // READ DMA EXT
	ataWrite         = 0x35 // WRITE DMA EXT
	ataWriteFUA      = 0x3d // WRITE DMA FUA EXT
	ataReadQueued    = 0x60 // READ FPDMA QUEUED
	ataWriteQueued   = 0x61 // WRITE FPDMA QUEUED
	ataDataSet       = 0x06 // DATA SET MANAGEMENT
	ataReadLog       = 0x2f // READ LOG EXT
	ataFlush         = 0xea // FLUSH CACHE EXT
	ataIdentify      = 0xec
	dataSetTrim      = 1
	logQueuedError   = 0x10
	deviceLBA        = 1 << 6
	deviceFUA        = 1 << 7 // of queued commands
	fisRegisterToDev = 0x27
	fisCommand       = 1 << 7 // of the second byte: the command register is meant
)

// Bits of the error register (ACS-3, section 6.3).
const (
	errAbort     = 1 << 2
	errNotFound  = 1 << 4
	errMedium    = 1 << 6
	errInterface = 1 << 7 // a checksum on the line
)

// Status is the status and the error register of a disk, of a command that failed.
type Status struct {
	Status, Register uint8
}

func (s Status) Error() string {
	what := "a failure"
	switch {
	case s.Register&errMedium != 0:
		what = "an uncorrectable error of the medium"
	case s.Register&errInterface != 0:
		what = "a checksum that is wrong on the line"
	case s.Register&errNotFound != 0:
		what = "a sector that it does not find"
	case s.Status&tfdFault != 0:
		what = "a fault"
	case s.Register&errAbort != 0:
		what = "that it does not do the command"
	}
	return fmt.Sprintf("AHCI: the disk reports %s (status %#x, error %#x)", what, s.Status, s.Register)
}

// Errors of commands that are neither the medium's nor the caller's.
var (
	// ErrTimeout says that a command did not end in time, or not well after several tries.
	ErrTimeout = errors.New("AHCI: the disk did not finish in time")
	// ErrUnusable says that a controller or a disk lacks what this driver needs.
	ErrUnusable = errors.New("AHCI device that can't be used")
)
