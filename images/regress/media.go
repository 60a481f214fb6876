package regress

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/media"
)

// mediaCases boot the images that people boot, and find their domain running.
func mediaCases() []Case {
	parts := []string{builder.Vmlinuz, builder.Initrd, builder.DebianCfg}
	c := func(name, what string, run func(t *T) error) Case {
		return Case{Name: name, What: what, Needs: parts, Timeout: 4 * time.Minute, Run: run}
	}
	return []Case{
		c("image-disk-bios", "nidus.img as a SATA disk on a BIOS; the domain is in auto/", func(t *T) error {
			return bootDisk(t, "auto", sata)
		}),
		c("image-disk-uefi", "nidus.img as a SATA disk on UEFI; the domain is in xendomains", func(t *T) error {
			return withUEFI(t, func(firmware []string) error { return bootDisk(t, "domains", firmware, sata) })
		}),
		c("image-usb", "nidus.img as a USB stick: the previous version on a BIOS, on UEFI the rescue shell and a domain", bootUSB),
		c("image-cd", "nidus.iso as a CD on BIOS and UEFI, and as a USB stick", bootCD),
	}
}

var (
	sata = []string{"-drive", "if=none,id=d,format=raw,file=d.img", "-device", "ide-hd,drive=d,bootindex=1"} // q35's controller is AHCI
	usb  = []string{"-drive", "if=none,id=d,format=raw,file=d.img", "-device", "qemu-xhci", "-device", "usb-storage,drive=d,bootindex=1,removable=on"}
)

