package regress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"

	"nidus/images/builder"
	"nidus/images/debian"
)

// qemuImg runs qemu-img in the case's folder.
func (t *T) qemuImg(args ...string) ([]byte, error) {
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = t.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("qemu-img %q: %w: %s %s", args, err, bytes.TrimSpace(stderr.Bytes()), bytes.TrimSpace(out))
	}
	return out, err
}

// diskQcow2 boots a guest from an image with another one below, both files of the data
// partition, and has qemu-img look at them afterwards.
func diskQcow2(t *T) error {
	if err := debian.Install(t.Say, "qemu-utils"); err != nil {
		return err
	}
	const base, over = "base.qcow2", "over.qcow2"
	if err := t.part(builder.RootImage, ""); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"convert", "-c", "-f", "raw", "-O", "qcow2", builder.RootImage, base},
		{"create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", over},
	} {
		if _, err := t.qemuImg(args...); err != nil {
			return err
		}
	}
	if err := t.dataDisk(64, 512, base, over); err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Line: "data=vda1", Args: virtioDisk("d.img", "")}, []string{builder.Vmlinux, builder.RootInitrd},
		map[string][]byte{"g.cfg": diskGuest(1, "trim", "format=qcow2,vdev=xvda,access=rw,target=/data/vm/"+over)})
	if err != nil {
		return err
	}
	sum, err := h.writes("g.cfg")
	if err != nil {
		return err
	}
	for _, name := range []string{base, over} {
		if err := t.fromDataDisk(name); err != nil {
			return err
		}
	}
	if _, err := t.qemuImg("compare", "-f", "raw", "-F", "qcow2", builder.RootImage, base); err != nil {
		return fmt.Errorf("the image below was written: %w", err)
	}
	if err := t.trimmed(over, 8<<20); err != nil {
		return err
	}
	if _, err := t.qemuImg("convert", "-f", "qcow2", "-O", "raw", over, "raw"); err != nil {
		return err
	}
	return t.wrote("raw", sum)
}

// trimmed has an image checked, in which there may be most bytes of data.
func (t *T) trimmed(image string, most int) error {
	out, err := t.qemuImg("check", "-f", "qcow2", "--output=json", image)
	if err != nil {
		return err
	}
	var found struct {
		Allocated int `json:"allocated-clusters"`
		Leaks     int `json:"leaks"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return fmt.Errorf("qemu-img check: %w: %s", err, out)
	}
	const cluster = 64 << 10
	if found.Leaks != 0 || found.Allocated*cluster > most || found.Allocated == 0 {
		return fmt.Errorf("%s has %d clusters of data, %d lost: what was deleted and trimmed is still there", image, found.Allocated, found.Leaks)
	}
	return nil
}
