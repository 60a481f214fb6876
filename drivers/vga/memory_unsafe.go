package vga

import (
	"encoding/binary"
	"unsafe"
)

// Mapped is device memory in the address space (Memory).
type Mapped struct {
	p unsafe.Pointer
	n int
}

// MemoryAt returns the n bytes of device memory at p.
//
// Preconditions: the n bytes stay mapped and writable; stores are aligned as far
// as p is, to 8 bytes.
func MemoryAt(p unsafe.Pointer, n int) Mapped { return Mapped{p, n} }

// Store implements Memory. It uses plain stores of up to 8 bytes, each aligned: a
// copy's wide or repeated instructions are slow or not possible on memory that a
// hypervisor below emulates. A store outside the memory panics.
func (m Mapped) Store(off int, b []byte) {
	if off < 0 || len(b) > m.n || off > m.n-len(b) {
		panic("vga: store outside video memory")
	}
	for len(b) > 0 {
		p, size := unsafe.Add(m.p, off), 1
		switch {
		case off&7 == 0 && len(b) >= 8:
			*(*uint64)(p) = binary.LittleEndian.Uint64(b)
			size = 8
		case off&3 == 0 && len(b) >= 4:
			*(*uint32)(p) = binary.LittleEndian.Uint32(b)
			size = 4
		case off&1 == 0 && len(b) >= 2:
			*(*uint16)(p) = binary.LittleEndian.Uint16(b)
			size = 2
		default:
			*(*byte)(p) = b[0]
		}
		off += size
		b = b[size:]
	}
}
