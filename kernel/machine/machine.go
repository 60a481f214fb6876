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
)

// Machine is the host.
type Machine struct {
	Info    *boot.Info
	Options *boot.Options
	ACPI    *acpi.Tables // never nil; its parts may be
	Log     func(format string, args ...any)

	irq irqRouter
}

// Discover reads what the loader and the firmware say. log takes a line each.
func Discover(log func(format string, args ...any)) (*Machine, error) {
	m := &Machine{Log: log}
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
	if m.ACPI, err = acpi.Parse(baremetal.PhysMem, m.Info.RSDP); err != nil {
		log("ACPI: %v; one CPU, no power-off", err)
		m.ACPI = &acpi.Tables{}
	}
	for _, p := range m.ACPI.Problems {
		log("ACPI: %s", p)
	}
	return m, nil
}
