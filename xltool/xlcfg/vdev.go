package xlcfg

import (
	"strconv"
	"strings"
)

// VDev is a virtual disk as a guest sees it (xen-vbd-interface(7)).
type VDev struct {
	// Name is what the specification says: xvda, hda1, sdb, d0p1, 0x301, 51712.
	Name string `json:"name"`
	// Number is the device's number in xenstore.
	Number uint32 `json:"number"`
	// Disk and Partition count from 0; partition 0 is the whole disk.
	Disk      int `json:"disk"`
	Partition int `json:"partition"`
}

// The kinds of vdev: letters, then the bits that a number has for the
// partition, then the largest disk and partition.
var vdevKinds = []struct {
	prefix          string
	disks, parts    int
	number          func(disk, part int) uint32
	whatIsTheBounds string
}{
	{"xvd", 1<<20 - 1, 255, xvd, "disks a to bgqcv and partitions 0 to 255"},
	{"hd", 3, 63, hd, "hda to hdd and partitions 0 to 63"},
	{"sd", 15, 15, func(disk, part int) uint32 { return 8<<8 | uint32(disk)<<4 | uint32(part) }, "sda to sdp and partitions 0 to 15"},
}

// xvd numbers a disk as Linux' major 202 does, and beyond that as extended.
func xvd(disk, part int) uint32 {
	if disk <= 15 && part <= 15 {
		return 202<<8 | uint32(disk)<<4 | uint32(part)
	}
	return 1<<28 | uint32(disk)<<8 | uint32(part)
}

// hd numbers a disk as Linux' majors 3 and 22 do.
func hd(disk, part int) uint32 {
	major := uint32(3)
	if disk >= 2 {
		major = 22
	}
	return major<<8 | uint32(disk&1)<<6 | uint32(part)
}

const vdevForms = "write xvda, xvdb..., hda, sda, with a partition's number behind if it is one, or a number such as 0x301"

// parseVDev reads the name of a virtual disk, or its number: what NetBSD takes
// as its only meaning, 0x0, 0x1 and so on, is one too.
func parseVDev(s string, off int) (VDev, error) {
	v := VDev{Name: s}
	if s == "" {
		return v, specErrorf(off, "the virtual device is empty; %s", vdevForms)
	}
	if isDigit(s[0]) {
		n, err := parseNumber(s)
		if err != nil || n > 1<<29-1 {
			return v, specErrorf(off, "%q is not a virtual device's number; use 0 to 0x1fffffff", shorten(s))
		}
		v.Number = uint32(n)
		v.Disk, v.Partition = vdevPlace(v.Number)
		return v, nil
	}
	if disk, part, ok := strings.Cut(s[1:], "p"); s[0] == 'd' && disk != "" && isDigit(disk[0]) {
		if !ok {
			part = "0"
		}
		return v.place(off, 0, disk, part)
	}
	name := strings.TrimPrefix(s, "/dev/")
	for i, k := range vdevKinds {
		rest, ok := strings.CutPrefix(name, k.prefix)
		if !ok {
			continue
		}
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		if letters == 0 || letters > 5 {
			break
		}
		disk := 0
		for _, c := range rest[:letters] {
			disk = disk*26 + int(c-'a') + 1
		}
		part := rest[letters:]
		if part == "" {
			part = "0"
		}
		return v.place(off, i, strconv.Itoa(disk-1), part)
	}
	return v, specErrorf(off, "%q is not a virtual device; %s", shorten(s), vdevForms)
}

// place sets disk and partition, which are of that kind.
func (v VDev) place(off, kind int, disk, part string) (VDev, error) {
	k := vdevKinds[kind]
	d, derr := strconv.ParseUint(disk, 10, 32)
	p, perr := strconv.ParseUint(part, 10, 32)
	if derr != nil || perr != nil {
		return v, specErrorf(off, "%q is not a virtual device; %s", shorten(v.Name), vdevForms)
	}
	if d > uint64(k.disks) || p > uint64(k.parts) {
		return v, specErrorf(off, "there is no virtual device %s; use %s, or xvda to begin another row", shorten(v.Name), k.whatIsTheBounds)
	}
	v.Disk, v.Partition = int(d), int(p)
	v.Number = k.number(v.Disk, v.Partition)
	return v, nil
}

// vdevPlace is the inverse of the numbers of vdevKinds; another number is a
// disk of its own, as NetBSD counts them.
func vdevPlace(n uint32) (disk, part int) {
	low := int(n & 0xff)
	switch {
	case n>>28 == 1:
		return int(n>>8) & (1<<20 - 1), low
	case n>>8 == 202, n>>8 == 8:
		return low >> 4, low & 15
	case n>>8 == 3:
		return low >> 6, low & 63
	case n>>8 == 22:
		return 2 + low>>6, low & 63
	}
	return int(n), 0
}
