// Package imagetest makes small ELF kernels for tests.
package imagetest

import "encoding/binary"

var le = binary.LittleEndian

// Machine numbers of the two classes (System V ABI, EM_386, EM_X86_64).
const (
	machine386   = 3
	machineAMD64 = 62
)

// ELF describes a file.
type ELF struct {
	Is64     bool
	Machine  uint16 // 0: the right one
	Entry    uint64
	Segments []Segment
	Notes    []byte // a PT_NOTE segment, if any
	Sections []Section
}

// Segment is a PT_LOAD.
type Segment struct {
	Paddr, Vaddr uint64
	Data         []byte
	Memsz        uint64 // 0: len(Data)
	Flags        uint32
}

// Section is a section; a string table of names comes behind the last.
type Section struct {
	Name string
	Type uint32
	Data []byte
	Link uint32
}

// Build lays the file out: header, program headers, contents, section headers.
func (s ELF) Build() []byte {
	ehsize, phent, shent := 52, 32, 40
	if s.Is64 {
		ehsize, phent, shent = 64, 56, 64
	}
	phnum := len(s.Segments)
	if s.Notes != nil {
		phnum++
	}
	out := make([]byte, ehsize+phnum*phent)
	copy(out, "\x7fELF\x01\x01\x01")
	if s.Is64 {
		out[4] = 2
	}
	m := s.Machine
	if m == 0 {
		m = map[bool]uint16{true: machineAMD64, false: machine386}[s.Is64]
	}
	le.PutUint16(out[16:], 2)
	le.PutUint16(out[18:], m)
	le.PutUint32(out[20:], 1)

	put := func(i int, typ, flags uint32, vaddr, paddr uint64, data []byte, memsz uint64) {
		off := uint64(len(out))
		out = append(out, data...)
		b := out[ehsize+i*phent:]
		le.PutUint32(b, typ)
		if s.Is64 {
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
	for i, g := range s.Segments {
		memsz := g.Memsz
		if memsz == 0 {
			memsz = uint64(len(g.Data))
		}
		put(i, 1, g.Flags, g.Vaddr, g.Paddr, g.Data, memsz)
	}
	if s.Notes != nil {
		put(len(s.Segments), 4, 4, 0, 0, s.Notes, 0)
	}

	shoff, shnum := 0, 0
	if len(s.Sections) > 0 {
		var names []byte
		table := make([]byte, shent) // the null section
		secs := append(append([]Section{}, s.Sections...), Section{Name: ".shstrtab", Type: 3})
		for i, sec := range secs {
			h := make([]byte, shent)
			le.PutUint32(h, uint32(len(names)))
			le.PutUint32(h[4:], sec.Type)
			names = append(names, sec.Name+"\x00"...)
			if i == len(secs)-1 {
				sec.Data = names
			}
			if s.Is64 {
				le.PutUint64(h[24:], uint64(len(out)))
				le.PutUint64(h[32:], uint64(len(sec.Data)))
				le.PutUint32(h[40:], sec.Link)
				le.PutUint64(h[48:], 4)
			} else {
				le.PutUint32(h[16:], uint32(len(out)))
				le.PutUint32(h[20:], uint32(len(sec.Data)))
				le.PutUint32(h[24:], sec.Link)
				le.PutUint32(h[32:], 4)
			}
			out = append(out, sec.Data...)
			table = append(table, h...)
		}
		shoff, shnum = len(out), len(secs)+1
		out = append(out, table...)
	}

	counts := out[42:]
	if s.Is64 {
		le.PutUint64(out[24:], s.Entry)
		le.PutUint64(out[32:], uint64(ehsize))
		le.PutUint64(out[40:], uint64(shoff))
		counts = out[54:]
	} else {
		le.PutUint32(out[24:], uint32(s.Entry))
		le.PutUint32(out[28:], uint32(ehsize))
		le.PutUint32(out[32:], uint32(shoff))
	}
	for i, v := range []int{phent, phnum, shent, shnum, max(shnum-1, 0)} {
		le.PutUint16(counts[2*i:], uint16(v))
	}
	return out
}

// Note makes one Xen note, of a type of elfnote.h.
func Note(typ uint32, desc []byte) []byte { return NamedNote("Xen\x00", typ, desc) }

// NamedNote makes one note of another name.
func NamedNote(name string, typ uint32, desc []byte) []byte {
	var b []byte
	for _, v := range []uint32{uint32(len(name)), uint32(len(desc)), typ} {
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

// U32 and U64 are a note's numbers.
func U32(v uint32) []byte { return le.AppendUint32(nil, v) }

// U64 is U32 for 8 bytes.
func U64(v uint64) []byte { return le.AppendUint64(nil, v) }
