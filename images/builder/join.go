package builder

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"nidus/kernel/baremetal"
)

// The handover block of stub.S, in quadwords.
const (
	handoverTarget   = 1
	handoverNSeg     = 7
	handoverSegs     = 8
	handoverMaxSegs  = 8
	lowestImage      = imageLoad
	highestImage     = 1 << 30
	filePageOffset   = 0x1000
	elfNoteAlignment = 4
)

// Entry says which loaders an image is for.
type Entry int

// The kinds of image.
const (
	// AllLoaders: multiboot 1 and 2, and PVH.
	AllLoaders Entry = iota
	// PVHOnly: no multiboot header. A loader that knows both, as QEMU's, takes
	// multiboot where it finds it.
	PVHOnly
)

// Headers' magic numbers (Multiboot 0.6.96, 3.1.1; Multiboot 2, 3.1.1).
const (
	multiboot1Magic = 0x1badb002
	multiboot2Magic = 0xe85250d6
)

type segment struct {
	elf.Prog32
	data []byte
}

// Join joins the 32-bit entry stub and the kernel that go build made, two ELF64
// files, into one ELF32 that QEMU's -kernel, GRUB (multiboot 1 and 2) and PVH
// loaders take: the kernel's segments at their physical addresses, the stub in
// front.
func Join(stubFile, kernelFile string, e Entry) ([]byte, error) {
	kernel, err := elf.Open(kernelFile)
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	segs, stubEntry, err := stubSegments(stubFile, kernel)
	if err != nil {
		return nil, err
	}
	if e == PVHOnly {
		hideMultiboot(segs[0].data)
	}
	for _, p := range kernel.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		pa := p.Vaddr - baremetal.ImageBase
		if pa < lowestImage || pa+p.Memsz > highestImage {
			return nil, fmt.Errorf("%s: segment at %#x is outside the image's window", kernelFile, p.Vaddr)
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReadAt(data, 0); err != nil && p.Filesz > 0 {
			return nil, fmt.Errorf("%s: %w", kernelFile, err)
		}
		segs = append(segs, segment{elf.Prog32{Type: uint32(elf.PT_LOAD), Paddr: uint32(pa), Memsz: uint32(p.Memsz), Flags: uint32(p.Flags), Align: filePageOffset}, data})
	}
	return write(segs, stubEntry), nil
}

// stubSegments returns the stub's code and tables with the handover block filled
// in, and the segment of the PVH note.
func stubSegments(file string, kernel *elf.File) ([]segment, uint32, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	at := map[string]uint64{}
	for _, s := range syms {
		at[s.Name] = s.Value
	}
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	code = bytes.Clone(code)
	put := func(i int, v uint64) {
		binary.LittleEndian.PutUint64(code[at["handover"]-text.Addr+uint64(i)*8:], v)
	}
	put(handoverTarget, kernel.Entry)
	n := 0
	for _, p := range kernel.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if n == handoverMaxSegs {
			return nil, 0, fmt.Errorf("the kernel has more than %d segments", handoverMaxSegs)
		}
		put(handoverSegs+3*n, p.Vaddr)
		put(handoverSegs+3*n+1, p.Memsz)
		put(handoverSegs+3*n+2, uint64(p.Flags))
		n++
	}
	put(handoverNSeg, uint64(n))
	end := at["tables_end"]
	load := segment{elf.Prog32{Type: uint32(elf.PT_LOAD), Paddr: uint32(text.Addr), Memsz: uint32(end - text.Addr), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Align: filePageOffset}, code}
	note := segment{elf.Prog32{Type: uint32(elf.PT_NOTE), Paddr: uint32(at["note"]), Memsz: uint32(at["note_end"] - at["note"]), Flags: uint32(elf.PF_R), Align: elfNoteAlignment}, nil}
	note.Off = filePageOffset + note.Paddr - load.Paddr
	return []segment{load, note}, uint32(at["entry32"]), nil
}

// hideMultiboot overwrites the magic numbers of both headers.
func hideMultiboot(stub []byte) {
	for i := 0; i+4 <= len(stub); i += 4 {
		switch binary.LittleEndian.Uint32(stub[i:]) {
		case multiboot1Magic, multiboot2Magic:
			clear(stub[i : i+4])
		}
	}
}

// write lays the file out: header, program headers, each segment on a page.
func write(segs []segment, entry uint32) []byte {
	off := uint32(filePageOffset)
	for i := range segs {
		s := &segs[i]
		s.Vaddr = s.Paddr
		if s.Type == uint32(elf.PT_NOTE) {
			s.Filesz = s.Memsz
			continue
		}
		s.Off, s.Filesz = off, uint32(len(s.data))
		off += (s.Filesz + filePageOffset - 1) &^ (filePageOffset - 1)
	}
	img := make([]byte, off)
	var h bytes.Buffer
	binary.Write(&h, binary.LittleEndian, elf.Header32{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_386), Version: uint32(elf.EV_CURRENT),
		Entry: entry, Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: uint16(len(segs)),
	})
	for _, s := range segs {
		binary.Write(&h, binary.LittleEndian, s.Prog32)
		copy(img[s.Off:], s.data)
	}
	copy(img, h.Bytes())
	return img
}
