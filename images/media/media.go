// Package media makes what a machine boots from: a disk image (Disk) and an ISO for
// CDs and USB sticks (WriteISO), each for BIOS and UEFI. It drives GRUB's, mtools's
// and xorriso's programs on plain files: nothing is mounted and nobody has to be
// root. The same contents make the same bytes.
package media

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Packages are Debian's that hold the programs.
var Packages = []string{"grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"}

// Names in the boot files' file system.
const (
	kernelName   = "nidus/nidus.gz"
	previousName = "nidus/nidus.old.gz"
)

// epoch is the time of everything in an image: the first second of 2026, for all
// programs here take it from SOURCE_DATE_EPOCH (reproducible-builds.org).
const epoch = "1767225600"

// Contents is what an image holds.
type Contents struct {
	// Kernel is the image that the menu starts, Previous the one before it, nil
	// for none. Both are packed by Pack.
	Kernel, Previous []byte
	// Data is a folder whose files go to the data partition, or empty.
	Data string
}

// Pack packs a kernel as the boot menu takes it.
func Pack(kernel []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(kernel); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// boot writes the files that GRUB reads to a folder.
func (c Contents) boot(dir string) error {
	files := map[string][]byte{kernelName: c.Kernel, "grub/grub.cfg": menu}
	if c.Previous != nil {
		files[previousName] = c.Previous
	}
	return writeFiles(dir, files)
}

// data writes the files of the data partition to a folder: those that are always
// there, and on top of them the caller's.
func (c Contents) data(dir string) error {
	if err := writeFiles(dir, map[string][]byte{"README.txt": readme, "nidus.cfg": config}); err != nil {
		return err
	}
	for _, d := range []string{"auto", "certs", "domains", "disks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if c.Data == "" {
		return nil
	}
	return copyTree(dir, c.Data)
}

// copyTree copies what is in a folder into another; FAT has no symbolic links, so what
// they name is copied.
func copyTree(dst, src string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		info, err := os.Stat(from)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			if err := copyTree(to, from); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			if err := copyFile(to, from); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file nor a folder", from)
		}
	}
	return nil
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func writeFiles(dir string, files map[string][]byte) error {
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// identity is what the identifiers of an image come from: a hash of its contents.
type identity [sha256.Size]byte

// identify hashes all files below some folders, with their names.
func identify(dirs ...string) (id identity, err error) {
	h := sha256.New()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			if e.IsDir() {
				fmt.Fprintf(h, "%q\n", rel)
				return nil
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%q %d\n", rel, info.Size())
			_, err = io.Copy(h, f)
			return err
		})
		if err != nil {
			return id, err
		}
	}
	h.Sum(id[:0])
	return id, nil
}

// of derives an identifier for one use.
func (id identity) of(use string) [16]byte {
	sum := sha256.Sum256(append(id[:], use...))
	return [16]byte(sum[:16])
}

// guid is a GUID for one use, in the form of a random one (RFC 9562, 5.4).
func (id identity) guid(use string) string {
	b := id.of(use)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// serial is a FAT volume's serial number for one use.
func (id identity) serial(use string) uint32 {
	b := id.of(use)
	return binary.LittleEndian.Uint32(b[:])
}

// run runs a program whose output depends on nothing but its arguments.
func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
