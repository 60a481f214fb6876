//go:build tamago

package main

import (
	"fmt"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
	"nidus/drivers/virtionet"
	"nidus/kernel/console"
	"nidus/kernel/machine"
)

// nicDriver drives a kind of network cards.
type nicDriver struct {
	owner  pci.Owner
	drives func(*pci.Function) bool
	open   func(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (link.Port, error)
}

var nicDrivers = []nicDriver{{
	virtionet.Owner,
	func(f *pci.Function) bool { k, ok := virtio.KindOf(f); return ok && k == virtio.KindNet },
	func(h device.Host, f *pci.Function, name string, log func(string, ...any)) (link.Port, error) {
		return virtionet.Open(h, f, name, log)
	},
}}

// findNICs sets up the network cards that there are drivers for, and says what is there.
func (h *host) findNICs(m device.Host) {
	n := 0
	for f := range pci.Functions(machine.PCI) {
		for _, d := range nicDrivers {
			if !d.drives(f) {
				continue
			}
			if err := h.owners.Claim(f.Address, d.owner); err != nil {
				h.log.Printf(console.LevelError, "%s: %v", d.owner, err)
				break
			}
			name := fmt.Sprintf("eth%d", n)
			p, err := d.open(m, f, name, func(format string, args ...any) {
				h.log.Printf(console.LevelWarning, format, args...)
			})
			if err != nil {
				h.owners.Release(f.Address, d.owner)
				h.log.Printf(console.LevelError, "%s: %v; this network card is not used", d.owner, err)
				break
			}
			h.foundNIC(p, string(d.owner), f.Address)
			n++
			break
		}
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
