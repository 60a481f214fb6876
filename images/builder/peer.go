package builder

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"nidus/images/debian"
	"nidus/images/guests"
	"nidus/images/initramfs"
)

// The parts of Debian's Xen, under out/peer.
const (
	PeerXen    = "xen"         // the hypervisor, unpacked
	PeerKernel = "vmlinuz"     // dom0's kernel
	PeerInitrd = "dom0-ird.gz" // its initramfs
	PeerDisk   = "dom0.tar"    // what it runs, as the content of a disk
)

const (
	peerSuite      = "bookworm"
	peerHypervisor = "xen-hypervisor-4.17-amd64"
	peerTools      = "xen-utils-4.17,xenstore-utils,iproute2"
)

// peerModules are drivers of Debian's kernel that dom0's initramfs loads, in
// order: its disk, then what Xen's tools use, then a guest's disk in memory and network.
var peerModules = []string{
	"virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci", "block/virtio_blk",
	"xen/xen-privcmd", "xen/xenfs/xenfs", "xen/xen-evtchn", "xen/xen-gntdev", "xen/xen-gntalloc", "block/brd", "block/xen-blkback/xen-blkback",
	"../net/llc/llc", "../net/802/stp", "../net/bridge/bridge", "net/xen-netback/xen-netback",
}

// peerParts are the guests' parts that Xen boots.
var peerParts = []string{Vmlinuz, Vmlinux, Initrd, RootInitrd, Calls, PVCalls}

//go:embed peer-init.sh
var peerInit string

// Peer makes Xen 4.17 of Debian's packages with a dom0 whose console has a shell
// with the guests' parts and the files in /guests. It needs root, as debootstrap
// does.
func (b *Builder) Peer(files map[string][]byte) error {
	if err := debian.Install(b.Say, "debootstrap", "tar"); err != nil {
		return err
	}
	if err := b.Guests(peerParts...); err != nil {
		return err
	}
	packed, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: peerHypervisor, Pattern: "boot/xen-*-amd64.gz"})
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	xen, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	kernel, err := b.vmlinuz()
	if err != nil {
		return err
	}
	initrd, err := b.peerInitrd()
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{PeerXen: xen, PeerKernel: kernel, PeerInitrd: initrd} {
		if err := writeIfChanged(b.Out("peer", name), data, 0o644); err != nil {
			return err
		}
	}
	return b.peerDisk(files)
}

// peerDisk makes dom0's root file system with debootstrap, once, and packs it.
func (b *Builder) peerDisk(files map[string][]byte) error {
	root := b.Out("peer", "root")
	// One without ip(8) is from before networks were measured.
	if _, err := os.Stat(filepath.Join(root, "bin", "ip")); err != nil {
		fmt.Fprintln(b.Say, "making a root file system with debootstrap:", peerTools)
		if err := b.command("debootstrap", "--variant=minbase", "--include="+peerTools, peerSuite, root+".new"); err != nil {
			os.RemoveAll(root + ".new")
			return err
		}
		if err := os.RemoveAll(root); err != nil {
			return err
		}
		if err := os.Rename(root+".new", root); err != nil {
			return err
		}
	}
	for _, name := range peerParts {
		data, err := os.ReadFile(b.Out("guest", name))
		if err != nil {
			return err
		}
		if err := writeIfChanged(filepath.Join(root, "guests", name), data, 0o644); err != nil {
			return err
		}
	}
	bench, err := os.ReadFile(b.Out("guest", "bench"))
	if err != nil {
		return err
	}
	if err := writeIfChanged(filepath.Join(root, "guests", "bench"), bench, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := writeIfChanged(filepath.Join(root, "guests", name), data, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command("tar", "-C", root, "--exclude=./usr/share/doc", "--exclude=./usr/share/locale", "--exclude=./usr/share/man",
		"--exclude=./var/cache/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*",
		"--record-size=1M", "-cf", b.Out("peer", PeerDisk), ".")
	return b.run(cmd)
}

func (b *Builder) peerInitrd() ([]byte, error) {
	busybox, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: "busybox-static", Pattern: "bin/busybox"})
	if err != nil {
		return nil, err
	}
	kernel, err := debian.Kernel()
	if err != nil {
		return nil, err
	}
	var m initramfs.Image
	m.File("init", 0o755, []byte(peerInit))
	m.File("bin/busybox", 0o755, busybox)
	for _, applet := range guests.AppletNames() {
		m.Link("bin/"+applet, "busybox")
	}
	for i, name := range peerModules {
		ko, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: kernel, Pattern: path.Join("lib/modules/*/kernel/drivers", name+".ko")})
		if err != nil {
			return nil, err
		}
		m.File(fmt.Sprintf("mods/%02d-%s.ko", i, path.Base(name)), 0o644, ko)
	}
	for _, dir := range []string{"dev", "proc", "sys", "mnt"} {
		m.Dir(dir)
	}
	return m.Pack()
}
