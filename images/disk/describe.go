package disk

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// sector is the unit of sizes in /sys/block, in bytes.
const sector = 512

// model is what a disk says it is; MMC has it in device/name.
func (s system) model(dir string) string {
	for _, name := range []string{"device/model", "device/name"} {
		if m := s.read(dir, name); m != "" {
			return strings.TrimSpace(s.read(dir, "device/vendor") + " " + m)
		}
	}
	return "unknown model"
}

// serial is a disk's serial number: NVMe and MMC, virtio, SCSI's page 0x80 behind its
// header of 4 bytes (SPC-4, 7.8.15), or what udev keeps of a USB stick.
func (s system) serial(dir string) string {
	for _, name := range []string{"device/serial", "serial"} {
		if n := s.read(dir, name); n != "" {
			return n
		}
	}
	for line := range strings.Lines(s.read("run/udev/data/b" + s.read(dir, "dev"))) {
		if n, ok := strings.CutPrefix(line, "E:ID_SERIAL_SHORT="); ok {
			return strings.TrimSpace(n)
		}
	}
	if page := s.read(dir, "device/vpd_pg80"); len(page) > 4 {
		return strings.Trim(page[4:], " \x00")
	}
	return ""
}

// parts lists what is on a disk, partitions by name.
func (s system) parts(path, name string) ([]Part, error) {
	all := []string{name}
	found, err := filepath.Glob(filepath.Join(s.root, "sys/block", name, name+"*", "size"))
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		all = append(all, filepath.Base(filepath.Dir(p)))
	}
	var parts []Part
	for _, p := range all {
		dir := filepath.Join("sys/block", name)
		if p != name {
			dir = filepath.Join(dir, p)
		}
		n, err := strconv.ParseInt(s.read(dir, "size"), 10, 64)
		if err != nil {
			return nil, err
		}
		part := Part{Name: p, Bytes: n * sector}
		part.Type, part.Label = s.probe(filepath.Join(filepath.Dir(path), p))
		if p == name && part.Type == "" {
			continue
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// blkid asks util-linux's blkid(8) what it finds in a device itself, not in its cache.
func blkid(path string) (typ, label string) {
	out, err := exec.Command("blkid", "-p", "-o", "export", path).Output()
	if err != nil { // nothing that is known, or not readable: opening it will tell
		return "", ""
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "TYPE":
			typ = value
		case "LABEL":
			label = strings.ReplaceAll(value, `\ `, " ")
		}
	}
	return typ, label
}

// member tells whether a type, by blkid's name, is one of several that belong together:
// zfs_member, LVM2_member, linux_raid_member and others.
func member(typ string) bool {
	return strings.HasSuffix(typ, "_member") || typ == "bcache" || typ == "drbd"
}
