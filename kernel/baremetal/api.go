//go:build tamago

package baremetal

import (
	sys "syscall"
	"unsafe"
)

// call makes one of the kernel's own calls.
//
//go:nosplit
func call(n, a, b, c, d uint64) uint64 {
	r, _, _ := sys.RawSyscall6(uintptr(n), uintptr(a), uintptr(b), uintptr(c), uintptr(d), 0, 0)
	return uint64(r)
}

// WaitIRQ blocks until the count of interrupts of vector v differs from seen, and
// returns it.
func WaitIRQ(v uint8, seen uint32) uint32 {
	p := &irqs[v]
	for *p == seen {
		const futex, wait = 202, 128
		sys.Syscall6(futex, uintptr(unsafe.Pointer(p)), wait, uintptr(seen), 0, 0, 0)
	}
	return *p
}

func mapMMIO(pa, n uint64) uint64 {
	lock(&memlock)
	defer unlock(&memlock)
	lo := pa &^ (page4K - 1)
	size := (pa + n + page4K - 1 - lo) &^ (page4K - 1)
	va := reserve(size, page4K)
	if va == 0 {
		return 0
	}
	for o := uint64(0); o < size; o += page4K {
		if !mapPage(va+o, lo+o, pteMMIO, page4K) {
			return 0
		}
	}
	return va + pa - lo
}

func frameCall(op, a, b uint64) uint64 { return 0 }

// Port I/O for drivers.

func Out8(port uint16, v uint8)   { out8(port, v) }
func In8(port uint16) uint8       { return in8(port) }
func Out16(port uint16, v uint16) { out16(port, v) }
func In16(port uint16) uint16     { return in16(port) }
func Out32(port uint16, v uint32) { out32(port, v) }
func In32(port uint16) uint32     { return in32(port) }
