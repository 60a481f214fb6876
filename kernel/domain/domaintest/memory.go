package domaintest

import "nidus/mm"

// Memory is a machine's memory as its drivers have it (device.Memory).
type Memory struct{ *mm.Pool }

// Alloc implements device.Memory.
func (m Memory) Alloc(order uint, zone mm.Zone) (mm.MFN, error) {
	f, ok := m.AllocFrames(order, mm.FrameKernel, mm.DomIDXen, zone)
	if !ok {
		return 0, mm.ErrNoMemory
	}
	return f, nil
}

// Free implements device.Memory.
func (m Memory) Free(f mm.MFN, order uint) { m.FreeFrames(f, order) }

// DMA implements device.Memory.
func (m Memory) DMA(f mm.MFN) uint64 { return uint64(f) << mm.PageShift }
