package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/regress"
)

const banner = `
Booting Nidus in QEMU; it starts Debian's kernel as the domain "debian".
  Ctrl-A three times   moves what you type between the guest and Nidus's shell
  out/xl list          in another terminal: the same commands from there
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
	if err := b.XL(); err != nil {
		return err
	}
	if err := b.Guests(builder.Vmlinuz, builder.Initrd, builder.DebianCfg); err != nil {
		return err
	}
	// stdio without QEMU's monitor, which would take Ctrl-A, and without
	// signals: ^C belongs to the guest.
	args := append(regress.QEMUArgs(3, 1024), "-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1", "-monitor", "none",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net",
		"-kernel", b.Out("nidus"), "-append", "console=com1 com1=115200,8n1 xendomains="+builder.DebianCfg,
		"-initrd", fmt.Sprintf("%s %[1]s,%s %[2]s,%s %[3]s", builder.Vmlinuz, builder.Initrd, builder.DebianCfg))
	shared, err := share(b.Out(sharedName))
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		fmt.Fprintln(b.Say, "another ./build.sh run is going on here, and out/xl keeps to that one")
	case err != nil:
		return err
	default:
		defer shared.Close()
		defer os.Remove(shared.Name()) // so that out/xl doesn't wait for a host that is gone
		args = append(args, regress.ShareArgs("../"+sharedName)...)
	}
	fmt.Fprint(b.Say, banner)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout = b.Out("guest"), os.Stdin, os.Stdout
	cmd.Stderr = quiet{os.Stderr}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// sharedName is the file in out/ through which out/xl reaches the host (xltool/xl).
const sharedName = "nidus.shm"

// share makes the file anew, and keeps others from doing the same while it is open:
// then the error is EWOULDBLOCK. Who may write to it commands the host.
func share(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = errors.Join(f.Truncate(0), f.Truncate(regress.ShareSize))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("sharing %s: %w", file, err)
	}
	return f, nil
}
