// Package guests holds what is particular to the guests that this project boots
// for people, regressions and benchmarks: Debian's kernel with an initramfs.
package guests

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// Init is the initramfs's /init. It prints a line that begins with Up, then acts
// on the word test= of the kernel's command line.
//
//go:embed init.sh
var Init string

// RootInit is /sbin/init of the ext4 root.
//
//go:embed root-init.sh
var RootInit string

// InstallSmall installs a few packages from a CD on an empty disk, Install Debian's minbase
// with debootstrap; init starts what of them is install.sh on the CD (test=install).
// InstalledInit is /sbin/init of what Install installed; InstallSmall takes RootInit.
var (
	//go:embed install-small.sh
	InstallSmall string
	//go:embed install.sh
	Install string
	//go:embed installed-init.sh
	InstalledInit string
)

// PVHostileXen is what the guest pv-hostile printed under Debian's Xen 4.17: its attacks and
// their outcomes, in order.
//
//go:embed pv-hostile/xen-4.17.txt
var PVHostileXen string

// applets are the names of busybox in /bin.
const applets = `sh mount umount cat echo ls mkdir sleep poweroff reboot halt dmesg uname free
	grep sed cut head tail tr wc date ps kill env true false test seq setsid cttyhack
	awk clear cp dd df find hostname id ln more mknod mv nproc printf rm stty taskset time
	top uptime vi which insmod lsmod sync tar chroot md5sum switch_root blockdev cmp fstrim
	nslookup ip ping ping6 nc arping udhcpc wget httpd timeout touch ifconfig route hexdump sha256sum`

// AppletNames returns the names of busybox in /bin.
func AppletNames() []string { return strings.Fields(applets) }

// Scripts are further files. Linux runs the first two when its host asks it to shut
// down or reboot; init has nothing to tidy up. Regressions wait for what they print.
// udhcpc runs the last one when it has an address.
var Scripts = [...]Script{
	{"sbin/poweroff", "#!/bin/sh\necho NIDUS-GUEST-POWEROFF >/dev/console\nexec /bin/poweroff -f\n"},
	{"sbin/reboot", "#!/bin/sh\nexec /bin/reboot -f\n"},
	{"etc/dhcp", "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\nip route add default via $router\necho \"search $domain\nnameserver $dns\" >/etc/resolv.conf\n"},
}

// Script is an executable file of the initramfs.
type Script struct{ Name, Text string }

// Modules are drivers of Debian's kernel that init loads from /lib for the benchmark, and
// for guests that share pages.
var Modules = [...]string{"xen-evtchn.ko", "xen-gntalloc.ko", "xen-gntdev.ko"}

// DiskModules are drivers of Debian's kernel that init loads before it mounts root=, and for CDs, in
// this order; their folder is kernel/ of the modules.
var DiskModules = [...]string{"crypto/crc32c_generic.ko", "lib/crc16.ko", "fs/mbcache.ko", "fs/jbd2/jbd2.ko", "fs/ext4/ext4.ko", "drivers/cdrom/cdrom.ko", "fs/isofs/isofs.ko", "drivers/block/xen-blkfront.ko"}

// MemoryModules is a driver of Debian's kernel, likewise, that makes a disk of memory: what a guest's is compared with.
var MemoryModules = [...]string{"drivers/block/brd.ko"}

// NetModules are drivers of Debian's kernel that init loads if it is told net=, likewise.
var NetModules = [...]string{"drivers/net/xen-netfront.ko"}

// GrubMenu is /boot/grub/grub.cfg of a disk whose kernel GRUB loads as a PV guest. It
// waits for who chooses.
const GrubMenu = `set timeout=-1
menuentry "Nidus: not this one" {
	echo NIDUS-GRUB-WRONG
}
menuentry "Nidus: the kernel of this disk" {
	linux /boot/vmlinuz root=/dev/xvda rw console=hvc0 loglevel=4 panic=1 test=write
	initrd /boot/initrd.gz
}
`

// DebianConfig is the domain that run starts.
const DebianConfig = `# Debian's kernel and a shell, as a PVH domain.
name    = "debian"
type    = "pvh"
kernel  = "vmlinuz"
ramdisk = "initrd.gz"
memory  = 256
vcpus   = 1
vif     = [ "bridge=nat" ]
extra   = "console=hvc0 loglevel=4 net=dhcp"
`

// PVPCIDConfig is the domain of the guest pv-pcid.
const PVPCIDConfig = `name   = "pcid"
type   = "pv"
kernel = "pv-pcid"
memory = 32
`

// Fields of a bzImage: Linux's boot.rst, "The real-mode kernel header".
const (
	bzSetupSects    = 0x1f1
	bzMagic         = 0x202
	bzPayloadOffset = 0x248
	bzPayloadLength = 0x24c
	bzHeaderEnd     = 0x250
)

// payload is where in a bzImage the packed ELF file is.
func payload(bzImage []byte) (start, end uint64, err error) {
	if len(bzImage) < bzHeaderEnd || string(bzImage[bzMagic:bzMagic+4]) != "HdrS" {
		return 0, 0, errors.New("not a bzImage")
	}
	le := binary.LittleEndian
	start = (uint64(bzImage[bzSetupSects])+1)*512 + uint64(le.Uint32(bzImage[bzPayloadOffset:]))
	end = start + uint64(le.Uint32(bzImage[bzPayloadLength:]))
	if end > uint64(len(bzImage)) {
		return 0, 0, fmt.Errorf("bzImage of %d bytes ends before its payload, at %d", len(bzImage), end)
	}
	return start, end, nil
}

// Repack makes a bzImage with another payload; what follows it in the old one is
// left out.
func Repack(bzImage, packed []byte) ([]byte, error) {
	start, _, err := payload(bzImage)
	if err != nil {
		return nil, err
	}
	out := slices.Concat(bzImage[:start], packed)
	binary.LittleEndian.PutUint32(out[bzPayloadLength:], uint32(len(packed)))
	return out, nil
}

// Vmlinux takes the ELF file out of a bzImage.
func Vmlinux(bzImage []byte) ([]byte, error) {
	start, end, err := payload(bzImage)
	if err != nil {
		return nil, err
	}
	elf, err := unpack(bzImage[start:end])
	if err != nil {
		return nil, fmt.Errorf("bzImage's payload: %w", err)
	}
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
		return nil, errors.New("bzImage's payload is no ELF file")
	}
	return elf, nil
}

// unpack undoes the packings that Debian's kernels have had. Four bytes with the
// unpacked size follow the packed data.
func unpack(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		r, err := xz.NewReader(bytes.NewReader(data), xz.DefaultDictMax)
		if err != nil {
			return nil, err
		}
		r.Multistream(false)
		return io.ReadAll(r)
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		r.Multistream(false)
		return io.ReadAll(r)
	case bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) && len(data) > 4:
		r, err := zstd.NewReader(bytes.NewReader(data[:len(data)-4]))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return nil, fmt.Errorf("packed in a way that is not known here: it begins with % x", data[:min(6, len(data))])
}
