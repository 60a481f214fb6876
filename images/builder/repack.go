package builder

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"nidus/images/debian"
	"nidus/images/guests"
)

// Packing is a way to pack a kernel.
type Packing struct {
	// Name is Linux's for it (init/Kconfig, KERNEL_*).
	Name string
	// Package is Debian's with the program, Command what Linux's build calls
	// (scripts/Makefile.lib), but for speed instead of size.
	Package, Command string
	// Size tells whether Linux appends the unpacked size; gzip has it anyway.
	Size bool
}

// Packings are those that Linux has.
var Packings = []Packing{
	{"gzip", "gzip", "gzip -n -4", false},
	{"bzip2", "bzip2", "bzip2 -9", true},
	{"lzma", "xz-utils", "xz --format=lzma -1", true},
	{"xz", "xz-utils", "xz --check=crc32 --x86 --lzma2=preset=1,dict=32MiB", true},
	{"lzo", "lzop", "lzop -3", true},
	{"lz4", "lz4", "lz4 -l -1", true},
	{"zstd", "zstd", "zstd -3 -q", true},
}

// Repacked packs the ELF file of Debian's kernel in a way: by itself, and as the
// payload of a bzImage. Both parts are there already.
func (b *Builder) Repacked(p Packing) (elf, bzImage []byte, err error) {
	if err := debian.Install(b.Say, p.Package); err != nil {
		return nil, nil, err
	}
	name := b.Out("guest", Vmlinux)
	words := strings.Fields(p.Command)
	cmd := exec.Command(words[0], append(words[1:], "-c", name)...)
	cmd.Stderr = b.Say
	if elf, err = cmd.Output(); err != nil {
		return nil, nil, fmt.Errorf("%s -c %s: %w", p.Command, name, err)
	}
	old, err := os.ReadFile(b.Out("guest", Vmlinuz))
	if err != nil {
		return nil, nil, err
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	payload := elf[:len(elf):len(elf)]
	if p.Size {
		payload = binary.LittleEndian.AppendUint32(payload, uint32(st.Size()))
	}
	bzImage, err = guests.Repack(old, payload)
	return elf, bzImage, err
}
