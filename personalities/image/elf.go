package image

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"nidus/mm"
)

// Values of the ELF header and program headers (System V ABI, chapters 4, 5).
const (
	ptLoad  = 1
	ptNote  = 4
	shtNote = 7
)

var le = binary.LittleEndian

func isELF(data []byte) bool { return bytes.HasPrefix(data, []byte("\x7fELF")) }

// elfFile is a checked ELF header over the file's bytes.
type elfFile struct {
	data []byte
	is64 bool

	machine             Machine
	entry               uint64
	phoff, shoff        uint64
	phentsize, phnum    uint64
	shentsize, shnum    uint64
	shstrndx            uint64
	wantPhent, wantSect uint64 // the least size of one header
}

// header is one program header or section header, the fields used here.
type header struct {
	typ, flags   uint32
	off, size    uint64 // in the file
	vaddr, paddr uint64
	memsz, align uint64
	name, link   uint32 // of a section
}

func parseELF(data []byte) (*Kernel, error) {
	f, err := openELF(data)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Class: 32, Machine: f.machine, Entry: mm.GuestVirt(f.entry)}
	if f.is64 {
		k.Class = 64
	}
	for i := range f.phnum {
		p := f.program(i)
		if p.typ != ptLoad || p.memsz == 0 {
			continue
		}
		s, err := f.segment(i, p)
		if err != nil {
			return nil, err
		}
		k.Segments = append(k.Segments, s)
	}
	if err := checkSegments(k.Segments); err != nil {
		return nil, err
	}
	k.Notes = f.notes()
	if k.Notes.BSDSymtab {
		k.Symbols = f.symbols()
	}
	return k, nil
}

// openELF checks the file header and the place of the header tables.
func openELF(data []byte) (*elfFile, error) {
	have := uint64(len(data))
	if have < 52 {
		return nil, missing("the ELF header", 52, have)
	}
	f := &elfFile{data: data}
	switch class := data[4]; {
	case data[5] == 2:
		return nil, fmt.Errorf("%w: a big-endian ELF file for %v; this machine needs x86-64 or i386",
			ErrMachine, Machine(binary.BigEndian.Uint16(data[18:])))
	case class == 1 && data[5] == 1:
		f.entry, f.phoff, f.shoff = uint64(le.Uint32(data[24:])), uint64(le.Uint32(data[28:])), uint64(le.Uint32(data[32:]))
		f.counts(data[42:])
		f.wantPhent, f.wantSect = 32, 40
	case class == 2 && data[5] == 1:
		if have < 64 {
			return nil, missing("the ELF header", 64, have)
		}
		f.is64 = true
		f.entry, f.phoff, f.shoff = le.Uint64(data[24:]), le.Uint64(data[32:]), le.Uint64(data[40:])
		f.counts(data[54:])
		f.wantPhent, f.wantSect = 56, 64
	default:
		return nil, fmt.Errorf("%w: an ELF file of unknown class %d and byte order %d", ErrFormat, class, data[5])
	}

	f.machine = Machine(le.Uint16(data[18:]))
	if want := map[bool]Machine{false: Machine386, true: MachineAMD64}[f.is64]; f.machine != want {
		return nil, fmt.Errorf("%w: this kernel is for %v; this machine runs x86-64 (ELF64) and i386 (ELF32)", ErrMachine, f.machine)
	}
	switch typ := le.Uint16(data[16:]); {
	case typ == 1:
		return nil, fmt.Errorf("%w: an object file or module (ELF type REL), not a linked kernel", ErrFormat)
	case typ != 2 && typ != 3:
		return nil, fmt.Errorf("%w: ELF type %d is not a program", ErrFormat, typ)
	case f.phnum == 0:
		return nil, fmt.Errorf("%w: the ELF file has no program headers, so nothing to load", ErrFormat)
	case f.phnum > maxSegments:
		return nil, fmt.Errorf("%w: %d program headers, at most %d are accepted", ErrTooLarge, f.phnum, maxSegments)
	case f.phentsize < f.wantPhent:
		return nil, fmt.Errorf("%w: program headers of %d bytes, need %d", ErrFormat, f.phentsize, f.wantPhent)
	}
	if end := f.phnum * f.phentsize; f.phoff > have || have-f.phoff < end {
		if f.phoff > 1<<62 {
			return nil, fmt.Errorf("%w: program headers at %#x", ErrFormat, f.phoff)
		}
		return nil, missing("the program header table", f.phoff+end, have)
	}
	// Section headers only help to find notes: a table out of place is
	// ignored, as by every loader.
	if f.shentsize < f.wantSect || f.shoff > have || (have-f.shoff)/f.shentsize < f.shnum {
		f.shnum = 0
	}
	return f, nil
}

