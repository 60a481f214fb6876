package regress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nidus/images/builder"
)

func diskCases() []Case {
	return append([]Case{
		{Name: "disk-debian-root", What: "a guest's root is ext4 on /dev/xvda, a boot module's copy in memory: what it writes comes back, and nothing is lost of the host",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 5 * time.Minute, Run: func(t *T) error { return diskRoot(t, pvh) }},
		{Name: "block-hotplug", What: "a guest gets a disk while it runs, and loses it: with its consent, and without",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: blockHotplug},
		{Name: "disk-file", What: "a guest's configuration, kernel, ramdisk and root are files of the host's data partition; what it wrote is in the file afterwards",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: func(t *T) error { return diskFile(t, "vda1", 512, virtioDisk("d.img", "")) }},
		{Name: "disk-file-4096", What: "the same on an NVMe disk with sectors of 4096 bytes; the guest's have 512, and its ext4 has blocks of 1024",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: func(t *T) error {
				return diskFile(t, "nvme0n1p1", 4096, nvmeDisk("d.img", "", ",logical_block_size=4096,physical_block_size=4096"))
			}},
		{Name: "disk-qcow2", What: "a guest's root is a qcow2 image over a compressed one: it boots, writes and trims, and qemu-img finds what it wrote, no error, the space given back, and the image below as it was",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: diskQcow2},
		{Name: "disk-file-grows", What: "a guest's root is a thin qcow2 image, a file in FAT32: the guest writes more than the file had, and afterwards qemu-img and fsck.vfat find no fault",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: diskFileGrows},
		{Name: "disk-file-holes", What: "a guest's root is a file with holes in ext4: what the guest writes is in the file, and e2fsck finds no fault",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: diskFileHoles},
		{Name: "disk-errors", What: "a guest gets errors where a host's disk has bad places or is full, goes away, or an image can't grow, and nowhere else; the console says it once for each",
			Needs: []string{builder.Vmlinux, builder.RootInitrd}, Timeout: 4 * time.Minute, Run: diskErrors},
		{Name: "cdrom-swap", What: "a CD drive of a guest gets a disc, another one, none, and one again, and the guest that runs sees each",
			Needs: []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, Timeout: 4 * time.Minute, Run: cdromSwap},
	}, slices.Concat(installCases(), powerCutCases())...)
}

// rootDisk is the root file system as a disk whose writes stay in memory.
const rootDisk = "file:/" + builder.RootImage + ",xvda,w"

// diskGuest is a configuration of Debian's kernel with a root on its first disk; test is
// what the init there does.
func diskGuest(vcpus int, test string, disks ...string) []byte {
	return config("g", builder.Vmlinux, vcpus, 256, fmt.Sprintf("ramdisk = %q\ndisk = [ '%s' ]", builder.RootInitrd, strings.Join(disks, "', '")),
		`root = "/dev/xvda rw"`, fmt.Sprintf("extra = %q", "console=hvc0 loglevel=4 panic=1 test="+test))
}

// diskRoot boots a guest twice from one image: what the first wrote, the second, whose
// disk is another copy, has not.
func diskRoot(t *T, p personality) error {
	h, err := t.bootGuests(p.host(Boot{CPUs: 3}), []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage},
		map[string][]byte{"g.cfg": p.guest(diskGuest(2, "write", rootDisk, "ram:8M,raw,xvdb,w"))})
	if err != nil {
		return err
	}
	free := 0
	for i := range 2 {
		if err := h.Send("xl create -c g.cfg\r"); err != nil {
			return err
		}
		if _, err := h.guestUp(2, 2*time.Minute); err != nil {
			return err
		}
		m, err := h.expect(`NIDUS-ROOT-UP ([^\n]*)\n`, time.Minute)
		if err != nil {
			return err
		}
		if !strings.Contains(m.Groups[1], "/dev/xvda / ext4 rw") {
			return fmt.Errorf("the guest's root is %q", m.Groups[1])
		}
		for _, line := range []string{`NIDUS-ROOT-OK [0-9a-f]{32}`, `NIDUS-ROOT-RO`} {
			if _, err := h.expect(line, time.Minute); err != nil {
				return err
			}
		}
		if err := h.prompt(time.Minute); err != nil { // the console ends with its domain
			return err
		}
		if err := h.gone("g", 20*time.Second); err != nil {
			return err
		}
		if i == 0 { // what Go's heap keeps after the first domain is no loss
			if free, err = h.info("free_memory"); err != nil {
				return err
			}
		}
	}
	if err := h.freeAgain(free); err != nil {
		return err
	}
	return h.powerOff()
}

// rootUp creates the domain of g.cfg, a diskGuest, waits until it has its root, and leaves
// its console.
func (h *Host) rootUp() error {
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`NIDUS-ROOT-UP`, 2*time.Minute); err != nil {
		return err
	}
	return h.leave()
}
