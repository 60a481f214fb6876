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
	root := func(name, what, device string, args []string) Case {
		return Case{Name: name, What: "a guest's root is a partition of the host's " + what + "; what it wrote is in the file afterwards",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: func(t *T) error { return diskPhy(t, device, args) }}
	}
	return []Case{
		{Name: "host-virtio-blk", What: "the driver of QEMU's virtio-blk disks reads, writes and flushes; disks and partitions are found at boot",
			Timeout: 4 * time.Minute, Run: virtioBlk},
		{Name: "host-nvme", What: "the same of QEMU's NVMe disks, of 512 and 4096-byte blocks, and of a namespace beside the first",
			Timeout: 4 * time.Minute, Run: nvmeDisks},
		{Name: "host-ahci", What: "the same of SATA disks at QEMU's AHCI controllers",
			Timeout: 4 * time.Minute, Run: sataDisks},
		{Name: "host-cd", What: "a guest reads the disc in the host's CD drive, is told when that is changed, and gets the new one",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: hostCD},
		{Name: "disk-pull", What: "a guest's NVMe, SATA and virtio disks have a bad sector, and then are pulled out: it gets errors, and all else is read and written; the log has a line for each disk",
			Needs: []string{builder.Vmlinux, builder.RootInitrd}, Timeout: 4 * time.Minute, Run: diskPull},
		root("disk-phy", "virtio disk", "vda1", virtioDisk("d.img", "")),
		root("nvme-root", "NVMe disk", "nvme0n1p1", nvmeDisk("d.img", "", "")),
		root("ahci-root", "SATA disk", "sda1", sataDisk("d.img", "")),
	}
}

// diskPhy boots a guest from a partition and compares what it wrote with what is there.
func diskPhy(t *T, device string, args []string) error {
	root, err := os.ReadFile(t.Out("guest", builder.RootImage))
	if err != nil {
		return err
	}
	if err := t.file("d.img", partitioned(root, 512)); err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 3, Args: args}, []string{builder.Vmlinux, builder.RootInitrd},
		map[string][]byte{"g.cfg": diskGuest(1, "write", "phy:/dev/"+device+",xvda,w")})
	if err != nil {
		return err
	}
	sum, err := h.writes("g.cfg")
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(t.dir, "d.img"))
	if err != nil {
		return err
	}
	if err := t.file("root.img", got[testDiskFirst*512:]); err != nil {
		return err
	}
	return t.wrote("root.img", sum)
}

// writes creates a guest g whose root is to be written (test=write), waits for its end, and
// powers off. It returns the sum of what the guest wrote.
func (h *Host) writes(config string) (sum string, err error) {
	if err := h.Send("xl create -c " + config + "\r"); err != nil {
		return "", err
	}
	if _, err := h.expect(`NIDUS-ROOT-UP /dev/xvda / ext4 rw`, 2*time.Minute); err != nil {
		return "", err
	}
	m, err := h.expect(`NIDUS-ROOT-OK ([0-9a-f]{32})`, time.Minute)
	if err != nil {
		return "", err
	}
	if _, err := h.expect(`NIDUS-ROOT-RO`, time.Minute); err != nil {
		return "", err
	}
	if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
		return "", err
	}
	if err := h.gone("g", 20*time.Second); err != nil {
		return "", err
	}
	return m.Groups[1], h.powerOff()
}

// wrote looks for what writes's guest wrote in the image of its root, a file of the case's.
func (t *T) wrote(image, sum string) error {
	data, err := exec.Command("/sbin/debugfs", "-R", "cat /data", filepath.Join(t.dir, image)).Output()
	if err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	if is := fmt.Sprintf("%x", md5.Sum(data)); is != sum {
		return fmt.Errorf("the file holds %d bytes with the sum %s, the guest wrote %s", len(data), is, sum)
	}
	return nil
}

const (
	testDiskSectors = 16 << 11 // of 512 bytes
	testDiskFirst   = 2048     // of its one partition
)

// testDisk makes a disk as images/selftest wants it: one partition, in which each sector
// holds 64 times its own number. Its table is that of a disk with blocks of so many bytes.
func testDisk(unit int) []byte {
	var b []byte
	for s := range uint64(testDiskSectors - testDiskFirst) {
		b = append(b, sectorOf(s)...)
	}
	return partitioned(b, unit)
}

// writtenDisk is what images/selftest makes of a testDisk.
func writtenDisk(unit int) []byte {
	b := testDisk(unit)
	flip := func(from, to int) {
		for s := from; s < to; s++ {
			copy(b[(testDiskFirst+s)*512:], sectorOf(^uint64(s)))
		}
	}
	const sectors = testDiskSectors - testDiskFirst
	flip(0, unit/512)
	flip(sectors/2, sectors)
	return b
}

// partitioned makes a disk with an MBR, whose one partition, from testDiskFirst on, is data.
func partitioned(data []byte, unit int) []byte {
	b := make([]byte, testDiskFirst*512, testDiskFirst*512+len(data))
	le := binary.LittleEndian
	b[446+4] = 0x83
	le.PutUint32(b[446+8:], uint32(testDiskFirst*512/unit))
	le.PutUint32(b[446+12:], uint32(len(data)/unit))
	b[510], b[511] = 0x55, 0xaa
	return append(b, data...)
}

