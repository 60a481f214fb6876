package nvme

import (
	"errors"
	"fmt"

	"nidus/drivers/block"
)

// Registers (section 3.1).
const (
	regCap    = 0x00 // 64 bits
	regVS     = 0x08
	regCC     = 0x14
	regCSTS   = 0x1c
	regAQA    = 0x24
	regASQ    = 0x28 // 64 bits
	regACQ    = 0x30 // 64 bits
	doorbells = 0x1000
)

// Fields of the registers.
const (
	capTimeout  = 24 // bits 24 to 31: units of 500 ms
	capStride   = 32 // bits 32 to 35
	capSets     = 37 // bits 37 to 44: command sets; bit 0 is that of NVM
	capLeast    = 48 // bits 48 to 51: the smallest page, 4096 << n
	ccEnable    = 1
	ccQueues    = 6<<16 | 4<<20 // entries of 64 and 16 bytes; pages of 4096, the NVM command set
	ccShutdown  = 1 << 14       // normal
	ccShutMask  = 3 << 14
	cstsReady   = 1
	cstsFatal   = 2
	cstsShut    = 3 << 2
	cstsDone    = 2 << 2
	version11   = 0x10100
	dead        = 0xffffffff // what a device that is gone reads as, on real buses
	stepTimeout = 500        // ms
)

// Commands (sections 5 and 6).
const (
	adminCreateSQ    = 0x01
	adminCreateCQ    = 0x05
	adminIdentify    = 0x06
	adminAbort       = 0x08
	adminSetFeatures = 0x09

	cmdFlush   = 0x00
	cmdWrite   = 0x01
	cmdRead    = 0x02
	cmdDataset = 0x09 // Dataset Management

	cmdUseSGL    = 1 << 14 // of the first word: DPTR is an SGL descriptor
	cmdFUA       = 1 << 30 // of word 12
	datasetTrim  = 1 << 2  // of word 11: the ranges are not needed
	featQueues   = 0x07
	queueInPiece = 1 // physically contiguous
	queueTells   = 2 // interrupts are enabled

	identifyNamespace  = 0
	identifyController = 1
	identifyList       = 2
)

// SGL descriptors (section 4.4): the type is the upper half of the last byte.
const (
	sglData = 0x00 << 56
	sglLast = 0x30 << 56
)

// Sizes, in bytes.
const (
	commandSize    = 64
	completionSize = 16
	prpSize        = 8
	sglSize        = 16
)

// phase is bit 16 of a completion's last word; above it is the status.
const phase = 1 << 16

// Status is what a command came to, if not well: the status code's type and the code
// (section 4.6.1).
type Status struct {
	Type, Code uint8
}

func (s Status) Error() string {
	what := map[Status]string{
		{2, 0x80}: "a write fault", {2, 0x81}: "an unrecovered read error", {2, 0x82}: "a guard check error",
		{2, 0x83}: "an application tag check error", {2, 0x84}: "a reference tag check error",
		{2, 0x85}: "a compare failure", {2, 0x86}: "access denied", {2, 0x87}: "a block that was never written",
		{0, 0x04}: "a data transfer error", {0, 0x06}: "an internal error", {0, 0x82}: "a namespace that is not ready",
	}[s]
	if what == "" {
		what = "a failure"
	}
	return fmt.Sprintf("NVMe: the device reports %s (status type %d, code %#x)", what, s.Type, s.Code)
}

// Errors of commands that are neither the medium's nor the caller's.
var (
	// ErrTimeout says that a command did not end in time and was given up.
	ErrTimeout = errors.New("NVMe: the device did not finish in time")
	// ErrUnusable says that a controller or a namespace lacks what this driver needs.
	ErrUnusable = errors.New("NVMe device that can't be used")
)

// statusOf makes an error of a completion's last word.
func statusOf(word uint32) error {
	s := Status{Code: uint8(word >> 17), Type: uint8(word >> 25 & 7)}
	switch s {
	case Status{}:
		return nil
	case Status{0, 0x01}: // Invalid Command Opcode
		return block.ErrUnsupported
	case Status{0, 0x07}, Status{0, 0x08}: // aborted: as asked, or with its queue
		return ErrTimeout
	case Status{0, 0x0b}: // Invalid Namespace or Format
		return block.ErrGone
	case Status{0, 0x20}: // Namespace is Write Protected
		return block.ErrReadOnly
	case Status{0, 0x80}: // LBA Out of Range
		return block.ErrRange
	case Status{0, 0x81}: // Capacity Exceeded
		return block.ErrNoSpace
	}
	return s
}