// counts reads e_phentsize and the fields that follow it.
func (f *elfFile) counts(b []byte) {
	f.phentsize, f.phnum = uint64(le.Uint16(b)), uint64(le.Uint16(b[2:]))
	f.shentsize, f.shnum = uint64(le.Uint16(b[4:])), uint64(le.Uint16(b[6:]))
	f.shstrndx = uint64(le.Uint16(b[8:]))
}

// program reads program header i. Precondition: i < f.phnum.
func (f *elfFile) program(i uint64) header {
	b := f.data[f.phoff+i*f.phentsize:]
	if f.is64 {
		return header{
			typ: le.Uint32(b), flags: le.Uint32(b[4:]), off: le.Uint64(b[8:]), vaddr: le.Uint64(b[16:]),
			paddr: le.Uint64(b[24:]), size: le.Uint64(b[32:]), memsz: le.Uint64(b[40:]), align: le.Uint64(b[48:]),
		}
	}
	u := func(o int) uint64 { return uint64(le.Uint32(b[o:])) }
	return header{
		typ: le.Uint32(b), off: u(4), vaddr: u(8), paddr: u(12),
		size: u(16), memsz: u(20), flags: le.Uint32(b[24:]), align: u(28),
	}
}

// section reads section header i. Precondition: i < f.shnum.
func (f *elfFile) section(i uint64) header {
	b := f.data[f.shoff+i*f.shentsize:]
	if f.is64 {
		return header{name: le.Uint32(b), typ: le.Uint32(b[4:]), off: le.Uint64(b[24:]), size: le.Uint64(b[32:]), link: le.Uint32(b[40:]), align: le.Uint64(b[48:])}
	}
	u := func(o int) uint64 { return uint64(le.Uint32(b[o:])) }
	return header{name: le.Uint32(b), typ: le.Uint32(b[4:]), off: u(16), size: u(20), link: le.Uint32(b[24:]), align: u(32)}
}

// bytes returns what h names in the file, false if the file ends before.
func (f *elfFile) bytes(h header) ([]byte, bool) {
	have := uint64(len(f.data))
	if h.off > have || have-h.off < h.size {
		return nil, false
	}
	return f.data[h.off : h.off+h.size : h.off+h.size], true
}

func (f *elfFile) segment(i uint64, p header) (Segment, error) {
	if p.size > p.memsz {
		return Segment{}, fmt.Errorf("%w: segment %d has %d bytes in the file and %d in memory", ErrFormat, i, p.size, p.memsz)
	}
	if p.paddr+p.memsz < p.paddr || p.off+p.size < p.off {
		return Segment{}, fmt.Errorf("%w: segment %d at %#x with size %#x wraps around", ErrFormat, i, p.paddr, p.memsz)
	}
	data, ok := f.bytes(p)
	if !ok {
		return Segment{}, missing(fmt.Sprintf("segment %d", i), p.off+p.size, uint64(len(f.data)))
	}
	return Segment{
		PhysAddr: mm.GuestPhys(p.paddr), VirtAddr: mm.GuestVirt(p.vaddr),
		Data: data, MemSize: p.memsz, Flags: SegmentFlags(p.flags),
	}, nil
}

// checkSegments orders the segments and refuses two at one place.
func checkSegments(segs []Segment) error {
	if len(segs) == 0 {
		return fmt.Errorf("%w: the ELF file has no loadable segment", ErrFormat)
	}
	slices.SortStableFunc(segs, func(a, b Segment) int { return cmp.Compare(a.PhysAddr, b.PhysAddr) })
	for i := 1; i < len(segs); i++ {
		a, b := &segs[i-1], &segs[i]
		if uint64(b.PhysAddr-a.PhysAddr) < a.MemSize {
			return fmt.Errorf("%w: segments at %#x (%#x bytes) and %#x overlap", ErrFormat, a.PhysAddr, a.MemSize, b.PhysAddr)
		}
	}
	return nil
}
