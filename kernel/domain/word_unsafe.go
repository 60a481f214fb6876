package domain

import (
	"sync/atomic"
	"unsafe"
)

// word is the memory of an atomic value, for the futex that waits on it.
func word(p *atomic.Uint32) *uint32 { return (*uint32)(unsafe.Pointer(p)) }
