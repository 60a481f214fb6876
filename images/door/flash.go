package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"nidus/images/builder"
	"nidus/images/disk"
)

// flash makes the ISO, which boots from disks too, and writes it to a device.
func flash(ctx context.Context, b *builder.Builder, args []string, out io.Writer) error {
	force := slices.Contains(args, "--force")
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--force" })
	if len(args) != 1 {
		return fmt.Errorf("%w: flash takes one device, such as /dev/sdb", errUsage)
	}
	dev, err := disk.Check(args[0], force)
	if err != nil {
		return err
	}
	if err := b.Image(); err != nil {
		return err
	}
	parts := []string{builder.Vmlinuz, builder.Initrd, builder.DebianCfg}
	if err := b.Guests(parts...); err != nil {
		return err
	}
	iso, err := b.MakeISO(builder.ISO{Name: "nidus.iso", Protocol: builder.Multiboot2, Compress: true,
		CommandLine: "console=com1,vga com1=115200,8n1 xendomains=" + builder.DebianCfg, Modules: parts})
	if err != nil {
		return err
	}
	f, err := os.Open(iso)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(out, "writing %s to %s\n", iso, dev)
	return disk.Write(ctx, f, dev, out)
}
