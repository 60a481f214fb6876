//go:build tamago

package main

import (
	"io"
	"strings"
	"time"

	"nidus/drivers/hostdisk"
	"nidus/drivers/link"
	"nidus/drivers/pci"
	"nidus/drivers/pci/hotplug"
	"nidus/kernel/console"
)

// watchPCI looks for devices that go, as long as the host runs.
func (h *host) watchPCI() {
	for now := range time.Tick(hotplug.Every) {
		h.hotplug.Look(now)
	}
}

// loser is a driver's device that can be given up while it is in use: what is in flight
// ends, and what comes. It says so itself.
type loser interface{ Lose(why error) }

// lostDisks takes away what a controller had. Domains that use it get errors from then on.
func (h *host) lostDisks(at pci.Address, owner pci.Owner, disks []hostdisk.Disk, names []string, why error) {
	for _, n := range names {
		h.core.RegisterBlock(n, nil)
	}
	h.log.Printf(console.LevelError, "%v: %s; whoever uses a disk of it gets errors", why, strings.Join(names, ", "))
	for _, d := range disks {
		var it io.Closer = d.Drive
		if d.Drive == nil {
			it = d.Device
		}
		if l, ok := it.(loser); ok {
			l.Lose(why)
		} else if err := it.Close(); err != nil { // a driver that sees for itself if it is gone
			h.log.Printf(console.LevelError, "disk %s: %v", d.Name, err)
		}
	}
	h.owners.Release(at, owner)
}

// lostNIC takes a network card away. Its user keeps a port without a link.
func (h *host) lostNIC(at pci.Address, owner pci.Owner, p link.Port, why error) {
	name := p.Info().Name
	h.core.RegisterNIC(name, nil)
	h.log.Printf(console.LevelError, "%v: %s; its link is down for good", why, name)
	if l, ok := p.(loser); ok {
		l.Lose(why)
	}
	h.owners.Release(at, owner)
}
