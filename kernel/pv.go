//go:build tamago

package main

import (
	"errors"
	"fmt"

	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// paravirtualization makes PV guests possible on every CPU. Without SMAP, which keeps the
// hypervisor's hands off a guest's memory, exits go back to the host's page tables, unless
// that is not wanted.
func paravirtualization(pages virt.Pages, noSMAP bool, info func(string, ...any)) (*domain.PVHost, error) {
	if spec.Identify(cpu.CPUID, cpu.ReadMSR).Meltdown() {
		return nil, errors.New("this processor lets a guest in ring 3 read the hypervisor's memory (Meltdown), and what would keep them apart is not there yet; use type=\"pvh\"")
	}
	_, smap := baremetal.Protection()
	m, err := pv.New(pv.Config{
		Pages: pages, CPUs: baremetal.NumCPU(), HostView: !smap && !noSMAP,
		GDT: func(cpu int) (frames [2]mm.MFN) {
			for i, pa := range baremetal.GDTPages(cpu) {
				frames[i] = mm.MFN(pa >> mm.PageShift)
			}
			return frames
		},
	})
	if err != nil {
		return nil, fmt.Errorf("PV: %w", err)
	}
	for i := range baremetal.NumCPU() {
		var err error
		baremetal.OnCPU(i, func() { err = m.Enable() })
		if err != nil {
			return nil, fmt.Errorf("PV on CPU %d: %w", i, err)
		}
	}
	switch {
	case smap:
		info("PV: exits are handled under a guest's page tables, behind SMAP")
	case noSMAP:
		info("PV: exits are handled under a guest's page tables, without SMAP (pv-nosmap)")
	default:
		info("PV: no SMAP, so each exit of a PV guest changes page tables (pv-nosmap is faster)")
	}
	return &domain.PVHost{Virt: m, Hole: baremetal.HoleEntries()}, nil
}
