package regress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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
