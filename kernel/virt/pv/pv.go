// Package pv runs paravirtualized guests behind virt's interface: in ring 3, or
// ring 1 for the kernel of a 32-bit guest, entered by IRETQ, under page tables of
// their own in which the hypervisor has L4 slots 256 to 271. It needs no
// virtualization of the processor.
//
// What of virt's interface is about nested paging, interrupt windows and injected
// events does nothing here: a personality puts a guest's exceptions on its stack.
//
// References: AMD64 APM volume 2 (24593) chapters 4 (segments), 6 (SYSCALL), 8
// (exceptions); Xen's public headers arch-x86/xen-x86_64.h and xen-x86_32.h (selectors,
// the hole).
package pv

import (
	"errors"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// ErrNoRings says that this host has no ring 3 to run guests in: it is no bare machine.
var ErrNoRings = errors.New("PV guests run on the bare machine only")

// Config makes a Machine.
type Config struct {
	Pages virt.Pages
	CPUs  int
	// GDT returns the pages of a CPU's own descriptors, as 64-bit and as 32-bit guests
	// have them in their GDT.
	GDT func(cpu int) [2]mm.MFN
	// HostView makes each exit go back to the host's page tables: where there is no
	// SMAP, which else keeps the hypervisor's hands off a guest's memory.
	HostView bool
	// Isolate makes guests run with page tables without the hypervisor: see isolate.
	Isolate bool
	// PCID tags the TLB: see pcids. CR4.PCIDE is on.
	PCID bool
}

// Machine implements virt.Machine.
type Machine struct {
	cfg      Config
	gdt      [][2]mm.MFN
	zero     mm.MFN // behind the unused frames of a GDT
	features virt.Features
	mxcsr    uint32
	spec     spec.Policy
	// mitigated says that spec may need something at entries.
	mitigated bool
	fpuSize   int
}

// New makes the machine for CPUs 0 to CPUs-1; each must call Enable before it runs a
// guest.
func New(c Config) (*Machine, error) {
	m := &Machine{cfg: c, mxcsr: mxcsrMask(), features: virt.Features{Name: "PV", Nested: virt.FormatAMD64, TSCAux: hostTSCAux()}}
	m.spec = policy()
	m.mitigated = m.spec.Any()
	if m.features.XCR0, m.fpuSize = hostFPU(); m.fpuSize > maxFPU {
		return nil, fmt.Errorf("the FPU's state takes %d bytes, and there is room for %d", m.fpuSize, maxFPU)
	}
	for i := range c.CPUs {
		m.gdt = append(m.gdt, c.GDT(i))
	}
	var err error
	if m.zero, _, err = c.Pages.Alloc(1); err != nil {
		return nil, fmt.Errorf("a page behind unused descriptors: %w", err)
	}
	return m, nil
}

// Features implements virt.Machine.
func (m *Machine) Features() virt.Features { return m.features }

// NewMaps implements virt.Machine: it is the domain's part of the address space.
func (m *Machine) NewMaps() (virt.Maps, error) {
	a := &Area{m: m, domain: spec.NewDomain()}
	if err := a.table(&a.top); err != nil {
		return nil, err
	}
	if err := a.table(&a.mid); err != nil {
		a.Free()
		return nil, err
	}
	a.top.words[0] = a.mid.entry()
	return a, nil
}

// NewVCPU implements virt.Machine.
func (m *Machine) NewVCPU(cfg virt.Config) (virt.VCPU, error) { return m.newVCPU(cfg) }
