// Package block is what disks are to those who use them: guests' backends above, host
// drivers and images below.
//
// A request names its memory by frames, so that a device that can do DMA moves data to
// and from a guest's page without a copy; software devices reach the same bytes through
// mm.DirectMap. Nothing in a request is a guest's to change once it was submitted.
package block

import (
	"errors"
	"strings"

	"nidus/mm"
)

// SectorShift is the unit of Request.Sector and Info.Sectors: 512 bytes, whatever a
// device's own sectors are, as in blkif.h.
const SectorShift = 9

// Op is what a request does.
type Op uint8

// The operations. Flush and Discard have no segments.
const (
	Read  Op = iota
	Write    // to the device, maybe to its volatile cache
	// WriteFUA is a Write that is on the medium when it is done.
	WriteFUA
	// Flush is done when all writes that were done before it was submitted are on the medium.
	Flush
	// Discard says that Request.Sectors sectors aren't needed; they read as anything then.
	Discard
)

// Errors that a Done gets. Anything else is a failure of the device or its medium.
var (
	ErrRange       = errors.New("block: beyond the device's end, or not whole sectors")
	ErrReadOnly    = errors.New("block: the device is read-only")
	ErrUnsupported = errors.New("block: the device does not know this operation")
	ErrNoSpace     = errors.New("block: nothing is left to store it in")
	ErrGone        = errors.New("block: the device is gone")
)

// Info is what a device is. It does not change, but for the Sectors of a Grower.
type Info struct {
	Sectors      uint64 // of 512 bytes
	SectorSize   uint32 // logical, in bytes: a power of two from 512 to 4096; requests are multiples
	PhysicalSize uint32 // what the medium writes at once, in bytes
	ReadOnly     bool
	Removable    bool // a CD or a stick
	Prompt       bool // Submit at most copies memory, or waits for room in the device's queue
	CanFlush     bool // false: writes are on the medium when they are done, as WriteFUA's
	CanDiscard   bool
	DiscardUnit  uint32 // in bytes, if CanDiscard
	MaxSegments  int    // of one request
	MaxBytes     int    // of one request
	Name         string // for people: model, path
}

// Segment is a piece of one frame. Off and Len are multiples of 512 bytes, and
// Off+Len is at most mm.PageSize.
type Segment struct {
	Frame    mm.MFN
	Off, Len uint16
}

// Request is one operation. Who submits it owns it again when Done is called.
type Request struct {
	Op       Op
	Sector   uint64 // first, of 512 bytes
	Sectors  uint64 // Discard's length; otherwise the segments say it
	Segments []Segment
	// Done is called once, with nil or why it failed, by any goroutine and maybe before
	// Submit returns. It must not block and may not submit.
	Done func(r *Request, err error)
}

// Device is one that is open. Submit may be called by several goroutines at once;
// requests in flight are done in any order.
type Device interface {
	Info() Info
	// Submit starts r, or calls its Done with an error. It may wait for room in the
	// device's queue.
	Submit(r *Request)
	// Close waits for what is in flight; later requests get ErrGone.
	Close() error
}

// Grower is a Device that may be able to become longer, such as a file in a file system.
type Grower interface {
	Device
	// Grow makes the device at least so many sectors longer, of zeros, and more if that is
	// better for it; its Info says so then. Requests may be under way. The error wraps
	// ErrNoSpace if there is nothing to be had, and says why, or is the medium's.
	Grow(sectors uint64) error
}

// Check is what every device does first: it returns ErrRange, ErrReadOnly or
// ErrUnsupported for a request that i forbids, and the bytes of its segments.
func (i *Info) Check(r *Request) (bytes uint64, err error) {
	for _, s := range r.Segments {
		if s.Len == 0 || uint32(s.Off)+uint32(s.Len) > mm.PageSize || (uint32(s.Off)|uint32(s.Len))&(1<<SectorShift-1) != 0 {
			return 0, ErrRange
		}
		bytes += uint64(s.Len)
	}
	sectors := bytes >> SectorShift
	switch r.Op {
	case Read, Write, WriteFUA:
		if sectors == 0 || len(r.Segments) > i.MaxSegments || bytes > uint64(i.MaxBytes) {
			return 0, ErrRange
		}
	case Flush:
		if !i.CanFlush {
			return 0, ErrUnsupported
		}
		if len(r.Segments) != 0 {
			return 0, ErrRange
		}
		return 0, nil
	case Discard:
		if !i.CanDiscard {
			return 0, ErrUnsupported
		}
		if sectors = r.Sectors; sectors == 0 || len(r.Segments) != 0 {
			return 0, ErrRange
		}
	default:
		return 0, ErrUnsupported
	}
	if i.ReadOnly && r.Op != Read {
		return 0, ErrReadOnly
	}
	unit := uint64(i.SectorSize)>>SectorShift - 1
	if (r.Sector|sectors)&unit != 0 || r.Sector >= i.Sectors || sectors > i.Sectors-r.Sector {
		return 0, ErrRange
	}
	return bytes, nil
}

// Printable makes text, for Info.Name, of what a device says is ASCII.
func Printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(b)))
}
