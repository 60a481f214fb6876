//go:build tamago

package baremetal

import (
	"unsafe"

	"nidus/mm"
)

// Loads and stores at kernel addresses. Preconditions: the address is mapped.

func ld8(p uint64) byte         { return *(*byte)(unsafe.Pointer(uintptr(p))) }
func ld32(p uint64) uint32      { return *(*uint32)(unsafe.Pointer(uintptr(p))) }
func ld64(p uint64) uint64      { return *(*uint64)(unsafe.Pointer(uintptr(p))) }
func st8(p uint64, v byte)      { *(*byte)(unsafe.Pointer(uintptr(p))) = v }
func st32(p uint64, v uint32)   { *(*uint32)(unsafe.Pointer(uintptr(p))) = v }
func st64(p, v uint64)          { *(*uint64)(unsafe.Pointer(uintptr(p))) = v }
func addr[T any](p *T) uint64   { return uint64(uintptr(unsafe.Pointer(p))) }
func threadAt(p uint64) *thread { return (*thread)(unsafe.Pointer(uintptr(p))) }
func pcpuAt(p uint64) *pcpu     { return (*pcpu)(unsafe.Pointer(uintptr(p))) }

// firstPage is the address of the first whole page of pages.
func firstPage() uint64 { return (addr(&pages) + page4K - 1) &^ (page4K - 1) }

// pcpuOf is the block of a CPU.
func pcpuOf[N int | int32 | uint64](cpu N) *pcpu {
	_ = [MaxCPUs]struct{}{}[cpu] // it is one
	return pcpuAt(firstPage() + (1+uint64(cpu))*page4K)
}

func idt() *[256][2]uint64 { return (*[256][2]uint64)(Pointer(firstPage())) }

var (
	_ [page4K - unsafe.Sizeof(pcpu{})]byte // it fits
	_ = -(unsafe.Offsetof(pcpu{}.slots) % 16)
)

func frameStatsAt(p uint64) *mm.FrameStats {
	return (*mm.FrameStats)(unsafe.Pointer(uintptr(p)))
}

const frameStatsSize = uint64(unsafe.Sizeof(mm.FrameStats{}))

// Pointer makes a pointer of a kernel address outside Go's heap.
func Pointer(va uint64) unsafe.Pointer { return unsafe.Pointer(uintptr(va)) }

//go:linkname runtimeText runtime.text
var runtimeText byte

//go:linkname runtimeEtext runtime.etext
var runtimeEtext byte

//go:linkname runtimeEnd runtime.end
var runtimeEnd byte

// FXSAVE wants 16-byte alignment: every thread's block has it if the first one
// does (the linker aligns large variables to 32) and the size is a multiple.
const (
	_ = -(unsafe.Sizeof(thread{}) % 16)
	_ = -(unsafe.Offsetof(thread{}.fx) % 16)
)
