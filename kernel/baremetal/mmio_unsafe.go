//go:build tamago

package baremetal

import "unsafe"

// Device registers of 8 and 16 bits. They are no part of other functions, where the
// compiler might join or leave out what it takes for plain memory.

// Load8 reads a register.
//
//go:noinline
func Load8(va uint64) uint8 { return *(*uint8)(unsafe.Pointer(uintptr(va))) }

// Load16 reads a register.
//
//go:noinline
func Load16(va uint64) uint16 { return *(*uint16)(unsafe.Pointer(uintptr(va))) }

// Store8 writes a register.
//
//go:noinline
func Store8(va uint64, v uint8) { *(*uint8)(unsafe.Pointer(uintptr(va))) = v }

// Store16 writes a register.
//
//go:noinline
func Store16(va uint64, v uint16) { *(*uint16)(unsafe.Pointer(uintptr(va))) = v }
