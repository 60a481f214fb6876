package virt

import (
	"unsafe"

	"nidus/mm"
)

// Pages gives the pages that the processor itself reads: control blocks,
// bitmaps, save areas. They lie outside Go's heap.
type Pages interface {
	// Alloc returns n pages that are contiguous, physically and at p, zeroed
	// and mapped write-back on every CPU.
	Alloc(n int) (mfn mm.MFN, p unsafe.Pointer, err error)
	// Free takes back what Alloc gave.
	Free(mfn mm.MFN, n int)
}
