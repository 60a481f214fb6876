package regress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"nidus/images/builder"
)

// disc makes an ISO 9660 image in the case's folder, of a file "which" that holds its
// name, and some bytes.
func (t *T) disc(name string, bytes int) error {
	dir := filepath.Join(t.dir, "disc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for file, data := range map[string]string{"which": name, "more": strings.Repeat("x", bytes)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644); err != nil {
			return err
		}
	}
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", filepath.Join(t.dir, name), dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("xorriso: %w: %s", err, out)
	}
	return nil
}

// cdromSwap changes the discs of a guest's two drives.
func cdromSwap(t *T) error {
	for i, name := range []string{"one.iso", "two.iso"} {
		if err := t.disc(name, 1<<20*(1+i)); err != nil {
			return err
		}
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Modules: []string{"one.iso", "two.iso"}}, []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage},
		map[string][]byte{"g.cfg": diskGuest(1, "shell", rootDisk, ",raw,xvdc:cdrom,r", "vdev=xvdd,devtype=cdrom,target=one.iso")})
	if err != nil {
		return err
	}
	if err := h.rootUp(); err != nil {
		return err
	}
	const mount, umount = "mount -t iso9660 -o ro /dev/%s /mnt && echo is $(cat /mnt/which)", "; umount /mnt"
	xvdc, xvdd := fmt.Sprintf(mount, "xvdc"), fmt.Sprintf(mount, "xvdd")
	err = h.inTurn([]turn{
		{"", "echo size $(cat /sys/block/xvdc/size)", `\nsize 0\r?\n`},
		{"", xvdd + umount, `\nis one.iso\r?\n`},
		{"xl cd-insert g xvdc one.iso", xvdc + umount, `\nis one.iso\r?\n`},
		{"xl cd-insert g xvdc two.iso", xvdc, `\nis two.iso\r?\n`},
		// It is mounted, and the guest is not asked: what it has not read yet is gone.
		{"xl cd-eject g xvdc", "cat /mnt/more >/dev/null || echo no disc$((1+1))", `\nno disc2\r?\n`},
		{"", "umount /mnt; echo size $(cat /sys/block/xvdc/size)", `\nsize 0\r?\n`},
		{"xl cd-insert g 51744 two.iso", xvdc + umount, `\nis two.iso\r?\n`},
	})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl cd-insert --json g xvdd two.iso")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`"name": "xvdd",\s+"spec": "vdev=xvdd,access=r,devtype=cdrom,target=two.iso"`).MatchString(out) {
		return fmt.Errorf("cd-insert --json: %s", out)
	}
	for _, c := range []struct{ command, why string }{
		{"cd-insert g xvda one.iso", "no CD drive"}, {"cd-insert g xvdc three.iso", "no boot module"}, {"cd-eject g xvdx", "no disk xvdx"},
	} {
		if err := h.mustFail(c.why, "xl %s", c.command); err != nil {
			return err
		}
	}
	if _, err := h.mustDo("xl destroy g"); err != nil {
		return err
	}
	return h.powerOff()
}

// hostCD has a guest read discs that are in the host's drive.
func hostCD(t *T) error {
	for _, name := range []string{"one.iso", "two.iso"} {
		if err := t.disc(name, 3<<20); err != nil {
			return err
		}
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Args: append(monitorArgs(),
		"-drive", "if=none,id=cd,media=cdrom,format=raw,file=one.iso", "-device", "ide-cd,drive=cd,id=sr,bus=ide.2")},
		[]string{builder.Vmlinux, builder.RootInitrd, builder.RootImage},
		map[string][]byte{"g.cfg": diskGuest(1, "shell", rootDisk, "phy:/dev/sr0,xvdc:cdrom,r")})
	if err != nil {
		return err
	}
	m, err := t.monitor()
	if err != nil {
		return err
	}
	defer m.Close()
	if err := h.rootUp(); err != nil {
		return err
	}
	const read = "mount -t iso9660 -o ro /dev/xvdc /mnt && echo is $(cat /mnt/which) $(wc -c </mnt/more)"
	if err := h.inTurn([]turn{{"", read, `\nis one.iso 3145728\r?\n`}}); err != nil {
		return err
	}
	if err := m.do("change cd two.iso raw"); err != nil {
		return err
	}
	err = h.inTurn([]turn{
		{"", "echo 3 >/proc/sys/vm/drop_caches; cat /mnt/more >/dev/null || echo no disc$((1+1)); umount /mnt", `\nno disc2\r?\n`},
		{"xl cd-insert g xvdc /dev/sr0", read + "; umount /mnt", `\nis two.iso 3145728\r?\n`},
	})
	if err != nil {
		return err
	}
	if err := m.do("eject -f cd"); err != nil {
		return err
	}
	if err := h.mustFail("no disc is in the drive", "xl cd-insert g xvdc /dev/sr0"); err != nil {
		return err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	if n := strings.Count(out, "the disc is not in the drive any more"); n != 1 {
		return fmt.Errorf("the log says %d times that the disc went", n)
	}
	return h.powerOff()
}
