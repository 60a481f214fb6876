//go:build tamago

// Package machine finds out what the host consists of and brings it up, once Go
// runs: the command line, ACPI, the other CPUs, interrupts, clocks, power. It is
// the layer between the seam (baremetal) and everything portable.
package machine

import (
	"fmt"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/boot/acpi"
	"nidus/kernel/cpu"
	"nidus/kernel/virt/spec"
	"nidus/personalities/cpuid"
)

// Machine is the host.
type Machine struct {
	Info    *boot.Info
	Options *boot.Options
	ACPI    *acpi.Tables // never nil; its parts may be
	Log     func(format string, args ...any)

	irq irqRouter
}

// Discover reads what the loader says, and the command line. log takes a line
// each. ReadACPI comes next.
func Discover(log func(format string, args ...any)) (*Machine, error) {
	m := &Machine{Log: log, ACPI: &acpi.Tables{}}
	var err error
	if m.Info, err = baremetal.Early.Info(baremetal.PhysMem); err != nil {
		return nil, fmt.Errorf("the boot loader's information: %w", err)
	}
	m.Options = boot.ParseOptions(m.Info.CommandLine)
	baremetal.NoReboot = m.Options.NoReboot
	log("Loader: %s (%s); command line: %s", m.Info.LoaderName, m.Info.Loader, m.Info.CommandLine)
	for _, p := range m.Info.Problems {
		log("Loader: %s", p)
	}
	for _, p := range m.Options.Problems {
		log("Command line: %s", p)
	}
	for _, w := range m.Options.Unknown {
		log("Command line: unknown word %q ignored", w)
	}
	if m.Options.Dom0 != "" {
		log("Command line: %q after \" -- \" is for the kernel of a dom0, which there is not; write the hypervisor's options before it", m.Options.Dom0)
	}
	return m, nil
}

// ReadACPI reads the firmware's tables.
func (m *Machine) ReadACPI() {
	t, err := acpi.Parse(baremetal.PhysMem, m.Info.RSDP)
	if err != nil {
		m.Log("ACPI: %v; one CPU, no power-off", err)
		return
	}
	m.ACPI = t
	for _, p := range t.Problems {
		m.Log("ACPI: %s", p)
	}
}

// Protect switches SMEP and SMAP off where the options want that, and returns the
// bits of CPUID leaf 7, EBX, that guests are not to be offered: hvm keeps them for
// guests. Call it before StartCPUs.
func (m *Machine) Protect() (hide uint32) {
	o := m.Options
	on := func(s boot.Switch) bool { return s == boot.SwitchDefault || s == boot.SwitchOn }
	baremetal.Protect(on(o.SMEP), on(o.SMAP))
	smep, smap := baremetal.Protection()
	if o.SMEP != boot.SwitchDefault || o.SMAP != boot.SwitchDefault {
		m.Log("Protection: SMEP %v (smep=%v), SMAP %v (smap=%v)", smep, o.SMEP, smap, o.SMAP)
	}
	if o.SMEP == boot.SwitchOff {
		hide |= cpuid.SMEP
	}
	if o.SMAP == boot.SwitchOff {
		hide |= cpuid.SMAP
	}
	return hide
}

// UsePCID has the TLB tagged for PV guests, where the processor can and the options want that. Call it
// behind IsolatePV, before StartCPUs.
func (m *Machine) UsePCID() {
	if m.Options.PCID.Wanted(baremetal.Isolating()) {
		baremetal.UsePCID()
	}
}

// IsolatePV prepares for PV guests that are kept apart from the hypervisor by page tables, where the
// options want that, or, if they leave it open, the processor needs it. Call it before StartCPUs.
func (m *Machine) IsolatePV() {
	on := m.Options.XPTI == boot.SwitchOn
	if m.Options.XPTI == boot.SwitchDefault {
		on = spec.Identify(cpu.CPUID, cpu.ReadMSR).Meltdown()
	}
	if on {
		baremetal.Isolate()
	}
}
