package image

import (
	"bytes"
	"encoding/binary"
	"testing"

	"nidus/personalities/image/imagetest"
)

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
	return imagetest.ELF{
		Is64: true, Entry: 0xffffffff81000000,
		Segments: []imagetest.Segment{
			{Paddr: 0x1000000, Vaddr: 0xffffffff81000000, Data: code, Flags: 5},
			{Paddr: 0x1002000, Vaddr: 0xffffffff81002000, Data: bytes.Repeat([]byte("nidus tiny kernel "), 40), Memsz: 0x3000, Flags: 6},
		},
		Notes: note(NotePhys32Entry, u32(0x1000040)),
	}.Build()
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
