package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/disk"
	"nidus/images/media"
)

// flashArgs are flash's arguments.
type flashArgs struct {
	device                     string
	data                       string // a folder for a new data partition
	force, keep, renewing, yes bool
	built                      bool // out/nidus is there; for asRoot
}

func parseFlash(args []string) (f flashArgs, err error) {
	if f.data, args, err = valueOf("--data", args); err != nil {
		return f, err
	}
	for option, set := range map[string]*bool{"--force": &f.force, "--keep-data": &f.keep, "--erase-data": &f.renewing, "--yes": &f.yes, builtOption: &f.built} {
		if i := slices.Index(args, option); i >= 0 {
			*set, args = true, slices.Delete(slices.Clone(args), i, i+1)
		}
	}
	switch {
	case len(args) != 1 || strings.HasPrefix(args[0], "-"):
		return f, fmt.Errorf("%w: flash takes one device, such as /dev/sdb, not %q", errUsage, args)
	case f.keep && (f.renewing || f.data != ""):
		return f, fmt.Errorf("%w: --keep-data leaves the data as it is; it does not go with --erase-data and --data", errUsage)
	}
	f.device, f.data = fromCaller(args[0]), fromCaller(f.data)
	return f, nil
}

// args are the arguments that parseFlash takes.
func (f flashArgs) args() []string {
	var args []string
	for _, o := range []struct {
		set  bool
		name string
	}{{f.force, "--force"}, {f.keep, "--keep-data"}, {f.renewing, "--erase-data"}, {f.yes, "--yes"}, {f.built, builtOption}} {
		if o.set {
			args = append(args, o.name)
		}
	}
	if f.data != "" {
		args = append(args, "--data", f.data)
	}
	return append(args, f.device)
}

// builtOption is for asRoot alone.
const builtOption = "--built"

// asRoot builds as whoever calls, so that nothing in out/ becomes root's, and has root
// do the rest by sudo.
func asRoot(ctx context.Context, b *builder.Builder, f flashArgs, in *os.File, out io.Writer) error {
	if err := b.Image(); err != nil {
		return err
	}
	door, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is root's: going on by sudo\n", f.device)
	cmd := rootCommand(ctx, door, f)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = b.Root, in, out, b.Say
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return errReported
	} else if err != nil {
		return fmt.Errorf("%w; run this as root", err)
	}
	return nil
}

// rootCommand has root do the same without building.
func rootCommand(ctx context.Context, door string, f flashArgs) *exec.Cmd {
	f.built = true
	cmd := exec.CommandContext(ctx, "sudo", append([]string{door, "flash"}, f.args()...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // sudo passes it on
	return cmd
}

// flash writes the disk image to a device, made for its size. On a disk that has Nidus
// already the data stays, and what it booted becomes the previous version.
func flash(ctx context.Context, b *builder.Builder, args []string, in *os.File, out io.Writer) error {
	f, err := parseFlash(args)
	if err != nil {
		return err
	}
	if err := debian.Install(b.Say, media.Packages...); err != nil {
		return err
	}
	if os.Geteuid() != 0 && errors.Is(unix.Access(f.device, unix.R_OK|unix.W_OK), os.ErrPermission) {
		return asRoot(ctx, b, f, in, out)
	}
	dev, err := disk.Check(f.device, f.force, func(path string) bool { _, err := media.Open(path); return err == nil })
	if err != nil {
		return err
	}
	if dev.Bytes < media.LeastBytes {
		return fmt.Errorf("%s is too small: Nidus needs %d MB", dev, int64(media.LeastBytes)/1e6)
	}
	old, err := media.Open(dev.Path)
	if err != nil && !errors.Is(err, media.ErrForeign) {
		return err
	}
	keep := old
	switch {
	case old == nil && f.keep:
		return err
	case old != nil && f.data != "" && !f.renewing:
		return fmt.Errorf("%s has Nidus, whose data stays: put the files there yourself, or replace all of it with --erase-data", dev)
	case f.renewing:
		keep = nil
	}
	fmt.Fprintf(out, "%s\n%s", dev, cmp.Or(dev.Describe(), "  no partitions or file systems that are known\n"))
	if keep != nil {
		fmt.Fprintln(out, "It has Nidus: the data partition stays, the rest is replaced.")
	} else {
		fmt.Fprintln(out, "ALL that is on it will be lost.")
	}
	if !f.yes && !confirm(in, out) {
		return errors.New("nothing was written")
	}
	if !f.built {
		if err := b.Image(); err != nil {
			return err
		}
	}
	c, err := b.Contents(f.data)
	if err != nil {
		return err
	}
	if c.Previous, err = previous(old, c.Kernel); err != nil {
		return err
	}
	name := b.Out("flash.img")
	defer os.Remove(name)
	extents, err := media.WriteDisk(name, dev.Bytes, c, keep)
	if err != nil {
		return err
	}
	image, err := os.Open(name)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := disk.Write(ctx, image, extents, dev, out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s boots Nidus now; docs/install.md tells how to go on\n", dev.Path)
	return err
}

// previous is the kernel that the menu shall offer as the previous version: what the
// disk boots, unless that is the new one already.
func previous(old *media.Disk, kernel []byte) ([]byte, error) {
	if old == nil {
		return nil, nil
	}
	now, before, err := old.Kernels()
	if bytes.Equal(now, kernel) {
		return before, err
	}
	return now, err
}

// confirm asks a person at a terminal; whoever else calls has decided.
func confirm(in *os.File, out io.Writer) bool {
	if _, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err != nil {
		return true // not a terminal
	}
	fmt.Fprint(out, `Type "yes" to go on: `)
	line, _ := bufio.NewReader(in).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}
