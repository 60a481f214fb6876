package media

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// isoTime is epoch in the form that xorriso takes.
const isoTime = "2026010100000000"

// efiCount is the size of the ISO's EFI system partition: GRUB alone. FAT32 needs
// this much.
const efiCount = 36 * mib

// WriteISO makes an ISO 9660 image that boots as a CD and, written to a disk or USB
// stick, as one of those.
func WriteISO(file string, c Contents) error {
	tmp, err := os.MkdirTemp(filepath.Dir(file), "iso-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir, esp, image := filepath.Join(tmp, "cd"), filepath.Join(tmp, "esp"), filepath.Join(tmp, "efi.img")
	if err := c.boot(dir); err != nil {
		return err
	}
	if c.Data != "" { // else GRUB looks for a data partition
		if err := c.data(filepath.Join(dir, "data")); err != nil {
			return err
		}
	}
	id, err := identify(dir)
	if err != nil {
		return err
	}
	// UEFI starts GRUB from a partition of its own. A file that no other medium has
	// tells where the rest is.
	mark := "nidus/" + id.guid("iso")
	early := fmt.Sprintf("search --no-floppy --set=root --file /%s\nset prefix=($root)/grub\n", mark)
	err = errors.Join(
		writeFiles(dir, map[string][]byte{mark: nil}),
		biosCD.core(filepath.Join(dir, "grub/bios.img"), "/grub", early),
		efi.core(filepath.Join(esp, efiName), "/grub", early),
	)
	if err != nil {
		return err
	}
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(efiCount*sector), f.Close()); err != nil {
		return err
	}
	v := volume{image, 0, efiCount}
	if err := errors.Join(v.format(espLabel, id.serial("esp")), v.add(esp)); err != nil {
		return err
	}
	// The layout of xorrisofs(1), "GRUB2 and EFI": GRUB's boot sector for disks, the
	// EFI partition behind the ISO in a GPT, and both as El Torito boot images.
	return run("xorriso", "-as", "mkisofs", "-quiet", "-o", file, "-r", "-J", "-joliet-long", "-V", "NIDUS",
		"--set_all_file_dates", isoTime, "--modification-date="+isoTime, "--gpt_disk_guid", id.guid("disk"),
		"--grub2-mbr", filepath.Join(grubDir, "i386-pc/boot_hybrid.img"), "-partition_offset", "16", "--mbr-force-bootable",
		"-append_partition", "2", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", image, "-appended_part_as_gpt",
		"-iso_mbr_part_type", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
		"-c", "grub/boot.cat", "-b", "grub/bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info",
		"-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", dir)
}
