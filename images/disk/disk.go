// Package disk writes an image to a whole disk, after checking that it is a disk
// that nobody uses. It reads what Linux tells of block devices
// (Documentation/ABI/stable/sysfs-block, proc_pid_mountinfo(5)).
package disk

import (
	"bytes"
	"context"
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
	Path  string
	Model string
	Bytes int64
}

// String is what a person should see before it is written to.
func (d Device) String() string {
	return fmt.Sprintf("%s (%s, %.1f GB)", d.Path, d.Model, float64(d.Bytes)/1e9)
}

// Check finds out whether a path is a whole disk that is not in use and, unless
// force, removable.
func Check(path string, force bool) (Device, error) { return system{"/"}.check(path, force) }

// system is the machine as its /sys and /proc tell; root is "/" but in tests.
type system struct{ root string }

func (s system) read(name ...string) string {
	b, _ := os.ReadFile(filepath.Join(append([]string{s.root}, name...)...))
	return strings.TrimSpace(string(b)) // a file that is not there says nothing
}

func (s system) check(path string, force bool) (Device, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Device{}, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return Device{}, err
	}
	if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
		return Device{}, fmt.Errorf("%s is not a disk; \"lsblk\" lists them", path)
	}
	return s.checkName(real, filepath.Base(real), force)
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
	d := Device{Path: path, Model: strings.TrimSpace(s.read(dir, "device/vendor") + " " + s.read(dir, "device/model")), Bytes: sectors * 512}
	if d.Model == "" {
		d.Model = "unknown model"
	}
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
		if h, _ := filepath.Glob(filepath.Join(p, "holders", "*")); len(h) > 0 {
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

const chunk = 1 << 20

// Write copies an image to a device, says how far it is, and reads it back to
// compare.
func Write(ctx context.Context, image io.ReadSeeker, d Device, progress io.Writer) (err error) {
	size, err := image.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size > d.Bytes {
		return fmt.Errorf("%s is too small: the image has %d bytes", d, size)
	}
	// O_EXCL on a block device fails if the kernel uses it.
	f, err := os.OpenFile(d.Path, os.O_RDWR|syscall.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = pass(ctx, image, size, "writing", progress, func(b []byte, at int64) error {
		_, err := f.WriteAt(b, at)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	dropCache(f, size)
	back := make([]byte, chunk)
	err = pass(ctx, image, size, "verifying", progress, func(b []byte, at int64) error {
		if _, err := f.ReadAt(back[:len(b)], at); err != nil {
			return err
		}
		if !bytes.Equal(b, back[:len(b)]) {
			return fmt.Errorf("what was written at byte %d reads back differently: the device is bad", at)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	fmt.Fprintf(progress, "%s boots Nidus now\n", d.Path)
	return nil
}

// dropCache makes the next reads come from the device. That is advice: if it is
// not followed, the check is only weaker.
func dropCache(f *os.File, size int64) {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, uintptr(size), dontNeed, 0, 0)
}

// pass goes over an image once.
func pass(ctx context.Context, image io.ReadSeeker, size int64, what string, progress io.Writer, do func(b []byte, at int64) error) error {
	if _, err := image.Seek(0, io.SeekStart); err != nil {
		return err
	}
	b := make([]byte, chunk)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(image, b[:min(chunk, size-at)])
		if err != nil {
			return err
		}
		if err := do(b[:n], at); err != nil {
			return err
		}
		at += int64(n)
		fmt.Fprintf(progress, "\r%s: %3d %%", what, at*100/size)
	}
	fmt.Fprintln(progress)
	return nil
}
