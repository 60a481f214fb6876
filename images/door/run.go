package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/regress"
)

const banner = `
Booting Nidus in QEMU; it starts Debian's kernel as the domain "debian".
  Ctrl-A three times   moves what you type between the guest and Nidus's shell
  poweroff             in Nidus's shell ends it all

`

// runGuest boots the image with a guest; the terminal is its serial line.
func runGuest(ctx context.Context, b *builder.Builder) error {
	if err := debian.Install(b.Say, "qemu-system-x86"); err != nil {
		return err
	}
	if err := b.Image(); err != nil {
		return err
	}
	if err := b.Guests(builder.Vmlinuz, builder.Initrd, builder.DebianCfg); err != nil {
		return err
	}
	// stdio without QEMU's monitor, which would take Ctrl-A, and without
	// signals: ^C belongs to the guest.
	args := append(regress.QEMUArgs(2, 1024), "-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1", "-monitor", "none",
		"-kernel", b.Out("nidus"), "-append", "console=com1 com1=115200,8n1 xendomains="+builder.DebianCfg,
		"-initrd", fmt.Sprintf("%s %[1]s,%s %[2]s,%s %[3]s", builder.Vmlinuz, builder.Initrd, builder.DebianCfg))
	fmt.Fprint(b.Say, banner)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout = b.Out("guest"), os.Stdin, os.Stdout
	cmd.Stderr = quiet{os.Stderr}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
