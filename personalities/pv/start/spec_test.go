package start

import (
	"bytes"
	"testing"

	"nidus/personalities/image"
	"nidus/personalities/image/imagetest"
)

// spec describes a kernel; notes that are nil are left out.
type spec struct {
	is32  bool
	notes map[image.NoteType][]byte
	at    uint64 // p_paddr
	size  uint64
	// legacy is the section __xen_guest of old, instead of notes.
	legacy  string
	symbols bool
}

// linux64 asks for what Linux asks for.
func linux64() spec {
	const base = 0xffffffff_80000000
	return spec{at: 0x1000000, size: 0x3000, notes: map[image.NoteType][]byte{
		image.NoteEntry:         imagetest.U64(base + 0x1000040),
		image.NoteHypercallPage: imagetest.U64(base + 0x1001000),
		image.NoteVirtBase:      imagetest.U64(base),
		image.NoteXenVersion:    []byte("xen-3.0\x00"),
		image.NoteFeatures:      []byte("!writable_page_tables|pae_pgdir_above_4gb\x00"),
		image.NoteInitP2M:       imagetest.U64(0x80_00000000),
		image.NoteModStartPFN:   imagetest.U32(1),
		image.NoteHVStartLow:    imagetest.U64(0xffff8000_00000000),
	}}
}

// plain64 asks for nothing special.
func plain64() spec {
	s := linux64()
	for _, n := range []image.NoteType{image.NoteInitP2M, image.NoteModStartPFN, image.NoteHVStartLow, image.NoteFeatures} {
		delete(s.notes, n)
	}
	return s
}

// netbsd64 and netbsd32 ask for what NetBSD's kernels XEN3_DOMU and XEN3PAE_DOMU ask for
// (sys/arch/amd64/amd64/locore.S, sys/arch/i386/i386/locore.S).
func netbsd64() spec {
	const base = 0xffffffff_80000000
	return spec{at: base + 0x200000, size: 0x6000, symbols: true, notes: map[image.NoteType][]byte{
		image.NoteGuestOS:       []byte("NetBSD\x00"),
		image.NoteGuestVersion:  []byte("4.99\x00"),
		image.NoteXenVersion:    []byte("xen-3.0\x00"),
		image.NoteVirtBase:      imagetest.U64(base),
		image.NotePaddrOffset:   imagetest.U64(base),
		image.NoteEntry:         imagetest.U64(base + 0x200000),
		image.NoteHypercallPage: imagetest.U64(base + 0x202000),
		image.NoteHVStartLow:    imagetest.U64(0xffff8000_00000000),
		image.NoteFeatures:      []byte("\x00"),
		image.NotePAEMode:       []byte("yes\x00"),
		image.NoteL1MFNValid:    imagetest.U64(1<<32 | 1), // two .long
		image.NoteLoader:        []byte("generic\x00"),
		image.NoteSuspendCancel: imagetest.U32(0),
		image.NoteBSDSymtab:     []byte("yes\x00"),
	}}
}

func netbsd32() spec {
	return spec{is32: true, at: 0xc0100000, size: 0x6000, symbols: true,
		legacy: "GUEST_OS=netbsd,GUEST_VER=3.0,XEN_VER=xen-3.0,VIRT_BASE=0xc0000000,ELF_PADDR_OFFSET=0xc0000000" +
			",VIRT_ENTRY=0xc0100000,HYPERCALL_PAGE=0x00000101,PAE=yes[extended-cr3],LOADER=generic,BSD_SYMTAB=yes"}
}

// linux32 asks for what the last 32-bit PV Linux asked for.
func linux32() spec {
	const base = 0xc0000000
	return spec{is32: true, at: 0x400000, size: 0x3000, notes: map[image.NoteType][]byte{
		image.NoteEntry:         imagetest.U32(base + 0x400000),
		image.NoteHypercallPage: imagetest.U32(base + 0x401000),
		image.NoteVirtBase:      imagetest.U32(base),
		image.NoteXenVersion:    []byte("xen-3.0\x00"),
		image.NoteFeatures:      []byte("!writable_page_tables|pae_pgdir_above_4gb\x00"),
		image.NotePAEMode:       []byte("yes\x00"),
		image.NoteL1MFNValid:    append(imagetest.U64(1), imagetest.U64(1)...),
		image.NoteModStartPFN:   imagetest.U32(1),
		image.NoteHVStartLow:    imagetest.U32(0xf5800000),
	}}
}

// grub64 and grub32 ask for next to nothing, as GRUB's images for Xen: they are where their
// addresses say.
func grub64() spec {
	return spec{at: 0x100000, size: 0x9000, notes: map[image.NoteType][]byte{
		image.NoteEntry: imagetest.U64(0x100000), image.NoteXenVersion: []byte("xen-3.0\x00"),
	}}
}

func grub32() spec {
	return linux32().with(image.NoteVirtBase, nil).with(image.NoteEntry, imagetest.U32(0x400000)).with(image.NoteHypercallPage, nil)
}

// with replaces a note.
func (s spec) with(t image.NoteType, desc []byte) spec {
	if s.notes[t] = desc; desc == nil {
		delete(s.notes, t)
	}
	return s
}

func (s spec) kernel(t testing.TB) *image.Kernel {
	t.Helper()
	k, err := image.Decode("k", s.file(), image.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s spec) file() []byte {
	var notes []byte
	for n := range image.NoteType(32) {
		if d, ok := s.notes[n]; ok {
			notes = append(notes, imagetest.Note(uint32(n), d)...)
		}
	}
	data := bytes.Repeat([]byte("kernel text "), int(s.size)/12)
	e := imagetest.ELF{Is64: !s.is32, Notes: notes, Entry: s.at, Segments: []imagetest.Segment{
		{Paddr: s.at, Data: data, Memsz: s.size},
		{Paddr: s.at + s.size + 0x123, Data: []byte("data"), Memsz: 0x1801},
	}}
	if s.legacy != "" {
		e.Sections = append(e.Sections, imagetest.Section{Name: "__xen_guest", Type: 1, Data: []byte(s.legacy + "\x00")})
	}
	if s.symbols {
		e.Sections = append(e.Sections, imagetest.Section{Name: ".strtab", Type: 3, Data: []byte("\x00main\x00")})
		e.Sections = append(e.Sections, imagetest.Section{Name: ".symtab", Type: 2, Data: make([]byte, 4800), Link: uint32(len(e.Sections))})
	}
	return e.Build()
}
