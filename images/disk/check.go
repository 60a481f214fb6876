// Package disk writes an image to a whole disk, after checking that it is a disk
// that nobody uses. It reads what Linux tells of block devices
// (Documentation/ABI/stable/sysfs-block, proc_pid_mountinfo(5)).
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Device is a disk that may be written to.
type Device struct {
	Path   string
	Model  string
	Serial string // empty if the disk tells none
	Bytes  int64
	Parts  []Part
}

// Part is something on a disk: the whole of it, or a partition.
type Part struct {
	Name        string // as in /sys/block
	Bytes       int64
	Type, Label string // of the file system, empty if there is none that is known
}

// String is what a person should see before it is written to.
func (d Device) String() string {
	s := fmt.Sprintf("%s (%s, %s", d.Path, d.Model, size(d.Bytes))
	if d.Serial != "" {
		s += ", serial " + d.Serial
	}
	return s + ")"
}

// Describe lists what is on the disk, a line for each part.
func (d Device) Describe() string {
	var s strings.Builder
	for _, p := range d.Parts {
		what := p.Type
		if what == "" {
			what = "no file system that is known"
		}
		if p.Label != "" {
			what += fmt.Sprintf(" %q", p.Label)
		}
		fmt.Fprintf(&s, "  %-12s %10s  %s\n", p.Name, size(p.Bytes), what)
	}
	return s.String()
}

// size is a size as disks are sold.
func size(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// Check finds out whether a path is a whole disk that is not in use and, unless force,
// removable and no part of a pool or an array. A file stands for a disk, for tests and
// emulators; unless force it has to be empty, all zeros, or what ours says it may
// replace.
func Check(path string, force bool, ours func(path string) bool) (Device, error) {
	return system{"/", blkid}.check(path, force, ours)
}

// system is the machine as its /sys and /proc tell; root is "/" but in tests. probe
// tells what is on a device.
type system struct {
	root  string
	probe func(path string) (typ, label string)
}

func (s system) read(name ...string) string {
	b, _ := os.ReadFile(filepath.Join(append([]string{s.root}, name...)...))
	return strings.TrimSpace(string(b)) // a file that is not there says nothing
}

func (s system) check(path string, force bool, ours func(path string) bool) (Device, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Device{}, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return Device{}, err
	}
	if info.Mode().IsRegular() {
		return checkFile(real, info.Size(), force || ours(real))
	}
	if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
		return Device{}, fmt.Errorf("%s is not a disk; \"lsblk\" lists them", path)
	}
	d, err := s.checkName(real, filepath.Base(real), force)
	if err != nil {
		return d, err
	}
	// Some users show in no file, such as ZFS and the further disks of btrfs.
	f, err := open(d)
	if err != nil {
		return d, err
	}
	return d, f.Close()
}

// open opens a device for nobody else: O_EXCL on a block device fails if the kernel uses
// it or a part of it (open(2)).
func open(d Device) (*os.File, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR|syscall.O_EXCL, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("%s is in use: a file system, an array or a pool has it: %w", d, err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: %w; run this as root", d, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	return f, nil
}

// checkFile checks a file that stands for a disk.
func checkFile(path string, bytes int64, replace bool) (Device, error) {
	d := Device{Path: path, Model: "a file", Bytes: bytes}
	if replace {
		return d, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	b := make([]byte, chunk)
	for at := int64(0); at < min(bytes, 16*chunk); at += chunk {
		n, err := f.ReadAt(b, at)
		if err != nil && err != io.EOF {
			return d, err
		}
		if !allZero(b[:n]) {
			return d, fmt.Errorf("%s is a file with something in it, and not a disk; --force if that is meant", path)
		}
	}
	return d, nil
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

// checkName checks the block device of a name in /sys/block.
func (s system) checkName(path, name string, force bool) (Device, error) {
	dir := filepath.Join("sys/block", name)
	if _, err := os.Stat(filepath.Join(s.root, dir)); err != nil {
		return Device{}, fmt.Errorf("%s is not a whole disk (a partition?); name the disk, such as /dev/sdb", path)
	}
	sectors, err := strconv.ParseInt(s.read(dir, "size"), 10, 64)
	if err != nil {
		return Device{}, fmt.Errorf("%s: its size is unknown: %w", path, err)
	}
	d := Device{Path: path, Model: s.model(dir), Serial: s.serial(dir), Bytes: sectors * sector}
	if sectors == 0 {
		return d, fmt.Errorf("%s has no medium", d)
	}
	if s.read(dir, "ro") == "1" {
		return d, fmt.Errorf("%s is write-protected", d)
	}
	if where, err := s.used(dir, name); err != nil {
		return d, err
	} else if where != "" {
		return d, fmt.Errorf("%s is in use: %s", d, where)
	}
	if n := s.read(dir, "queue/logical_block_size"); n != "" && n != fmt.Sprint(sector) {
		return d, fmt.Errorf("%s has blocks of %s bytes; the image is for disks with blocks of %d", d, n, sector)
	}
	if d.Parts, err = s.parts(path, name); err != nil {
		return d, err
	}
	for _, p := range d.Parts {
		if member(p.Type) && !force {
			return d, fmt.Errorf("%s: %s is a %s: part of a pool or an array, which would break; --force if that is meant", d, p.Name, strings.TrimSpace(p.Type+" "+p.Label))
		}
	}
	if s.read(dir, "removable") != "1" && !force {
		return d, fmt.Errorf("%s is not removable; all on it would be lost; --force if that is meant", d)
	}
	return d, nil
}

// used tells who uses a disk or a part of it: mounts, swap, or a device mapper or
// RAID on top.
func (s system) used(dir, name string) (string, error) {
	numbers := map[string]string{}
	parts, err := filepath.Glob(filepath.Join(s.root, dir, name+"*"))
	if err != nil {
		return "", err
	}
	for _, p := range append([]string{filepath.Join(s.root, dir)}, parts...) {
		rel, err := filepath.Rel(s.root, p)
		if err != nil {
			return "", err
		}
		numbers[s.read(rel, "dev")] = filepath.Base(p)
		h, err := filepath.Glob(filepath.Join(p, "holders", "*"))
		if err != nil {
			return "", err
		}
		if len(h) > 0 {
			return fmt.Sprintf("%s belongs to %s", filepath.Base(p), filepath.Base(h[0])), nil
		}
	}
	mounts := s.read("proc/self/mountinfo")
	if mounts == "" {
		return "", errors.New("/proc/self/mountinfo cannot be read, so nobody knows what is mounted")
	}
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) > 4 && numbers[f[2]] != "" {
			return fmt.Sprintf("%s is mounted at %s", numbers[f[2]], f[4]), nil
		}
		// Some file systems show no number of their device, but its name.
		if i := slices.Index(f, "-"); i >= 0 && i+2 < len(f) {
			for _, part := range numbers {
				if f[i+2] == "/dev/"+part {
					return fmt.Sprintf("%s is mounted at %s", part, f[4]), nil
				}
			}
		}
	}
	for line := range strings.Lines(s.read("proc/swaps")) {
		f := strings.Fields(line)
		for _, part := range numbers {
			if len(f) > 0 && f[0] == "/dev/"+part {
				return part + " is swap space", nil
			}
		}
	}
	return "", nil
}
