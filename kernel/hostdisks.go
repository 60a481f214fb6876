//go:build tamago

package main

import (
	"fmt"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/partition"
	"nidus/drivers/device"
	"nidus/drivers/hostdisk"
	"nidus/drivers/pci"
	"nidus/drivers/volume"
	"nidus/kernel/console"
	"nidus/kernel/machine"
)

// findDisks sets up the disks that there are drivers for, and says what is there.
func (h *host) findDisks(m device.Host) {
	var names hostdisk.Names
	for f := range pci.Functions(machine.PCI) {
		owner, ok := hostdisk.Driver(f)
		if !ok {
			continue
		}
		if err := h.owners.Claim(f.Address, owner); err != nil {
			h.log.Printf(console.LevelError, "%s: %v", owner, err)
			continue
		}
		disks, err := names.Open(m, f, func(format string, args ...any) {
			h.log.Printf(console.LevelWarning, format, args...)
		})
		if err != nil {
			h.owners.Release(f.Address, owner)
			h.log.Printf(console.LevelError, "%s: %v; this device is not used", owner, err)
			continue
		}
		var names []string
		for _, d := range disks {
			if d.Drive != nil {
				names = append(names, h.foundDrive(d))
			} else {
				names = append(names, h.foundDisk(m, d.Name, d)...)
			}
		}
		h.hotplug.Watch(f.Address, func(why error) { h.lostDisks(f.Address, owner, disks, names, why) })
	}
	if h.Options.Data != "" && h.core.Data == nil {
		h.log.Printf(console.LevelError, "data=%s: there is no such disk or partition; there are: %v", h.Options.Data, h.core.Blocks())
	}
}

// foundDrive makes a CD drive known to phy:, as the name that it returns; what a domain gets is
// the disc that is in when its disk is opened.
func (h *host) foundDrive(d hostdisk.Disk) (name string) {
	name = "/dev/" + d.Name
	h.log.Printf(console.LevelInfo, "CD drive %s: %s", d.Name, d.Drive.Name())
	h.core.RegisterBlock(name, func(readOnly bool) (block.Device, error) {
		if !readOnly {
			return nil, fmt.Errorf("discs in %s can only be read; write r for w", name)
		}
		return d.Drive.Open()
	})
	return name
}

// foundDisk says what a disk is, and finds its partitions. It returns the names that they
// and the disk are known by.
func (h *host) foundDisk(m device.Memory, name string, d block.Device) (names []string) {
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
	disk := partition.NewDisk(d)
	names = append(names, h.registerDisk(disk, name, i.Name, disk.Whole()))
	if h.Options.Data == name {
		h.foundData(m, disk, name, i.Name, disk.Whole())
	}
	t, err := readTable(d, m)
	if err != nil {
		h.log.Printf(console.LevelError, "disk %s: its partitions are not known: %v", name, err)
		return names
	}
	for _, p := range t.Problems {
		h.log.Printf(console.LevelWarning, "disk %s: %s", name, p)
	}
	for _, e := range t.Entries {
		part := partition.DeviceName(name, e.Number)
		h.log.Printf(console.LevelInfo, "disk %s: %s has %d MiB from sector %d on, type %s %s", name, part, e.Sectors>>11, e.First, e.Type, e.Name)
		what := fmt.Sprintf("%s of %s", part, i.Name)
		names = append(names, h.registerDisk(disk, part, what, e))
		if e.Name == dataLabel && h.Options.Data == "" || h.Options.Data == part {
			h.foundData(m, disk, part, what, e)
		}
	}
	return names
}

// dataLabel is the GUID table's name of the data partition (images/media).
const dataLabel = "nidus-data"

// foundData makes a partition, or a disk without any, the data partition.
func (h *host) foundData(m device.Memory, d *partition.Disk, name, what string, e partition.Entry) {
	if h.core.Data != nil {
		h.log.Printf(console.LevelWarning, "data partition: %s is one too, and is not used; data= on the command line names the one that is", name)
		return
	}
	h.core.Data = volume.New(name, m, func(readOnly bool) (block.Device, error) { return d.Open(e, what, readOnly) })
	h.log.Printf(console.LevelInfo, "data partition: %s; its files are /data/...", name)
}

// registerDisk makes a disk or a partition known to phy:, as /dev/NAME, which it returns.
func (h *host) registerDisk(d *partition.Disk, name, what string, e partition.Entry) string {
	name = "/dev/" + name
	h.core.RegisterBlock(name, func(readOnly bool) (block.Device, error) { return d.Open(e, what, readOnly) })
	return name
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
