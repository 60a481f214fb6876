package regress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"nidus/images/builder"
	"nidus/images/debian"
)

// dataDisk makes d.img in the case's folder: a disk with one partition, FAT32 of so many
// MiB, with files of the case's folder in its folder vm. Its sectors have unit bytes.
func (t *T) dataDisk(mib, unit int, files ...string) error {
	if err := debian.Install(t.Say, "mtools"); err != nil {
		return err
	}
	d := filepath.Join(t.dir, "d.img")
	table := partitioned(nil, unit)
	binary.LittleEndian.PutUint32(table[446+12:], uint32(mib<<20/unit))
	if err := errors.Join(os.WriteFile(d, table, 0o644), os.Truncate(d, testDiskFirst*512+int64(mib)<<20)); err != nil {
		return err
	}
	if err := t.dosTool("mformat", "-F", "-M", fmt.Sprint(unit), "-T", fmt.Sprint(mib<<20/unit), "-h", "16", "-s", "63", "::"); err != nil {
		return err
	}
	if err := t.dosTool("mmd", "::vm"); err != nil {
		return err
	}
	for _, name := range files {
		if err := t.dosTool("mcopy", "-Q", filepath.Join(t.dir, name), "::vm/"+name); err != nil {
			return err
		}
	}
	return nil
}

// grow makes a file of the case's so many bytes longer.
func (t *T) grow(name string, more int64) error {
	file := filepath.Join(t.dir, name)
	i, err := os.Stat(file)
	if err != nil {
		return err
	}
	return os.Truncate(file, i.Size()+more)
}

// fromDataDisk copies a file of the partition on d.img into the case's folder.
func (t *T) fromDataDisk(name string) error {
	if err := os.RemoveAll(filepath.Join(t.dir, name)); err != nil { // maybe a link to what it was made from
		return err
	}
	return t.dosTool("mcopy", "-n", "-o", "::vm/"+name, filepath.Join(t.dir, name))
}

// dosTool runs one of mtools on the partition of d.img.
func (t *T) dosTool(name string, args ...string) error {
	out, err := exec.Command(name, append([]string{"-i", fmt.Sprintf("%s@@%d", filepath.Join(t.dir, "d.img"), testDiskFirst*512)}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return err
}

// diskFile boots a guest all of which is on the data partition, which is part, of sectors of
// unit bytes.
func diskFile(t *T, part string, unit int, args []string) error {
	const root = "file:/data/vm/" + builder.RootImage + ",xvda,w"
	files := []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}
	for _, name := range files {
		if err := t.part(name, ""); err != nil {
			return err
		}
	}
	for _, c := range []struct{ name, disks string }{
		{"g.cfg", "'" + root + "'"}, {"none.cfg", "'file:/data/vm/none,xvda,w'"},
		// The same file can't be written twice, nor the partition beside it.
		{"twice.cfg", "'" + root + "', '/data/VM/" + builder.RootImage + ",raw,xvdb,r'"}, {"part.cfg", "'" + root + "', 'phy:/dev/" + part + ",xvdb,r'"},
	} {
		cfg := config("g", "/data/vm/"+builder.Vmlinux, 1, 256, fmt.Sprintf("ramdisk = %q\ndisk = [ %s ]", "/data/vm/"+builder.RootInitrd, c.disks),
			`root = "/dev/xvda rw"`, `extra = "console=hvc0 loglevel=4 panic=1 test=write"`)
		if err := t.file(c.name, cfg); err != nil {
			return err
		}
		files = append(files, c.name)
	}
	if err := t.dataDisk(320, unit, files...); err != nil {
		return err
	}
	h, err := t.boot(Boot{CPUs: 3, MemoryMiB: 1024, Line: "data=" + part, Args: args})
	if err != nil {
		return err
	}
	err = errors.Join(
		h.mustFail(`no file vm/none`, "xl create /data/vm/none.cfg"),
		h.mustFail(`VM/root.img is a disk of another domain already`, "xl create /data/vm/twice.cfg"),
		h.mustFail(`in use`, "xl create /data/vm/part.cfg"),
	)
	if err != nil {
		return err
	}
	sum, err := h.writes("/data/vm/g.cfg")
	if err != nil {
		return err
	}
	if err := t.fromDataDisk(builder.RootImage); err != nil {
		return err
	}
	return t.wrote(builder.RootImage, sum)
}
