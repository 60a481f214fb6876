package ring

import (
	"fmt"
	"math/bits"

	"nidus/drivers/device"
	"nidus/mm"
)

// Memory is what a card and its driver share: descriptors. It is in one piece. The card can
// write it at any moment, so nothing is kept there that the driver has to rely on.
type Memory struct {
	Addr uint64 // as the device names it; a multiple of the size of a page

	mem   device.Memory
	mfn   mm.MFN
	order uint
	pages []mm.Page
}

// Alloc takes size bytes, zeroed. The error wraps mm.ErrNoMemory.
func Alloc(mem device.Memory, size int) (*Memory, error) {
	n := max(1, (size+mm.PageSize-1)>>mm.PageShift)
	order := uint(bits.Len(uint(n - 1)))
	m, err := mem.Alloc(order, mm.ZoneAny)
	if err != nil {
		return nil, fmt.Errorf("%d bytes for descriptors: %w", size, err)
	}
	r := &Memory{Addr: mem.DMA(m), mem: mem, mfn: m, order: order}
	for i := range mm.MFN(n) {
		r.pages = append(r.pages, mem.Page(m+i))
	}
	return r, nil
}

// Load64 reads 8 bytes, at a multiple of 8.
func (m *Memory) Load64(off int) uint64 {
	return m.pages[off>>mm.PageShift].Load64(off & mm.PageMask)
}

// Store64 writes 8 bytes, at a multiple of 8.
func (m *Memory) Store64(off int, v uint64) {
	m.pages[off>>mm.PageShift].Store64(off&mm.PageMask, v)
}

// Write writes bytes that are all in one page.
func (m *Memory) Write(off int, b []byte) { m.pages[off>>mm.PageShift].Write(off&mm.PageMask, b) }

// Free gives the memory back. Preconditions: the device does not reach it any more.
func (m *Memory) Free() {
	if m != nil && m.pages != nil {
		m.mem.Free(m.mfn, m.order)
		m.pages = nil
	}
}
