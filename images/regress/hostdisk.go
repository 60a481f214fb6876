package regress

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"nidus/images/builder"
)

// hostDiskCases show the host's own disks.
func hostDiskCases() []Case {
	return []Case{hostVirtioBlk(), {Name: "disk-phy", What: "a guest's root is a partition of the host's virtio disk; what it wrote is in the file afterwards",
		Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: diskPhy}}
}

// diskPhy boots a guest from /dev/vda1 and compares what it wrote with what is there.
func diskPhy(t *T) error {
	root, err := os.ReadFile(t.Out("guest", builder.RootImage))
	if err != nil {
		return err
	}
	if err := t.file("d.img", partitioned(root)); err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Args: virtioDisk("d.img", "")}, []string{builder.Vmlinux, builder.RootInitrd},
		map[string][]byte{"g.cfg": diskGuest(1, "write", "phy:/dev/vda1,xvda,w")})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-ROOT-UP /dev/xvda / ext4 rw`, 2*time.Minute); err != nil {
		return err
	}
	m, err := h.expect(`NIDUS-ROOT-OK ([0-9a-f]{32})`, time.Minute)
	if err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-ROOT-RO`, time.Minute); err != nil {
		return err
	}
	if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
		return err
	}
	if err := h.gone("g", 20*time.Second); err != nil {
		return err
	}
	if err := h.powerOff(); err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(t.dir, "d.img"))
	if err != nil {
		return err
	}
	if err := t.file("root.img", got[testDiskFirst*512:]); err != nil {
		return err
	}
	data, err := exec.Command("/sbin/debugfs", "-R", "cat /data", filepath.Join(t.dir, "root.img")).Output()
	if err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	if sum := fmt.Sprintf("%x", md5.Sum(data)); sum != m.Groups[1] {
		return fmt.Errorf("the file holds %d bytes with the sum %s, the guest wrote %s", len(data), sum, m.Groups[1])
	}
	return nil
}

func hostVirtioBlk() Case {
	return Case{Name: "host-virtio-blk", What: "the driver of QEMU's virtio-blk disks reads, writes and flushes; disks and partitions are found at boot",
		Timeout: 4 * time.Minute, Run: virtioBlk}
}

const (
	testDiskSectors = 16 << 11 // of 512 bytes
	testDiskFirst   = 2048     // of its one partition
)

// testDisk makes a disk as images/selftest wants it: one partition, in which each sector
// holds 64 times its own number.
func testDisk() []byte {
	var b []byte
	for s := range uint64(testDiskSectors - testDiskFirst) {
		b = append(b, sectorOf(s)...)
	}
	return partitioned(b)
}

// partitioned makes a disk with an MBR, whose one partition, from testDiskFirst on, is data.
func partitioned(data []byte) []byte {
	b := make([]byte, testDiskFirst*512, testDiskFirst*512+len(data))
	le := binary.LittleEndian
	b[446+4] = 0x83
	le.PutUint32(b[446+8:], testDiskFirst)
	le.PutUint32(b[446+12:], uint32(len(data)/512))
	b[510], b[511] = 0x55, 0xaa
	return append(b, data...)
}

func sectorOf(number uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, number), 64)
}

// virtioDisk are QEMU's arguments for a disk.
func virtioDisk(file, options string) []string {
	return []string{"-drive", "file=" + file + ",if=none,id=d,format=raw,cache=writeback", "-device", "virtio-blk-pci,drive=d" + options}
}

// virtioBlk has the self-test drive a disk in the ways that QEMU offers one, and reads the
// file afterwards; the image then finds it.
func virtioBlk(t *T) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	want := testDisk()
	copy(want[testDiskFirst*512:], sectorOf(^uint64(0)))
	const half = (testDiskSectors - testDiskFirst) / 2
	for s := uint64(half); s < 2*half; s++ {
		copy(want[(testDiskFirst+s)*512:], sectorOf(^s))
	}
	for _, c := range []struct {
		cpus    int
		options string
	}{
		{1, ""}, // "transitional", with a queue
		{2, ",disable-modern=on"},
		{4, ",disable-legacy=on"},
		{2, ",disable-legacy=on,indirect_desc=off"},
		{2, ",disable-legacy=on,event_idx=off,queue-size=8,num-queues=1"},
		{2, ",disable-legacy=on,packed=on,write-cache=off"}, // packed isn't taken
	} {
		if err := t.file("d.img", testDisk()); err != nil {
			return err
		}
		if err := t.selfTest(c.cpus, "only=disk", time.Minute, virtioDisk("d.img", c.options)...); err != nil {
			return fmt.Errorf("%d CPUs, virtio-blk-pci%s: %w", c.cpus, c.options, err)
		}
		got, err := os.ReadFile(filepath.Join(t.dir, "d.img"))
		if err != nil {
			return err
		}
		for s := range testDiskSectors {
			if a, b := got[s*512:][:512], want[s*512:][:512]; !bytes.Equal(a, b) {
				return fmt.Errorf("virtio-blk-pci%s: sector %d of the file begins with % x, not % x", c.options, s, a[:8], b[:8])
			}
		}
	}
	h, err := t.boot(Boot{Args: virtioDisk("d.img", ",logical_block_size=512,physical_block_size=4096")})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	for _, re := range []string{`disk vda: 16 MiB, sectors of 512 bytes, virtio-blk at \S+, with a write cache`, `vda1 has 15 MiB from sector 2048 on, type 83`} {
		if !regexp.MustCompile(re).MatchString(out) {
			return fmt.Errorf("xl dmesg has no %q", re)
		}
	}
	return h.powerOff()
}
