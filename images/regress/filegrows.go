package regress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"nidus/images/builder"
	"nidus/images/debian"
)

// diskFileGrows boots a guest from a thin qcow2 image in a file of the data partition, which is
// FAT32: it writes more than the file had, and the file system has no fault afterwards.
func diskFileGrows(t *T) error {
	if err := debian.Install(t.Say, "qemu-utils", "dosfstools"); err != nil {
		return err
	}
	const thin = "thin.qcow2"
	if err := t.part(builder.RootImage, ""); err != nil {
		return err
	}
	if _, err := t.qemuImg("convert", "-f", "raw", "-O", "qcow2", builder.RootImage, thin); err != nil {
		return err
	}
	was, err := os.Stat(filepath.Join(t.dir, thin))
	if err != nil {
		return err
	}
	if err := t.dataDisk(64, 512, thin); err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Line: "data=vda1", Args: virtioDisk("d.img", "")}, []string{builder.Vmlinux, builder.RootInitrd},
		map[string][]byte{"g.cfg": diskGuest(1, "write", "format=qcow2,vdev=xvda,access=rw,target=/data/vm/"+thin)})
	if err != nil {
		return err
	}
	sum, err := h.writes("g.cfg")
	if err != nil {
		return err
	}
	if err := t.fsckPartition("fsck.vfat", "-n"); err != nil {
		return err
	}
	if err := t.fromDataDisk(thin); err != nil {
		return err
	}
	is, err := os.Stat(filepath.Join(t.dir, thin))
	if err != nil {
		return err
	}
	if is.Size() < was.Size()+4<<20 {
		return fmt.Errorf("%s has %d bytes and had %d: it did not grow by what was written", thin, is.Size(), was.Size())
	}
	if _, err := t.qemuImg("check", "-f", "qcow2", thin); err != nil {
		return err
	}
	if _, err := t.qemuImg("convert", "-f", "qcow2", "-O", "raw", thin, "raw"); err != nil {
		return err
	}
	return t.wrote("raw", sum)
}

// fsckPartition has the partition of d.img looked at, for any fault.
func (t *T) fsckPartition(name string, args ...string) error {
	b, err := os.ReadFile(filepath.Join(t.dir, "d.img"))
	if err != nil {
		return err
	}
	file := filepath.Join(t.dir, "partition")
	if err := os.WriteFile(file, b[testDiskFirst*512:], 0o644); err != nil {
		return err
	}
	out, err := exec.Command("/sbin/"+name, append(args, file)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return errors.Join(err, os.Remove(file))
}

// diskFileHoles boots a guest from a file with holes, on a data partition that is ext4: what it
// writes there is in the file afterwards, and e2fsck finds no fault.
func diskFileHoles(t *T) error {
	if err := debian.Install(t.Say, "e2fsprogs"); err != nil {
		return err
	}
	root, file := filepath.Join(t.dir, "root"), filepath.Join(t.dir, "ext4.img")
	if err := os.MkdirAll(filepath.Join(root, "vm"), 0o755); err != nil {
		return err
	}
	image := filepath.Join(root, "vm", builder.RootImage)
	for _, args := range [][]string{
		{"cp", "--sparse=always", t.Out("guest", builder.RootImage), image},
		{"/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", root, file, "64M"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", args, err, out)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := t.file("d.img", partitioned(data, 512)); err != nil {
		return err
	}
	was, err := t.extBlocks(file)
	if err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Line: "data=vda1", Args: virtioDisk("d.img", "")}, []string{builder.Vmlinux, builder.RootInitrd},
		map[string][]byte{"g.cfg": diskGuest(1, "write", "file:/data/vm/"+builder.RootImage+",xvda,w")})
	if err != nil {
		return err
	}
	sum, err := h.writes("g.cfg")
	if err != nil {
		return err
	}
	if err := t.fsckPartition("e2fsck", "-fn"); err != nil {
		return err
	}
	if data, err = os.ReadFile(filepath.Join(t.dir, "d.img")); err != nil {
		return err
	}
	if err := os.WriteFile(file, data[testDiskFirst*512:], 0o644); err != nil {
		return err
	}
	is, err := t.extBlocks(file)
	if err != nil {
		return err
	}
	if is < was+2<<11 { // what it wrote may have had some of its place
		return fmt.Errorf("the file has %d sectors on its disk and had %d: its holes were not filled", is, was)
	}
	if out, err := exec.Command("/sbin/debugfs", "-R", "dump /vm/"+builder.RootImage+" "+filepath.Join(t.dir, "raw"), file).CombinedOutput(); err != nil {
		return fmt.Errorf("debugfs: %w: %s", err, out)
	}
	return t.wrote("raw", sum)
}

var blockCount = regexp.MustCompile(`Blockcount: (\d+)`)

// extBlocks is how many sectors the guest's root has in an ext4.
func (t *T) extBlocks(file string) (int, error) {
	out, err := exec.Command("/sbin/debugfs", "-R", "stat /vm/"+builder.RootImage, file).Output()
	if err != nil {
		return 0, fmt.Errorf("debugfs: %w", err)
	}
	m := blockCount.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("debugfs says %s", out)
	}
	return strconv.Atoi(string(m[1]))
}