func sectorOf(number uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, number), 64)
}

// drive are QEMU's arguments for a file that a device is to have.
func drive(file string) []string {
	return []string{"-drive", "file=" + file + ",if=none,id=d,format=raw,cache=writeback"}
}

// virtioDisk are QEMU's arguments for a disk.
func virtioDisk(file, options string) []string {
	return append(drive(file), "-device", "virtio-blk-pci,drive=d"+options)
}

// nvmeDisk are QEMU's arguments for an NVMe controller and its namespace.
func nvmeDisk(file, controller, namespace string) []string {
	return append(drive(file), "-device", "nvme,serial=s,id=c"+controller, "-device", "nvme-ns,bus=c,drive=d"+namespace)
}

// sataDisk are QEMU's arguments for a disk at the controller that q35 has.
func sataDisk(file, options string) []string {
	return append(drive(file), "-device", "ide-hd,drive=d"+options)
}

// diskSetting is a way in which QEMU offers a disk.
type diskSetting struct {
	cpus int
	unit int // bytes of a block
	args []string
}

func virtioBlk(t *T) error {
	disk := func(options string) []string { return virtioDisk("d.img", options) }
	return hostDisk(t, []diskSetting{
		{1, 512, disk("")}, // "transitional", with a queue
		{2, 512, disk(",disable-modern=on")},
		{4, 512, disk(",disable-legacy=on")},
		{2, 512, disk(",disable-legacy=on,indirect_desc=off")},
		{2, 512, disk(",disable-legacy=on,event_idx=off,queue-size=8,num-queues=1")},
		{2, 4096, disk(",disable-legacy=on,logical_block_size=4096,physical_block_size=4096")},
		{2, 512, disk(",disable-legacy=on,packed=on,write-cache=off")}, // packed isn't taken
	}, disk(",logical_block_size=512,physical_block_size=4096"),
		`disk vda: 16 MiB, sectors of 512 bytes, virtio-blk at \S+, with a write cache`, `vda1 has 15 MiB from sector 2048 on, type 83`)
}

func nvmeDisks(t *T) error {
	disk := func(controller, namespace string) []string { return nvmeDisk("d.img", controller, namespace) }
	return hostDisk(t, []diskSetting{
		{1, 512, disk("", "")},
		{4, 512, disk("", "")},
		{4, 4096, disk("", ",logical_block_size=4096,physical_block_size=4096")},
		{4, 512, disk(",max_ioqpairs=2,msix_qsize=2,mdts=3", ",nsid=5")},
		{2, 512, disk("", ",write-cache=off")},
	}, disk("", ",nsid=3,discard_granularity=4096"),
		`disk nvme0n3: 16 MiB, sectors of 512 bytes, NVMe QEMU NVMe Ctrl at \S+, namespace 3, with a write cache, discards`, `nvme0n3p1 has 15 MiB from sector 2048 on, type 83`)
}

func sataDisks(t *T) error {
	disk := func(options string) []string { return sataDisk("d.img", options) }
	other := append(drive("d.img"), "-device", "ich9-ahci,id=a", "-device", "ide-hd,drive=d,bus=a.3")
	return hostDisk(t, []diskSetting{
		{1, 512, disk("")},
		{4, 512, disk(",physical_block_size=4096,discard_granularity=512")},
		{2, 512, disk(",write-cache=off")},
		{2, 512, other},
	}, disk(",model=NIDUS"), `disk sda: 16 MiB, sectors of 512 bytes, SATA NIDUS at 00:1f.2, port \d, with a write cache`, `sda1 has 15 MiB from sector 2048 on, type 83`)
}

// hostDisk has the self-test drive a disk in the ways that QEMU offers one, and reads the
// file afterwards; the image then finds it, and its log has the lines.
func hostDisk(t *T, settings []diskSetting, found []string, lines ...string) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	for _, c := range settings {
		if err := t.file("d.img", testDisk(c.unit)); err != nil {
			return err
		}
		if err := t.selfTest(c.cpus, "only=disk", time.Minute, c.args...); err != nil {
			return fmt.Errorf("%d CPUs, %v: %w", c.cpus, c.args, err)
		}
		got, err := os.ReadFile(filepath.Join(t.dir, "d.img"))
		if err != nil {
			return err
		}
		want := writtenDisk(c.unit)
		for s := range testDiskSectors {
			if a, b := got[s*512:][:512], want[s*512:][:512]; !bytes.Equal(a, b) {
				return fmt.Errorf("%v: sector %d of the file begins with % x, not % x", c.args, s, a[:8], b[:8])
			}
		}
	}
	if err := t.file("d.img", testDisk(512)); err != nil {
		return err
	}
	h, err := t.boot(Boot{Args: found})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	for _, re := range lines {
		if !regexp.MustCompile(re).MatchString(out) {
			return fmt.Errorf("xl dmesg has no %q", re)
		}
	}
	return h.powerOff()
}
