//go:build tamago

package machine

import (
	"fmt"
	"math/bits"
	"unsafe"

	"nidus/kernel/baremetal"
	"nidus/mm"
)

// Pages implements virt.Pages: what the processor itself reads.
type Pages struct{ Memory *mm.Pool }

// Alloc implements virt.Pages.
func (p Pages) Alloc(n int) (mm.MFN, unsafe.Pointer, error) {
	order := uint(bits.Len(uint(n - 1)))
	m, ok := p.Memory.AllocFrames(order, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	if !ok {
		return 0, nil, fmt.Errorf("%d pages for the processor: %w", n, mm.ErrNoMemory)
	}
	for i := range mm.MFN(1) << order {
		p.Memory.Page(m + i).Clear()
	}
	return m, baremetal.Pointer(baremetal.DirectMap + uint64(m)<<mm.PageShift), nil
}

// Free implements virt.Pages.
func (p Pages) Free(m mm.MFN, n int) {
	p.Memory.FreeFrames(m, uint(bits.Len(uint(n-1))))
}

// Bytes is the memory at a physical range that the direct map has, as it is; for
// boot modules.
func Bytes(start, end uint64) []byte {
	return unsafe.Slice((*byte)(baremetal.Pointer(baremetal.DirectMap+start)), end-start)
}
