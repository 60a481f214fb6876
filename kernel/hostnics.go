//go:build tamago

package main

import (
	"fmt"

	"nidus/drivers/device"
	"nidus/drivers/hostnic"
	"nidus/drivers/link"
	"nidus/drivers/pci"
	"nidus/kernel/console"
	"nidus/kernel/machine"
)

// findNICs sets up the network cards that there are drivers for, and says what is there.
func (h *host) findNICs(m device.Host) {
	n := 0
	for f := range pci.Functions(machine.PCI) {
		owner, ok := hostnic.Driver(f)
		if !ok {
			continue
		}
		if err := h.owners.Claim(f.Address, owner); err != nil {
			h.log.Printf(console.LevelError, "%s: %v", owner, err)
			continue
		}
		p, err := hostnic.Open(m, f, fmt.Sprintf("eth%d", n), func(format string, args ...any) {
			h.log.Printf(console.LevelWarning, format, args...)
		})
		if err != nil {
			h.owners.Release(f.Address, owner)
			h.log.Printf(console.LevelError, "%s: %v; this network card is not used", owner, err)
			continue
		}
		h.foundNIC(p, string(owner), f.Address)
		h.hotplug.Watch(f.Address, func(why error) { h.lostNIC(f.Address, owner, p, why) })
		n++
	}
}

// foundNIC says what a card is, and makes it known.
func (h *host) foundNIC(p link.Port, kind string, at pci.Address) {
	i := p.Info()
	up, _ := p.Up()
	more := ""
	for _, s := range []struct {
		is   bool
		text string
	}{{i.Take.Checksum, ", does checksums"}, {i.Take.TCPv4, ", cuts TCP"}, {!up, ", no link"}} {
		if s.is {
			more += s.text
		}
	}
	h.log.Printf(console.LevelInfo, "network card %s: %v, MTU %d, %s at %v%s", i.Name, i.MAC, i.MTU, kind, at, more)
	h.core.RegisterNIC(i.Name, p)
}
