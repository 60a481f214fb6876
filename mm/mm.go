// Package mm owns the machine's memory: which domain has which frame, how a
// guest's frames are found (p2m) and how the hypervisor touches a page that a
// guest can write at the same moment.
package mm

import "errors"

// A page frame, the unit of everything here.
const (
	PageShift = 12
	PageSize  = 1 << PageShift
	PageMask  = PageSize - 1
)

// Addresses that come from a guest have types of their own, so that none is
// used as a host address by accident.
type (
	// MFN is a machine frame number: a host physical address >> 12.
	MFN uint64
	// GFN is a guest frame number: a guest physical address >> 12.
	GFN uint64
	// GuestPhys is a guest physical address.
	GuestPhys uint64
	// GuestVirt is a guest linear address.
	GuestVirt uint64
	// DomID names a domain (xen.h, domid_t); DomIDSelf and above are reserved.
	DomID uint16
)

// Reserved domain numbers (xen.h, DOMID_*).
const (
	DomIDFirstReserved DomID = 0x7ff0
	DomIDSelf          DomID = 0x7ff0
	DomIDIO            DomID = 0x7ff1
	DomIDXen           DomID = 0x7ff2
	DomIDCOW           DomID = 0x7ff3
	DomIDInvalid       DomID = 0x7ff4
	DomIDIdle          DomID = 0x7fff
)

// InvalidMFN and InvalidGFN name no frame.
const (
	InvalidMFN MFN = ^MFN(0)
	InvalidGFN GFN = ^GFN(0)
)

// Frame returns the frame that a holds.
func (a GuestPhys) Frame() GFN { return GFN(a >> PageShift) }

// Offset returns a's place in its frame.
func (a GuestPhys) Offset() uint64 { return uint64(a & PageMask) }

// Addr returns the first address of the frame.
func (g GFN) Addr() GuestPhys { return GuestPhys(g << PageShift) }

// ErrBadAddress says that a guest address has no ordinary memory behind it.
var ErrBadAddress = errors.New("guest address has no memory behind it")

// GuestMemory is a domain's physical memory, as the hypervisor reaches it. All
// methods are safe to call at any time from any goroutine; a guest that writes
// meanwhile can change what is read, never where.
type GuestMemory interface {
	// ReadPhys fills dst from guest physical memory at a, or copies nothing
	// that may be used and returns an error that wraps ErrBadAddress, or where
	// memory on demand can't be had, ErrQuota, ErrNoMemory or ErrNoTables.
	ReadPhys(a GuestPhys, dst []byte) error
	// WritePhys is ReadPhys's counterpart. Read-only memory is an error.
	WritePhys(a GuestPhys, src []byte) error
	// Pin returns the page of ordinary writable memory at g and holds it:
	// the frame keeps its owner and place until Unpin.
	Pin(g GFN) (Page, error)
	// Unpin ends one Pin of g.
	Unpin(g GFN)
}
