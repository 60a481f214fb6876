package builder

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"nidus/images/debian"
	"nidus/images/media"
)

// Protocol is how GRUB loads the image.
type Protocol string

// The protocols. Multiboot 1 tells nothing of ACPI on a UEFI machine.
const (
	Multiboot1 Protocol = "multiboot"
	Multiboot2 Protocol = "multiboot2"
)

// ISO is a bootable image for CD, disk or USB stick, on BIOS and UEFI.
type ISO struct {
	Name        string // the file's name under out/
	Protocol    Protocol
	Compress    bool // gzip the kernel
	CommandLine string
	Modules     []string // files under out/guest
}

// MakeISO builds an ISO with GRUB's tool and returns its path. Image must have
// been called.
func (b *Builder) MakeISO(iso ISO) (string, error) {
	if err := debian.Install(b.Say, media.Packages...); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(b.Out(), "iso-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	kernel, err := os.ReadFile(b.Out("nidus"))
	if err != nil {
		return "", err
	}
	if iso.Compress {
		if kernel, err = Gzip(kernel); err != nil {
			return "", err
		}
	}
	files := map[string][]byte{"boot/nidus": kernel, "boot/grub/grub.cfg": []byte(grubConfig(iso))}
	for _, m := range iso.Modules {
		if files["boot/"+m], err = os.ReadFile(b.Out("guest", m)); err != nil {
			return "", err
		}
	}
	for name, data := range files {
		if err := writeIfChanged(filepath.Join(dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	out := b.Out(iso.Name)
	return out, b.command("grub-mkrescue", "-o", out, dir)
}

// grubConfig boots the only entry at once. Modules keep their packing: GRUB
// would unpack a gzip'd ramdisk.
func grubConfig(iso ISO) string {
	module := "module"
	if iso.Protocol == Multiboot2 {
		module = "module2"
	}
	var s strings.Builder
	fmt.Fprintf(&s, `serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
insmod all_video
set timeout=0
menuentry "Nidus" {
	echo "Loading Nidus"
	%s /boot/nidus %s
`, iso.Protocol, iso.CommandLine)
	for _, m := range iso.Modules {
		fmt.Fprintf(&s, "\t%s --nounzip /boot/%s %s\n", module, m, m)
	}
	s.WriteString("}\n")
	return s.String()
}

// Gzip packs data as a compressed image is.
func Gzip(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.Copy(z, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
