//go:build tamago

package main

import (
	"fmt"
	"strings"

	"nidus/kernel/core"
	"nidus/xltool/xlcfg"
)

// parseDisk is the core's ParseDisk.
func parseDisk(text string) (core.DiskSpec, error) {
	d, err := xlcfg.ParseDisk(text)
	if err != nil {
		return core.DiskSpec{}, err
	}
	s := core.DiskSpec{
		Text: text, Target: d.Target, Format: d.Format, Name: strings.TrimPrefix(d.VDev.Name, "/dev/"), Number: d.VDev.Number,
		ReadOnly: d.ReadOnly, CDROM: d.CDROM, NoDiscard: d.NoDiscard, Untrusted: d.Untrusted, Phy: d.BackendType == "phy",
	}
	switch {
	case d.Backend != "" && d.Backend != "0" && d.Backend != "Domain-0":
		s.Missing = fmt.Sprintf("no other domain than 0 can be a backend yet; remove backend=%s", d.Backend)
	case d.Script != "":
		s.Missing = fmt.Sprintf("there are no scripts; remove script=%s", d.Script)
	case d.Specification == "virtio":
		s.Missing = "disks are Xen's here; remove specification=virtio"
	}
	return s, nil
}
