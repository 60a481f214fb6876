package ring

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// lineSize is the cache line that the layout is made for.
const lineSize = 64

// memory is a mapped region. The peer may change any byte of it at any moment.
type memory []byte

// newMemory checks that a region can hold words.
func newMemory(region []byte) (memory, error) {
	if len(region) < headerSize {
		return nil, fmt.Errorf("%w: a region of %d bytes, need more than %d", ErrFormat, len(region), headerSize)
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(region))); at%lineSize != 0 {
		return nil, fmt.Errorf("%w: the region starts at %#x, need a multiple of %d", ErrFormat, at, lineSize)
	}
	return memory(region), nil
}

// word returns the 64-bit word at an offset, which is a multiple of 8.
//
// Safe because newMemory checked the alignment of the start and the slice expression
// checks both ends. atomic.Uint64 has the layout of a uint64 and is little-endian on
// every machine that Nidus runs on (x86-64).
func (m memory) word(off int) *atomic.Uint64 {
	b := m[off : off+8 : off+8]
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}
