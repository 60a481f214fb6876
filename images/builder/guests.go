package builder

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"

	"nidus/images/debian"
	"nidus/images/guests"
	"nidus/images/initramfs"
)

// The parts of the guests; each is made once and kept under out/guest.
const (
	Vmlinuz     = "vmlinuz"        // Debian's kernel, a bzImage
	Vmlinux     = "vmlinux"        // the ELF file in it
	Initrd      = "initrd.gz"      // busybox, the guests' init, the benchmark program
	RootInitrd  = "initrd-disk.gz" // the same, and drivers for root=/dev/xvda
	RootImage   = "root.img"       // busybox on ext4
	PVGrub      = "pvgrub"         // GRUB as a PVH guest
	PVGrub64    = "pvgrub64"       // as a PV one of 64 bits
	PVGrub32    = "pvgrub32"       // and of 32
	GrubDisk    = "grub.img"       // RootImage with a kernel and GRUB's menu
	PVHostile   = "pv-hostile"     // the PV guest that tries to get at what isn't its own
	PVBalloon   = "pv-balloon"     // the PV guest that gives frames back and gets others
	PVCalls     = "pv-calls"       // Calls as a PV guest
	PVKept      = "pv-kept"        // the PV guest that takes pages from a vcpu that sleeps
	PVPCID      = "pv-pcid"        // the PV guest that changes between its kernel and a process
	PVPCIDCfg   = "pv-pcid.cfg"    // its configuration
	PV32Hostile = "pv32-hostile"   // as pv-hostile, of 32 bits
	PVModules   = "pv-modules"     // the PV guest that reads its modules
	PV32Modules = "pv32-modules"   // and the one of 32 bits
	PV32SMP     = "pv32-smp"       // the 32-bit PV guest with four vcpus
	GNUMach     = "gnumach"        // GNU's kernel, as a PV guest of 32 bits
	Hostile     = "hostile"        // the guest that misbehaves
	Calls       = "calls"          // the guest that measures calls of the hypervisor
	SIPI        = "sipi"           // the guest that starts its vcpus in every way
	DebianCfg   = "debian.cfg"
	SmallCD     = "install-small.iso" // a CD with two packages, which install.sh on it installs
	DebianCD    = "install.iso"       // the same with Debian's minbase and debootstrap
)

// Guests makes those of the parts that are named.
func (b *Builder) Guests(names ...string) error {
	for _, name := range names {
		var data []byte
		var err error
		switch name {
		case Vmlinuz:
			data, err = b.vmlinuz()
		case Vmlinux:
			if data, err = b.vmlinuz(); err == nil {
				data, err = guests.Vmlinux(data)
			}
		case Initrd:
			data, err = b.initrd(false)
		case RootInitrd:
			data, err = b.initrd(true)
		case RootImage:
			data, err = b.rootImage(32, nil)
		case PVGrub:
			data, err = b.grub("i386-xen_pvh")
		case PVGrub64:
			data, err = b.grub("x86_64-xen")
		case PVGrub32:
			data, err = b.grub("i386-xen")
		case GrubDisk:
			data, err = b.grubDisk()
		case GNUMach:
			// The package for amd64 has a kernel of 64 bits.
			data, err = debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: "gnumach-image-1.8-xen-486:i386", Pattern: "boot/gnumach-*-xen-486.gz"})
		case Hostile, Calls, SIPI:
			data, err = b.assembled(name, "--64", "elf_x86_64", "images/guests/hostile/hostile.ld")
		case PV32SMP, PV32Hostile, PV32Modules:
			data, err = b.assembled(name, "--32", "elf_i386", "images/guests/asm/pv32.ld")
		case PVHostile, PVBalloon, PVCalls, PVModules, PVPCID, PVKept:
			data, err = b.assembled(name, "--64", "elf_x86_64", "images/guests/asm/pv.ld")
		case SmallCD:
			data, err = b.smallCD()
		case DebianCD:
			data, err = b.debianCD()
		case PVPCIDCfg:
			data = []byte(guests.PVPCIDConfig)
		case DebianCfg:
			data = []byte(guests.DebianConfig)
		default:
			err = errors.New("there is no such part")
		}
		if err == nil {
			err = writeIfChanged(b.Out("guest", name), data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("guest's %s: %w", name, err)
		}
	}
	return nil
}

func (b *Builder) vmlinuz() ([]byte, error) {
	pkg, err := debian.Kernel()
	if err != nil {
		return nil, err
	}
	return debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: pkg, Pattern: "boot/vmlinuz-*"})
}

func (b *Builder) initrd(disk bool) ([]byte, error) {
	busybox, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: "busybox-static", Pattern: "bin/busybox"})
	if err != nil {
		return nil, err
	}
	// Kept static and without a build id, for the same bytes everywhere.
	bench := b.Out("guest", "bench")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", bench, "./images/guests/bench")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0")
	if err := b.run(cmd); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(bench)
	if err != nil {
		return nil, err
	}
	var m initramfs.Image
	m.File("init", 0o755, []byte(guests.Init))
	m.File("bin/busybox", 0o755, busybox)
	for _, applet := range guests.AppletNames() {
		m.Link("bin/"+applet, "busybox")
	}
	m.File("bin/bench", 0o755, program)
	kernel, err := debian.Kernel()
	if err != nil {
		return nil, err
	}
	for _, name := range guests.Modules {
		ko, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: kernel, Pattern: "lib/modules/*/kernel/drivers/xen/" + name})
		if err != nil {
			return nil, err
		}
		m.File("lib/"+name, 0o644, ko)
	}
	drivers := map[string][]string{"net": guests.NetModules[:]}
	if disk {
		drivers["disk"] = guests.DiskModules[:]
		drivers["memory"] = guests.MemoryModules[:]
	}
	for _, folder := range slices.Sorted(maps.Keys(drivers)) {
		for i, name := range drivers[folder] {
			ko, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: kernel, Pattern: "lib/modules/*/kernel/" + name})
			if err != nil {
				return nil, err
			}
			m.File(fmt.Sprintf("lib/%s/%02d-%s", folder, i, path.Base(name)), 0o644, ko)
		}
	}
	for _, s := range guests.Scripts {
		m.File(s.Name, 0o755, []byte(s.Text))
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "root", "mnt"} {
		m.Dir(dir)
	}
	return m.Pack()
}

// grub is GRUB as a guest of that platform.
func (b *Builder) grub(platform string) ([]byte, error) {
	return debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: "grub-xen-host", Pattern: "usr/lib/grub-xen/grub-" + platform + ".bin"})
}

// grubDisk makes a root file system whose kernel GRUB finds by the menu there.
func (b *Builder) grubDisk() ([]byte, error) {
	kernel, err := b.vmlinuz()
	if err != nil {
		return nil, err
	}
	initrd, err := b.initrd(true)
	if err != nil {
		return nil, err
	}
	return b.rootImage(64, map[string][]byte{"boot/vmlinuz": kernel, "boot/initrd.gz": initrd, "boot/grub/grub.cfg": []byte(guests.GrubMenu)})
}

// assembled makes a guest without an operating system, images/guests/NAME: the assembler's
// mode, the linker's, and its script.
func (b *Builder) assembled(name, mode, emulation, script string) ([]byte, error) {
	if err := debian.Install(b.Say, "binutils"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.Out("guest"), 0o755); err != nil {
		return nil, err
	}
	elf := b.Out("guest", name+".elf")
	if err := b.assemble("images/guests/"+name+"/"+name+".S", elf, mode, "-m", emulation, "-T", script); err != nil {
		return nil, err
	}
	return os.ReadFile(elf)
}
