package regress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
)

func installCases() []Case {
	return []Case{
		{Name: "disk-install", What: "a guest formats an empty disk, installs packages from a CD on it, and boots from it",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.SmallCD}, Timeout: 4 * time.Minute, Run: installSmall},
		{Name: "disk-install-debian", Long: true, What: "the same with debootstrap and Debian's minbase",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.DebianCD}, Timeout: 40 * time.Minute, Run: installDebian},
	}
}

// install has a guest install from a CD on an empty disk, t.img.
func (t *T) install(cd string, mib int64, timeout time.Duration) (*Host, error) {
	if err := debian.Install(t.Say, "e2fsprogs"); err != nil {
		return nil, err
	}
	if err := t.file("t.img", nil); err != nil {
		return nil, err
	}
	if err := os.Truncate(filepath.Join(t.dir, "t.img"), mib<<20); err != nil {
		return nil, err
	}
	const disk, drive = "phy:/dev/vdb,xvda,w", "phy:/dev/vda,xvdc:cdrom,r"
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1024, Args: append(virtioDisk(t.Out("guest", cd), ",serial=cd"), secondDisk("t.img")...)},
		[]string{builder.Vmlinux, builder.RootInitrd}, map[string][]byte{
			"i.cfg": config("i", builder.Vmlinux, 1, 512, fmt.Sprintf("ramdisk = %q\ndisk = [ '%s', '%s' ]", builder.RootInitrd, disk, drive), `extra = "console=hvc0 loglevel=4 panic=1 test=install"`),
			"g.cfg": diskGuest(1, "write", disk),
		})
	if err != nil {
		return nil, err
	}
	if err := h.Send("xl create -c i.cfg\r"); err != nil {
		return nil, err
	}
	m, err := h.expect(`NIDUS-INSTALLED|NIDUS-INSTALL-FAILED[^\n]*`, timeout)
	if err != nil {
		return nil, err
	}
	if strings.Contains(m.Groups[0], "FAILED") {
		return nil, fmt.Errorf("the guest says %s", strings.TrimSpace(m.Groups[0]))
	}
	if err := h.prompt(time.Minute); err != nil {
		return nil, err
	}
	return h, h.gone("i", 20*time.Second)
}

// secondDisk are QEMU's arguments for a disk beside virtioDisk's.
func secondDisk(file string) []string {
	return []string{"-drive", "file=" + file + ",if=none,id=t,format=raw,cache=writeback", "-device", "virtio-blk-pci,drive=t"}
}

// fsck has e2fsck look at an image, a file of the case's.
func (t *T) fsck(image string) error {
	out, err := exec.Command("/sbin/e2fsck", "-fn", filepath.Join(t.dir, image)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, out)
	}
	return nil
}

func installSmall(t *T) error {
	h, err := t.install(builder.SmallCD, 64, 2*time.Minute)
	if err != nil {
		return err
	}
	sum, err := h.writes("g.cfg")
	if err != nil {
		return err
	}
	if err := t.fsck("t.img"); err != nil {
		return err
	}
	return t.wrote("t.img", sum)
}

func installDebian(t *T) error {
	h, err := t.install(builder.DebianCD, 1024, 30*time.Minute)
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-ROOT-UP /dev/xvda / ext4 rw`, 2*time.Minute); err != nil {
		return err
	}
	m, err := h.expect(`NIDUS-DEBIAN (\S+) packages=(\d+) others=(\d+)\s`, 2*time.Minute)
	if err != nil {
		return err
	}
	if len(m.Groups[2]) < 2 || m.Groups[3] != "0" {
		return fmt.Errorf("Debian %s has %s packages, and dpkg --audit prints %s lines", m.Groups[1], m.Groups[2], m.Groups[3])
	}
	for _, line := range []string{`NIDUS-ROOT-RO`, `NIDUS-PERL 42`} {
		if _, err := h.expect(line, time.Minute); err != nil {
			return err
		}
	}
	if err := h.prompt(time.Minute); err != nil {
		return err
	}
	if err := h.powerOff(); err != nil {
		return err
	}
	return t.fsck("t.img")
}
