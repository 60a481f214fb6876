// Package xenabi holds Xen's public guest interface as Go values: error
// numbers, hypercall and operation numbers, and where each field of a shared
// or passed structure lies for 64-bit and 32-bit guests.
//
// Everything comes from the public headers (Debian's libxen-dev, MIT licence,
// /usr/include/xen, interface version 0x00040e00); each file names the header
// that it follows. The package has no state and touches no guest memory.
package xenabi

// InterfaceVersion is the version of the public headers that this package
// follows (xen-compat.h, __XEN_LATEST_INTERFACE_VERSION__).
const InterfaceVersion = 0x00040e00

// Width is a guest's word size in bytes, which decides where fields lie: C's
// long and guest handles have this size, and a 32-bit guest aligns 8-byte
// integers to 4 (the i386 ABI).
type Width uint8

// The widths of x86 guests.
const (
	Guest32 Width = 4
	Guest64 Width = 8
)

// Valid tells whether w is one of the two widths.
func (w Width) Valid() bool { return w == Guest32 || w == Guest64 }

// Bits returns the number of bits in a guest's word.
func (w Width) Bits() int { return int(w) * 8 }
