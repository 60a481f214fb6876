// Package hostdisk knows the drivers of the host's disks and names what they find, as
// Linux does: vda, nvme0n1, sda, sr0.
package hostdisk

import (
	"fmt"

	"nidus/drivers/ahci"
	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/drivers/nvme"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
	"nidus/drivers/virtioblk"
)

// Disk is a disk with its name, or a drive whose discs come and go.
type Disk struct {
	block.Device // nil of a drive
	Name         string
	Drive        Drive // nil of a disk
}

// Drive is a CD drive.
type Drive interface {
	Name() string // for people
	// Open returns the disc that is in, or says why there is none.
	Open() (block.Device, error)
	// Close ends the drive; who has a disc of it gets block.ErrGone.
	Close() error
}

// Log takes a line about what happens to a disk.
type Log = func(format string, args ...any)

// driver drives a kind of device.
type driver struct {
	owner pci.Owner
	is    func(*pci.Function) bool
	open  func(n *Names, h device.Host, f *pci.Function, log Log) ([]Disk, error)
}

var drivers = []driver{
	{virtioblk.Owner, isVirtio, (*Names).virtio},
	{nvme.Owner, nvme.Is, (*Names).nvme},
	{ahci.Owner, ahci.Is, (*Names).sata},
}

// Driver tells which driver a function needs; ok is false if it has no disks, or no driver.
func Driver(f *pci.Function) (o pci.Owner, ok bool) {
	for _, d := range drivers {
		if d.is(f) {
			return d.owner, true
		}
	}
	return "", false
}

// Names counts the disks of each kind. Its zero value is ready.
type Names struct{ vd, sd, sr, controllers int }

// Open sets a function up that has a Driver. The error is the driver's.
func (n *Names) Open(h device.Host, f *pci.Function, log Log) ([]Disk, error) {
	for _, d := range drivers {
		if d.is(f) {
			return d.open(n, h, f, log)
		}
	}
	return nil, fmt.Errorf("PCI function %v: there is no driver", f.Address)
}

func isVirtio(f *pci.Function) bool {
	k, ok := virtio.KindOf(f)
	return ok && k == virtio.KindBlock
}

func (n *Names) virtio(h device.Host, f *pci.Function, log Log) ([]Disk, error) {
	d, err := virtioblk.Open(h, f, log)
	if err != nil {
		return nil, err
	}
	n.vd++
	return []Disk{{Device: d, Name: "vd" + letters(n.vd-1)}}, nil
}

func (n *Names) nvme(h device.Host, f *pci.Function, log Log) (disks []Disk, err error) {
	ds, err := nvme.Open(h, f, log)
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		disks = append(disks, Disk{Device: d, Name: fmt.Sprintf("nvme%dn%d", n.controllers, d.Namespace())})
	}
	n.controllers++
	return disks, nil
}

func (n *Names) sata(h device.Host, f *pci.Function, log Log) (disks []Disk, err error) {
	ds, drives, err := ahci.Open(h, f, log)
	for _, d := range ds {
		disks = append(disks, Disk{Device: d, Name: "sd" + letters(n.sd)})
		n.sd++
	}
	for _, d := range drives {
		disks = append(disks, Disk{Name: fmt.Sprintf("sr%d", n.sr), Drive: d})
		n.sr++
	}
	return disks, err
}

// letters counts as disks' names do: a to z, aa, ab.
func letters(n int) string {
	s := ""
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}
