package regress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/guests/writelog"
)

func powerCutCases() []Case {
	needs := []string{builder.Vmlinux, builder.RootInitrd}
	return []Case{
		{Name: "disk-power-cut", What: "the power goes 4 times while a guest writes and flushes, on ext4 and on a disk: what was flushed is there, and e2fsck finds no fault",
			Needs: needs, Timeout: 4 * time.Minute, Run: func(t *T) error { return t.powerCuts(1, 4) }},
		{Name: "disk-power-cuts", Long: true, What: "the same 50 times",
			Needs: needs, Timeout: 30 * time.Minute, Run: func(t *T) error { return t.powerCuts(10, 5) }},
	}
}

// A cut is of the host's disks F, with an ext4, and D: the files of QEMU. They are
// QEMU's qcow2 with clusters of a page: QEMU keeps in memory where new ones are until a
// flush, as a disk does with its write cache, and that is lost when it is killed.
const (
	cutMiB = 64
	cutF   = "f.qcow2"
	cutD   = "d.qcow2"
)

// powerCuts boots so often, with so many cuts each; the last one of each boot is a kill.
func (t *T) powerCuts(boots, cuts int) error {
	if err := debian.Install(t.Say, "qemu-utils", "e2fsprogs"); err != nil {
		return err
	}
	for boot := range boots {
		// Sectors of 4096 bytes on one disk, of 512 on the other, and in the next boot otherwise.
		sizes := [2]int{4096, 512}
		if boot%2 == 1 {
			sizes = [2]int{512, 4096}
		}
		if err := t.cutBoot(sizes, cuts); err != nil {
			return fmt.Errorf("boot %d: %w", boot, err)
		}
	}
	return nil
}

func (t *T) cutBoot(sectors [2]int, cuts int) error {
	for _, name := range []string{"empty.img", "ext4.img"} {
		if err := errors.Join(t.file(name, nil), os.Truncate(filepath.Join(t.dir, name), cutMiB<<20)); err != nil {
			return err
		}
	}
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", filepath.Join(t.dir, "ext4.img")).CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	var args []string
	for i, d := range [][2]string{{cutF, "ext4.img"}, {cutD, "empty.img"}} {
		if _, err := t.qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "-b", d[1], "-F", "raw", d[0]); err != nil {
			return err
		}
		args = append(args, "-drive", fmt.Sprintf("file=%s,if=none,id=d%d,format=qcow2,cache=writeback", d[0], i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=d%d,logical_block_size=%d,physical_block_size=4096", i, sectors[i]))
	}
	cfg := config("g", builder.Vmlinux, 1, 256, fmt.Sprintf("ramdisk = %q\ndisk = [ 'phy:/dev/vda,xvda,w', 'phy:/dev/vdb,xvdb,w' ]", builder.RootInitrd),
		`extra = "console=hvc0 loglevel=4 panic=1 test=cut"`)
	for _, name := range []string{builder.Vmlinux, builder.RootInitrd, "g.cfg"} {
		if err := os.Remove(filepath.Join(t.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // of the boot before
		}
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Args: args}, []string{builder.Vmlinux, builder.RootInitrd}, map[string][]byte{"g.cfg": cfg})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(fmt.Sprintf(`NIDUS-CUT-UP %d %d write back`, sectors[0], sectors[1]), 2*time.Minute); err != nil {
		return err
	}
	for _, log := range []string{"F", "D"} {
		if _, err := h.expect(log+` \d+\r?\n`, time.Minute); err != nil {
			return err
		}
	}
	for n := range cuts {
		time.Sleep(rand.N(time.Second)) // a random moment
		last := n == cuts-1
		if err := h.cut(last); err != nil {
			return fmt.Errorf("cut %d: %w", n, err)
		}
		flushed := flushedIn(h.Output())
		if err := t.afterCut(flushed); err != nil {
			return fmt.Errorf("cut %d, at %v, with %d and %d records flushed: %w", n, h.Since(), flushed['F'], flushed['D'], err)
		}
		if !last {
			if err := h.Resume(); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut leaves copies of the disks as they are when the power goes at this moment.
func (h *Host) cut(kill bool) error {
	end := h.Pause
	if kill {
		end = h.Kill
	}
	if err := end(); err != nil {
		return err
	}
	for _, name := range []string{cutF, cutD} {
		if err := copyFile(filepath.Join(h.t.dir, "cut-"+name), filepath.Join(h.t.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

var flushedLine = regexp.MustCompile(`\n([FD]) (\d+)\r?\n`)

// flushedIn finds how many records of each log the guest said were flushed.
func flushedIn(output string) map[byte]int {
	flushed := map[byte]int{}
	for at := flushedLine.FindStringSubmatchIndex(output); at != nil; at = flushedLine.FindStringSubmatchIndex(output) {
		n, err := strconv.Atoi(output[at[4]:at[5]])
		if log := output[at[2]]; err == nil {
			flushed[log] = max(flushed[log], n)
		}
		output = output[at[5]:] // the line's end begins the next one
	}
	return flushed
}

// afterCut looks at the copies that cut left.
func (t *T) afterCut(flushed map[byte]int) error {
	for _, name := range []string{cutF, cutD} {
		// Clusters that are lost are QEMU's business.
		if out, err := exec.Command("qemu-img", "check", "-q", "-f", "qcow2", "-r", "leaks", filepath.Join(t.dir, "cut-"+name)).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: qemu-img check: %w: %s", name, err, out)
		}
		if _, err := t.qemuImg("convert", "-f", "qcow2", "-O", "raw", "cut-"+name, name+".raw"); err != nil {
			return err
		}
	}
	d, err := os.Open(filepath.Join(t.dir, cutD+".raw"))
	if err != nil {
		return err
	}
	defer d.Close()
	f := filepath.Join(t.dir, cutF+".raw")
	// What a boot does: the journal is played back, and the counts are brought up to date.
	var exit *exec.ExitError
	if out, err := exec.Command("/sbin/e2fsck", "-p", f).CombinedOutput(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		return fmt.Errorf("e2fsck -p: %w: %s", err, out)
	}
	if err := t.fsck(cutF + ".raw"); err != nil {
		return err
	}
	file, err := exec.Command("/sbin/debugfs", "-R", "cat /log", f).Output()
	if err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	for log, r := range map[byte]io.Reader{'F': bytes.NewReader(file), 'D': d} {
		if err := writelog.Check(r, log, flushed[log]); err != nil {
			return err
		}
	}
	return nil
}
