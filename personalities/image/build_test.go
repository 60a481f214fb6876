package image

import (
	"bytes"
	"encoding/binary"
	"testing"

	"nidus/personalities/image/imagetest"
)

// elfSpec describes an ELF file for tests to build.
type elfSpec struct {
	is64     bool
	machine  Machine // 0: the right one
	entry    uint64
	segs     []segSpec
	notes    []byte // a PT_NOTE segment, if any
	sections []sectionSpec
}

type segSpec struct {
	paddr, vaddr uint64
	data         []byte
	memsz        uint64 // 0: len(data)
	flags        uint32
}

type sectionSpec struct {
	name string
	typ  uint32
	data []byte
}

// build lays the file out.
func (s elfSpec) build() []byte {
	e := imagetest.ELF{Is64: s.is64, Machine: uint16(s.machine), Entry: s.entry, Notes: s.notes}
	for _, g := range s.segs {
		e.Segments = append(e.Segments, imagetest.Segment{Paddr: g.paddr, Vaddr: g.vaddr, Data: g.data, Memsz: g.memsz, Flags: g.flags})
	}
	for _, c := range s.sections {
		e.Sections = append(e.Sections, imagetest.Section{Name: c.name, Type: c.typ, Data: c.data})
	}
	return e.Build()
}

func note(t NoteType, desc []byte) []byte { return imagetest.Note(uint32(t), desc) }

func namedNote(name string, t NoteType, desc []byte) []byte {
	return imagetest.NamedNote(name, uint32(t), desc)
}

func u32(v uint32) []byte { return imagetest.U32(v) }
func u64(v uint64) []byte { return imagetest.U64(v) }

// tinyKernel is the ELF64 file whose packed forms lie in testdata. Its code
// has relative calls, which the x86 filter of xz changes.
func tinyKernel() []byte {
	var code []byte
	for i := range 900 {
		code = append(code, 0xe8)
		code = le.AppendUint32(code, uint32(0x4000-5*i))
	}
	return elfSpec{
		is64: true, entry: 0xffffffff81000000,
		segs: []segSpec{
			{paddr: 0x1000000, vaddr: 0xffffffff81000000, data: code, flags: 5},
			{paddr: 0x1002000, vaddr: 0xffffffff81002000, data: bytes.Repeat([]byte("nidus tiny kernel "), 40), memsz: 0x3000, flags: 6},
		},
		notes: note(NotePhys32Entry, u32(0x1000040)),
	}.build()
}

// bzSpec describes a bzImage for tests to build.
type bzSpec struct {
	version    uint16
	setupSects byte
	payload    []byte
	gap        int // bytes between the setup code and the payload
}

func (s bzSpec) build() []byte {
	sects := int(s.setupSects)
	if sects == 0 {
		sects = 4
	}
	out := make([]byte, (sects+1)*512+s.gap)
	out[bzSetupSects] = s.setupSects
	le.PutUint16(out[bzBootFlag:], 0xaa55)
	copy(out[bzHeaderMagic:], "HdrS")
	le.PutUint16(out[bzVersion:], s.version)
	le.PutUint32(out[bzPayloadOffset:], uint32(s.gap))
	le.PutUint32(out[bzPayloadLength:], uint32(len(s.payload)))
	out = append(out, s.payload...)
	return append(out, "the end of the image"...)
}

// bzImage wraps a payload the way Linux's build does.
func bzImage(payload []byte) []byte {
	return bzSpec{version: 0x020f, setupSects: 27, payload: payload, gap: 333}.build()
}

// withSize appends the unpacked size, as Linux's build does for all but gzip.
func withSize(packed []byte, size int) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(packed), uint32(size))
}

func mustDecode(t testing.TB, data []byte) *Kernel {
	t.Helper()
	k, err := Decode("test", data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}
