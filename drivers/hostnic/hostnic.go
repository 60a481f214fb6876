// Package hostnic knows the drivers of the host's network cards.
package hostnic

import (
	"fmt"

	"nidus/drivers/device"
	"nidus/drivers/e1000"
	"nidus/drivers/igb"
	"nidus/drivers/link"
	"nidus/drivers/pci"
	"nidus/drivers/r8169"
	"nidus/drivers/virtio"
	"nidus/drivers/virtionet"
)

// Log takes a line about what happens to a card.
type Log = func(format string, args ...any)

// driver drives a kind of cards.
type driver struct {
	owner pci.Owner
	is    func(*pci.Function) bool
	open  func(h device.Host, f *pci.Function, name string, log Log) (link.Port, error)
}

var drivers = []driver{
	{virtionet.Owner, isVirtio, port(virtionet.Open)},
	{e1000.Owner, e1000.Is, port(e1000.Open)},
	{igb.Owner, igb.Is, port(igb.Open)},
	{r8169.Owner, r8169.Is, port(r8169.Open)},
}

// port makes a driver's Open one that returns ports, and nil ones that are.
func port[P link.Port](open func(device.Host, *pci.Function, string, func(string, ...any)) (P, error)) func(device.Host, *pci.Function, string, Log) (link.Port, error) {
	return func(h device.Host, f *pci.Function, name string, log Log) (link.Port, error) {
		p, err := open(h, f, name, log)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
}

func isVirtio(f *pci.Function) bool {
	k, ok := virtio.KindOf(f)
	return ok && k == virtio.KindNet
}

// Driver tells which driver a function needs; ok is false if it is no network card, or
// there is none.
func Driver(f *pci.Function) (o pci.Owner, ok bool) {
	for _, d := range drivers {
		if d.is(f) {
			return d.owner, true
		}
	}
	return "", false
}

// Open sets a function up that has a Driver, as a card to be known by a name. The error is
// the driver's.
func Open(h device.Host, f *pci.Function, name string, log Log) (link.Port, error) {
	for _, d := range drivers {
		if d.is(f) {
			return d.open(h, f, name, log)
		}
	}
	return nil, fmt.Errorf("PCI function %v: there is no driver", f.Address)
}
