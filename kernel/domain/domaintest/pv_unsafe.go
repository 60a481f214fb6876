package domaintest

import (
	"testing"
	"unsafe"

	"nidus/kernel/domain"
	"nidus/kernel/virt/pv"
	"nidus/mm"
)

// pages implements virt.Pages.
type pages struct{ *mm.Pool }

// Alloc gives one page only, as all do that ask.
func (p pages) Alloc(n int) (mm.MFN, unsafe.Pointer, error) {
	if n != 1 {
		panic("domaintest: more than one page at once")
	}
	m, ok := p.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	if !ok {
		return 0, nil, mm.ErrNoMemory
	}
	p.Page(m).Clear()
	return m, unsafe.Pointer(p.Table(m)), nil
}

func (p pages) Free(m mm.MFN, n int) { p.FreeFrames(m, 0) }

// EnablePV makes PV domains possible, with the vcpus of package kernel/virt/pv: they are
// made, but can't run.
func (m *Machine) EnablePV(tb testing.TB) {
	tb.Helper()
	v, err := pv.New(pv.Config{Pages: pages{m.Host.Memory}, CPUs: 1, GDT: func(int) (frames [2]mm.MFN) { return frames }})
	if err != nil {
		tb.Fatal(err)
	}
	m.Host.PV = &domain.PVHost{Virt: v}
	for i := range m.Host.PV.Hole {
		m.Host.PV.Hole[i] = 1<<46 | 1 // the host's: above all memory
	}
	m.free = m.Host.Memory.Stats().Free // a page stays
}
