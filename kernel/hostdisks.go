//go:build tamago

package main

import (
	"fmt"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/partition"
	"nidus/drivers/device"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
	"nidus/drivers/virtioblk"
	"nidus/kernel/console"
	"nidus/kernel/machine"
)

// disks are the host's disks and their partitions, by the names that phy: has for them
// behind /dev/.
type disks struct {
	byName map[string]block.Device
	names  []string // in the order in which they were found
}

func (d *disks) add(name string, dev block.Device) {
	if d.byName == nil {
		d.byName = map[string]block.Device{}
	}
	d.byName[name] = dev
	d.names = append(d.names, name)
}

// findDisks sets up the disks that there are drivers for, and says what is there.
func (h *host) findDisks(m device.Host) {
	n := 0
	for f := range pci.Functions(machine.PCI) {
		if k, ok := virtio.KindOf(f); !ok || k != virtio.KindBlock {
			continue
		}
		if err := h.owners.Claim(f.Address, virtioblk.Owner); err != nil {
			h.log.Printf(console.LevelError, "virtio-blk: %v", err)
			continue
		}
		d, err := virtioblk.Open(m, f, func(format string, args ...any) {
			h.log.Printf(console.LevelWarning, format, args...)
		})
		if err != nil {
			h.owners.Release(f.Address, virtioblk.Owner)
			h.log.Printf(console.LevelError, "virtio-blk: %v; this disk is not used", err)
			continue
		}
		h.foundDisk(m, "vd"+letters(n), d)
		n++
	}
}

// foundDisk says what a disk is, and finds its partitions.
func (h *host) foundDisk(m device.Memory, name string, d block.Device) {
	i := d.Info()
	more := ""
	for _, s := range []struct {
		is   bool
		text string
	}{{i.ReadOnly, ", read-only"}, {i.CanFlush, ", with a write cache"}, {i.CanDiscard, ", discards"}} {
		if s.is {
			more += s.text
		}
	}
	h.log.Printf(console.LevelInfo, "disk %s: %d MiB, sectors of %d bytes, %s%s", name, i.Sectors>>11, i.SectorSize, i.Name, more)
	h.disks.add(name, d)
	t, err := readTable(d, m)
	if err != nil {
		h.log.Printf(console.LevelError, "disk %s: its partitions are not known: %v", name, err)
		return
	}
	for _, p := range t.Problems {
		h.log.Printf(console.LevelWarning, "disk %s: %s", name, p)
	}
	for _, e := range t.Entries {
		part := partition.DeviceName(name, e.Number)
		h.log.Printf(console.LevelInfo, "disk %s: %s has %d MiB from sector %d on, type %s %s", name, part, e.Sectors>>11, e.First, e.Type, e.Name)
		h.disks.add(part, partition.Open(d, e, fmt.Sprintf("%s of %s", part, i.Name)))
	}
}

// readTable reads the partitions of a disk, unless that takes longer than any disk does: one
// that does not answer must not keep the host from starting.
func readTable(d block.Device, m device.Memory) (partition.Table, error) {
	type result struct {
		t   partition.Table
		err error
	}
	const most = 30 * time.Second // a disk may have to start turning
	ch := make(chan result, 1)
	go func() {
		t, err := partition.Read(block.ReaderAt(d, m), d.Info())
		ch <- result{t, err}
	}()
	select {
	case r := <-ch:
		return r.t, r.err
	case <-time.After(most):
		return partition.Table{}, fmt.Errorf("it does not answer within %v", most)
	}
}

// letters counts as disks' names do: a to z, aa, ab.
func letters(n int) string {
	s := ""
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}
