//go:build tamago

package main

import (
	"fmt"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
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
func paravirtualization(pages virt.Pages, o *boot.Options, log *console.Log) (*domain.PVHost, error) {
	info := func(format string, args ...any) { log.Printf(console.LevelInfo, format, args...) }
	_, smap := baremetal.Protection()
	m, err := pv.New(pv.Config{
		Pages: pages, CPUs: baremetal.NumCPU(), HostView: !smap && !o.PVNoSMAP, Isolate: baremetal.Isolating(), PCID: baremetal.PCID(),
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
	leaks := spec.Identify(cpu.CPUID, cpu.ReadMSR).Meltdown()
	l1tf := o.PVL1TF == boot.SwitchOn || o.PVL1TF == boot.SwitchDefault && leaks
	if l1tf {
		info("PV: page table entries that are not present may not name memory (pv-l1tf)")
	}
	switch {
	case baremetal.Isolating():
		info("PV: guests are isolated from the hypervisor by page tables (xpti)")
	case leaks:
		log.Printf(console.LevelWarning, "PV: this processor lets each PV guest read all of the machine's memory (Meltdown), and xpti=off has switched off what keeps them from it: run no PV guest that you don't trust with everything, or boot without xpti=off")
	default:
		info("PV: guests are not isolated by page tables: this processor needs no such thing (xpti)")
	}
	switch {
	case baremetal.PCID():
		info("PV: the TLB is tagged, and a change of page tables leaves it as it is (pcid)")
	case cpu.HasPCID():
		info("PV: the TLB is not tagged, though this processor could (pcid=%s)", o.PCID)
	}
	switch {
	case smap:
		info("PV: exits are handled under a guest's page tables, behind SMAP")
	case o.PVNoSMAP:
		info("PV: exits are handled under a guest's page tables, without SMAP (pv-nosmap)")
	default:
		info("PV: no SMAP, so each exit of a PV guest changes page tables (pv-nosmap is faster)")
	}
	return &domain.PVHost{Virt: m, Hole: baremetal.HoleEntries(), L1TF: l1tf}, nil
}
