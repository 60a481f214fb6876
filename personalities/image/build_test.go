package image

import (
	"bytes"
	"encoding/binary"
	"testing"
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

// build lays the file out: header, program headers, contents, section headers.
func (s elfSpec) build() []byte {
	ehsize, phent, shent := 52, 32, 40
	if s.is64 {
		ehsize, phent, shent = 64, 56, 64
	}
	phnum := len(s.segs)
	if s.notes != nil {
		phnum++
	}
	out := make([]byte, ehsize+phnum*phent)
	copy(out, "\x7fELF\x01\x01\x01")
	if s.is64 {
		out[4] = 2
	}
	m := s.machine
	if m == 0 {
		m = map[bool]Machine{true: MachineAMD64, false: Machine386}[s.is64]
	}
	le.PutUint16(out[16:], 2)
	le.PutUint16(out[18:], uint16(m))
	le.PutUint32(out[20:], 1)

	put := func(i int, typ, flags uint32, vaddr, paddr uint64, data []byte, memsz uint64) {
		off := uint64(len(out))
		out = append(out, data...)
		b := out[ehsize+i*phent:]
		le.PutUint32(b, typ)
		if s.is64 {
			le.PutUint32(b[4:], flags)
			for j, v := range []uint64{off, vaddr, paddr, uint64(len(data)), memsz, 4} {
				le.PutUint64(b[8+8*j:], v)
			}
			return
		}
		for j, v := range []uint64{off, vaddr, paddr, uint64(len(data)), memsz, uint64(flags), 4} {
			le.PutUint32(b[4+4*j:], uint32(v))
		}
	}
	for i, g := range s.segs {
		memsz := g.memsz
		if memsz == 0 {
			memsz = uint64(len(g.data))
		}
		put(i, ptLoad, g.flags, g.vaddr, g.paddr, g.data, memsz)
	}
	if s.notes != nil {
		put(len(s.segs), ptNote, 4, 0, 0, s.notes, 0)
	}

	shoff, shnum := 0, 0
	if len(s.sections) > 0 {
		var names []byte
		table := make([]byte, shent) // the null section
		secs := append(append([]sectionSpec{}, s.sections...), sectionSpec{name: ".shstrtab", typ: 3})
		for i, sec := range secs {
			h := make([]byte, shent)
			le.PutUint32(h, uint32(len(names)))
			le.PutUint32(h[4:], sec.typ)
			names = append(names, sec.name+"\x00"...)
			if i == len(secs)-1 {
				sec.data = names
			}
			if s.is64 {
				le.PutUint64(h[24:], uint64(len(out)))
				le.PutUint64(h[32:], uint64(len(sec.data)))
				le.PutUint64(h[48:], 4)
			} else {
				le.PutUint32(h[16:], uint32(len(out)))
				le.PutUint32(h[20:], uint32(len(sec.data)))
				le.PutUint32(h[32:], 4)
			}
			out = append(out, sec.data...)
			table = append(table, h...)
		}
		shoff, shnum = len(out), len(secs)+1
		out = append(out, table...)
	}

	counts := out[42:]
	if s.is64 {
		le.PutUint64(out[24:], s.entry)
		le.PutUint64(out[32:], uint64(ehsize))
		le.PutUint64(out[40:], uint64(shoff))
		counts = out[54:]
	} else {
		le.PutUint32(out[24:], uint32(s.entry))
		le.PutUint32(out[28:], uint32(ehsize))
		le.PutUint32(out[32:], uint32(shoff))
	}
	for i, v := range []int{phent, phnum, shent, shnum, max(shnum-1, 0)} {
		le.PutUint16(counts[2*i:], uint16(v))
	}
	return out
}

// note builds one Xen note.
func note(t NoteType, desc []byte) []byte { return namedNote("Xen\x00", t, desc) }

func namedNote(name string, t NoteType, desc []byte) []byte {
	var b []byte
	for _, v := range []uint32{uint32(len(name)), uint32(len(desc)), uint32(t)} {
		b = le.AppendUint32(b, v)
	}
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	b = append(b, name...)
	pad()
	b = append(b, desc...)
	pad()
	return b
}

func u32(v uint32) []byte { return le.AppendUint32(nil, v) }
func u64(v uint64) []byte { return le.AppendUint64(nil, v) }

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
