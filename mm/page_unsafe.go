package mm

import (
	"bytes"
	"sync/atomic"
	"unsafe"
)

// Page is one page frame as the hypervisor reaches it, usually shared with a
// guest that may write it at any moment. Single values are read and written
// atomically; everything wider is copied. The zero Page is no page.
//
// Offsets are the caller's own numbers, never a guest's: one outside the page,
// or not aligned to the value's size, panics.
type Page struct{ p unsafe.Pointer }

// PageAt makes a Page of the page at p.
//
// Preconditions: p is page aligned, and stays mapped and writable for as long
// as the Page is used.
func PageAt(p unsafe.Pointer) Page { return Page{p} }

// NewPage returns a page of the Go heap, zeroed: for the host's tests, and for
// pages that no guest sees.
func NewPage() Page {
	b := make([]byte, 2*PageSize)
	a := uintptr(unsafe.Pointer(&b[0]))
	return Page{unsafe.Pointer(&b[(PageSize-a&PageMask)&PageMask])}
}

// IsZero tells whether pg is no page.
func (pg Page) IsZero() bool { return pg.p == nil }

func (pg Page) at(off, size int) unsafe.Pointer {
	if uint(off) > uint(PageSize-size) || off&(size-1) != 0 {
		panic("mm: bad offset into a page")
	}
	return unsafe.Add(pg.p, off)
}

// Load8 reads a byte.
func (pg Page) Load8(off int) uint8 {
	return uint8(atomic.LoadUint32((*uint32)(pg.at(off&^3, 4))) >> (off & 3 * 8))
}

// Store8 writes a byte and leaves its neighbours alone, whoever writes them.
func (pg Page) Store8(off int, v uint8) {
	p := (*uint32)(pg.at(off&^3, 4))
	sh := off & 3 * 8
	for {
		o := atomic.LoadUint32(p)
		if atomic.CompareAndSwapUint32(p, o, o&^(0xff<<sh)|uint32(v)<<sh) {
			return
		}
	}
}

// Load32 reads 4 bytes, little endian.
func (pg Page) Load32(off int) uint32 { return atomic.LoadUint32((*uint32)(pg.at(off, 4))) }

// Store32 writes 4 bytes.
func (pg Page) Store32(off int, v uint32) { atomic.StoreUint32((*uint32)(pg.at(off, 4)), v) }

// Load64 reads 8 bytes.
func (pg Page) Load64(off int) uint64 { return atomic.LoadUint64((*uint64)(pg.at(off, 8))) }

// Store64 writes 8 bytes.
func (pg Page) Store64(off int, v uint64) { atomic.StoreUint64((*uint64)(pg.at(off, 8)), v) }

// Or32 sets bits and returns the old value.
func (pg Page) Or32(off int, bits uint32) uint32 {
	return atomic.OrUint32((*uint32)(pg.at(off, 4)), bits)
}

// And32 keeps only bits and returns the old value.
func (pg Page) And32(off int, bits uint32) uint32 {
	return atomic.AndUint32((*uint32)(pg.at(off, 4)), bits)
}

// Or64 sets bits and returns the old value.
func (pg Page) Or64(off int, bits uint64) uint64 {
	return atomic.OrUint64((*uint64)(pg.at(off, 8)), bits)
}

// And64 keeps only bits and returns the old value.
func (pg Page) And64(off int, bits uint64) uint64 {
	return atomic.AndUint64((*uint64)(pg.at(off, 8)), bits)
}

// CompareAndSwap32 writes v if old is there, and tells whether it was.
func (pg Page) CompareAndSwap32(off int, old, v uint32) bool {
	return atomic.CompareAndSwapUint32((*uint32)(pg.at(off, 4)), old, v)
}

// CompareAndSwap64 writes v if old is there, and tells whether it was.
func (pg Page) CompareAndSwap64(off int, old, v uint64) bool {
	return atomic.CompareAndSwapUint64((*uint64)(pg.at(off, 8)), old, v)
}

// Read copies out of the page, as much as dst holds.
func (pg Page) Read(off int, dst []byte) { copy(dst, pg.bytes(off, len(dst))) }

// Write copies src into the page.
func (pg Page) Write(off int, src []byte) { copy(pg.bytes(off, len(src)), src) }

// Copy copies n bytes at srcOff of src to off.
func (pg Page) Copy(off int, src Page, srcOff, n int) { copy(pg.bytes(off, n), src.bytes(srcOff, n)) }

// Zero zeroes n bytes at off.
func (pg Page) Zero(off, n int) { clear(pg.bytes(off, n)) }

// Clear zeroes the page.
func (pg Page) Clear() { clear(pg.bytes(0, PageSize)) }

// Bytes is n bytes at off as they are in the page.
//
// Preconditions: no guest has the page, and it is not used any more once it is given back.
func (pg Page) Bytes(off, n int) []byte { return pg.bytes(off, n)[:n:n] }

// Blank tells whether all of the page is zero.
func (pg Page) Blank() bool { return bytes.Equal(pg.bytes(0, PageSize), blank[:]) }

var blank [PageSize]byte

func (pg Page) bytes(off, n int) []byte {
	if uint(off) > PageSize || uint(n) > uint(PageSize-off) {
		panic("mm: bad range of a page")
	}
	return unsafe.Slice((*byte)(pg.p), PageSize)[off : off+n]
}