// withUEFI calls run with the arguments that make QEMU start UEFI.
func withUEFI(t *T, run func(args []string) error) error {
	if err := debian.Install(t.Say, "ovmf"); err != nil {
		return err
	}
	const code, vars = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
	data, err := os.ReadFile(vars)
	if err != nil {
		return err
	}
	if err := t.file("vars.fd", data); err != nil { // the firmware writes to it
		return err
	}
	return run([]string{"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + code, "-drive", "if=pflash,format=raw,unit=1,file=vars.fd"})
}

// contents are those of out/nidus.img and .iso with Debian in the data folder; its
// configuration is in one of the folders there.
func (t *T) contents(folder string, config ...string) (media.Contents, error) {
	options := strings.TrimPrefix(CommandLine, "console=com1 com1=115200,8n1 ")
	config = append(config, fmt.Sprintf("options=%q", options))
	if folder != "auto" {
		config = append(config, `xendomains="missing debian"`) // one that fails, and one without .cfg
	}
	data := filepath.Join(t.dir, "data")
	for _, d := range []string{"domains", "auto", "certs"} {
		if err := os.MkdirAll(filepath.Join(data, d), 0o755); err != nil {
			return media.Contents{}, err
		}
	}
	text := strings.Join(config, "\r\n") + "\r\n" // as Windows writes it
	if err := t.file("data/nidus.cfg", []byte(text)); err != nil {
		return media.Contents{}, err
	}
	if err := t.file("data/certs/authorized", []byte(authorizedOne)); err != nil {
		return media.Contents{}, err
	}
	for part, d := range map[string]string{builder.Vmlinuz: "domains", builder.Initrd: "domains", builder.DebianCfg: folder} {
		if err := os.Symlink(t.Out("guest", part), filepath.Join(data, d, part)); err != nil {
			return media.Contents{}, err
		}
	}
	return t.Contents(data)
}

// bootDisk boots a disk image until its domain is up. GRUB tells that it is there.
func bootDisk(t *T, folder string, args ...[]string) error {
	c, err := t.contents(folder, "timeout=1")
	if err != nil {
		return err
	}
	if _, err := media.WriteDisk(filepath.Join(t.dir, "d.img"), media.LeastBytes, c, nil); err != nil {
		return err
	}
	h, err := t.grub(args...)
	if err != nil {
		return err
	}
	return h.domainUp()
}

// grub starts a host and waits for the boot menu.
func (t *T) grub(args ...[]string) (*Host, error) {
	h, err := t.boot(Boot{NoKernel: true, NoPrompt: true, MemoryMiB: 1024, Args: slices.Concat(args...)})
	if err != nil {
		return nil, err
	}
	_, err = h.expect(`GNU GRUB`, 90*time.Second)
	return h, err
}

// domainUp waits until Debian's init runs, and ends the host.
func (h *Host) domainUp() error {
	if _, err := h.guestUp(1, 2*time.Minute); err != nil {
		return err
	}
	if err := h.Send("\x01\x01\x01"); err != nil { // from the domain to the shell
		return err
	}
	ds, err := h.list()
	if err != nil {
		return err
	}
	if len(ds) != 2 || ds[1].name != "debian" {
		return fmt.Errorf("xl list: %+v, want debian", ds)
	}
	if clients, err := h.mustDo("xl cert list"); err != nil || !strings.Contains(clients, graphsKey) {
		return fmt.Errorf("xl cert list printed %q, without the client of certs/authorized: %v", clients, err)
	}
	return h.powerOff()
}

// bootUSB boots a stick's entries: the previous version, which is the same kernel, the
// normal one, and the rescue shell, which has no modules.
func bootUSB(t *T) error {
	c, err := t.contents("auto", "timeout=-1")
	if err != nil {
		return err
	}
	c.Previous = c.Kernel
	if _, err := media.WriteDisk(filepath.Join(t.dir, "d.img"), media.LeastBytes, c, nil); err != nil {
		return err
	}
	const down = "\x1b[B"
	entry := func(keys, file string, args ...[]string) (*Host, error) {
		h, err := t.grub(append(args, usb)...)
		if err == nil {
			err = h.Send(keys + "\r")
		}
		if err == nil {
			_, err = h.expect(`Loading Nidus: \S*/nidus/`+file, 20*time.Second)
		}
		return h, err
	}
	h, err := entry(down+down, "nidus.old.gz")
	if err == nil {
		err = h.domainUp()
	}
	if err != nil {
		return fmt.Errorf("previous version: %w", err)
	}
	return withUEFI(t, func(firmware []string) error {
		h, err := entry("", "nidus.gz", firmware)
		if err == nil {
			err = h.domainUp()
		}
		if err != nil {
			return fmt.Errorf("UEFI: %w", err)
		}
		if h, err = entry(down+down+down, "nidus.gz", firmware); err == nil {
			err = h.rescued()
		}
		if err != nil {
			return fmt.Errorf("rescue shell: %w", err)
		}
		return nil
	})
}

// rescued finds the shell, and no modules.
func (h *Host) rescued() error {
	if err := h.prompt(time.Minute); err != nil {
		return err
	}
	out, err := h.mustDo("xl modules")
	if err != nil {
		return err
	}
	if contains(out, builder.Vmlinuz) {
		return fmt.Errorf("there are modules: %q", out)
	}
	return h.powerOff()
}

// bootCD boots one ISO in all of its ways but one.
func bootCD(t *T) error {
	c, err := t.contents("auto", "timeout=1")
	if err != nil {
		return err
	}
	if err := media.WriteISO(filepath.Join(t.dir, "d.img"), c); err != nil {
		return err
	}
	cd := []string{"-cdrom", "d.img"}
	up := func(how string, args ...[]string) error {
		h, err := t.grub(args...)
		if err == nil {
			err = h.domainUp()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", how, err)
		}
		return nil
	}
	if err := up("CD", cd); err != nil {
		return err
	}
	if err := withUEFI(t, func(firmware []string) error { return up("CD on UEFI", firmware, cd) }); err != nil {
		return err
	}
	h, err := t.grub(usb)
	if err == nil {
		err = h.prompt(time.Minute)
	}
	if err == nil {
		err = h.powerOff()
	}
	if err != nil {
		return fmt.Errorf("USB stick: %w", err)
	}
	return nil
}
