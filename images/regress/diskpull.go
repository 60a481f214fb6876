package regress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nidus/images/builder"
)

// badSector has QEMU's block layer fail what touches the sector at 1 MiB.
const badSector = `[inject-error]
event = "read_aio"
errno = "5"
sector = "2048"
once = "off"

[inject-error]
event = "write_aio"
errno = "5"
sector = "2048"
once = "off"
`

// diskPull has a guest use disks of which a sector is bad, and pulls them out.
func diskPull(t *T) error {
	if err := t.file("bad.conf", []byte(badSector)); err != nil {
		return err
	}
	args := append(monitorArgs(),
		"-device", "pcie-root-port,id=p0,chassis=1", "-device", "pcie-root-port,id=p1,chassis=2", "-device", "pcie-root-port,id=p2,chassis=3",
		"-device", "nvme,serial=s,id=pull0,bus=p0", "-device", "nvme-ns,bus=pull0,drive=d0,logical_block_size=4096,physical_block_size=4096",
		"-device", "ich9-ahci,id=pull1,bus=p1", "-device", "ide-hd,bus=pull1.2,drive=d1",
		"-device", "virtio-blk-pci,id=pull2,bus=p2,drive=d2,werror=report")
	for i := range 3 {
		name := fmt.Sprintf("d%d.img", i)
		if err := errors.Join(t.file(name, nil), os.Truncate(filepath.Join(t.dir, name), 16<<20)); err != nil {
			return err
		}
		args = append(args, "-drive", fmt.Sprintf("file=blkdebug:bad.conf:%s,if=none,id=d%d,format=raw,cache=writeback", name, i))
	}
	cfg := config("g", builder.Vmlinux, 1, 256, fmt.Sprintf("ramdisk = %q\ndisk = [ 'phy:/dev/nvme0n1,xvda,w', 'phy:/dev/sda,xvdb,w', 'phy:/dev/vda,xvdc,w' ]", builder.RootInitrd),
		`extra = "console=hvc0 loglevel=1 panic=1 test=pull"`)
	h, err := t.bootGuests(Boot{CPUs: 3, Args: args}, []string{builder.Vmlinux, builder.RootInitrd}, map[string][]byte{"g.cfg": cfg})
	if err != nil {
		return err
	}
	m, err := t.monitor()
	if err != nil {
		return err
	}
	defer m.Close()
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	for _, line := range []string{"NIDUS-ERRORS xvda 4096 good=21 bad=20", "NIDUS-ERRORS xvdb 512 good=21 bad=20", "NIDUS-ERRORS xvdc 512 good=21 bad=20"} {
		if _, err := h.expect(line, 2*time.Minute); err != nil {
			return err
		}
	}
	for i, disk := range []string{"xvda", "xvdb", "xvdc"} {
		if _, err := h.expect("NIDUS-PULL "+disk, time.Minute); err != nil {
			return err
		}
		if err := m.pull(fmt.Sprintf("pull%d", i), 2-i); err != nil {
			return err
		}
		if _, err := h.expect("NIDUS-GONE "+disk, time.Minute); err != nil {
			return err
		}
	}
	if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
		return err
	}
	// The host looks at its slots a few times a second, and the guest, told by its next request, may be gone by then.
	for end := time.Now().Add(t.within(20 * time.Second)); ; time.Sleep(200 * time.Millisecond) {
		out, err := h.mustDo("xl dmesg")
		if err != nil {
			return err
		}
		if err = pullsLogged(out); err == nil {
			return h.powerOff()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// pullsLogged tells what is wrong of the log's lines.
func pullsLogged(log string) error {
	for line, want := range map[string]int{
		"further errors of this disk are not shown": 3,
		"are done one by one":                       1, // QEMU's SATA disks have no log of errors
		"it was pulled out: /dev/":                  3,
	} {
		if n := strings.Count(log, line); n != want {
			return fmt.Errorf("the log has %q %d times, not %d", line, n, want)
		}
	}
	return nil
}

// pull takes a device out of its slot as nobody asked for it: QEMU would have the guest's ACPI
// eject it, by these ports (QEMU's docs/specs/acpi_pci_hotplug.txt), of which our host knows
// nothing. Its buses are numbered, the ports of the root backwards. The processors stand still meanwhile, with
// whatever they have in flight: QEMU 7.2's NVMe crashes when it begins a command after its namespace has
// gone, as it does if a processor has rung the doorbell just before.
func (m hmp) pull(id string, bus int) error {
	return m.do(fmt.Sprintf("stop\ndevice_del %s\no /4 0xcd0 %d\no /4 0xcc8 1\ncont", id, bus))
}
