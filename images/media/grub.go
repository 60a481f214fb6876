package media

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// grubDir is where Debian's packages put GRUB's parts.
const grubDir = "/usr/lib/grub"

// The boot menu, and the files that a data partition begins with.
var (
	//go:embed grub.cfg
	menu []byte
	//go:embed data/nidus.cfg
	config []byte
	//go:embed data/README.txt
	readme []byte
)

// modules are those of GRUB that the menu and the file systems need; all are in the
// core image, so that an old one on the disk can't meet a new one.
var modules = []string{"part_gpt", "part_msdos", "fat", "exfat", "ext2", "iso9660", "normal", "configfile", "echo", "test", "regexp",
	"search", "search_fs_file", "search_label", "multiboot", "multiboot2", "gzio", "serial", "terminal", "minicmd", "ls", "cat",
	"reboot", "halt", "sleep", "all_video", "gfxterm", "probe", "true", "help", "lsmmap"}

// platform is one of GRUB's.
type platform struct {
	name string // as grub-mkimage calls it
	own  []string
}

var (
	bios    = platform{"i386-pc", []string{"biosdisk", "vbe", "vga"}}
	biosCD  = platform{"i386-pc-eltorito", bios.own}
	efi     = platform{"x86_64-efi", []string{"efi_gop", "efi_uga", "efifwsetup"}}
	efiName = "EFI/BOOT/BOOTX64.EFI" // UEFI 2.10, 3.5.1.1: what a removable medium boots
)

// core makes a core image. early is a script that it runs first, if not empty.
func (p platform) core(out, prefix, early string) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	args := []string{"-O", p.name, "-o", out, "-p", prefix}
	if early != "" {
		script := out + ".cfg"
		if err := os.WriteFile(script, []byte(early), 0o644); err != nil {
			return err
		}
		defer os.Remove(script)
		args = append(args, "-c", script)
	}
	return run("grub-mkimage", append(append(args, modules...), p.own...)...)
}

// Fields of GRUB's boot sector and of a core image's first sector, which an
// installer fills in (GRUB 2.06, include/grub/i386/pc/boot.h, offsets only).
const (
	bootKernelSector = 0x5c  // where the core image is, 8 bytes
	bootDriveCheck   = 0x66  // two bytes: a jump over the check of the BIOS's drive
	bootCodeEnd      = 440   // then a disk signature and the partition table
	coreBlockList    = 0x1f4 // 8 bytes first sector, 2 bytes count, 2 bytes segment
)

// installBIOS puts GRUB for the BIOS into an image: its first sector, and a core
// image of at most most sectors at sector first.
func installBIOS(image *os.File, core string, first, most uint64) error {
	boot, err := os.ReadFile(filepath.Join(grubDir, "i386-pc", "boot.img"))
	if err != nil {
		return err
	}
	code, err := os.ReadFile(core)
	if err != nil {
		return err
	}
	if len(boot) < sector || len(code) < sector {
		return errors.New("GRUB's boot.img or core image is too short")
	}
	if uint64(len(code)) > most*sector {
		return fmt.Errorf("GRUB's core image, %d bytes, does not fit %d sectors", len(code), most)
	}
	le := binary.LittleEndian
	le.PutUint64(boot[bootKernelSector:], first)
	// A disk's BIOS may pass a wrong drive: two NOPs let the check run, which a
	// floppy's boot must jump over.
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	le.PutUint64(code[coreBlockList:], first+1)
	if _, err := image.WriteAt(boot[:bootCodeEnd], 0); err != nil {
		return err
	}
	_, err = image.WriteAt(code, int64(first*sector))
	return err
}
