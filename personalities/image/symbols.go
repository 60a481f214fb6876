package image

import "nidus/mm"

const (
	shtSymtab = 2
	shtStrtab = 3
	// maxSymbols bounds what is loaded of symbols, in bytes; a BSD kernel has 2 MiB.
	maxSymbols = 256 << 20
)

// Symbols are a kernel's symbol table as BSD kernels find it behind themselves, where
// their note BSD_SYMTAB asks for it: a 4-byte size of what follows, an ELF header of the
// kernel's class, and its sections: none, the symbols, their names. The offsets in them
// count from the ELF header. (elfnote.h says only that it is to be loaded; the form is
// what NetBSD's ksyms_addsyms_elf and its callers read.)
type Symbols struct {
	head         []byte // to the end of the section headers
	table, names []byte // alias the file
}

// Size is what the symbols take in memory, in bytes.
func (s *Symbols) Size() uint64 { return uint64(len(s.head) + len(s.table) + len(s.names)) }

// Pieces are what they consist of, one behind the other.
func (s *Symbols) Pieces() [3][]byte { return [3][]byte{s.head, s.table, s.names} }

// SymbolsAt returns where the symbols go: behind the kernel, as a word is aligned.
func (k *Kernel) SymbolsAt() mm.GuestPhys {
	_, hi := k.Span()
	word := mm.GuestPhys(k.Class / 8)
	return (hi + word - 1) &^ (word - 1)
}

// symbols finds the first symbol table and its names, or nil.
func (f *elfFile) symbols() *Symbols {
	for i := range f.shnum {
		s := f.section(i)
		if s.typ != shtSymtab || uint64(s.link) >= f.shnum {
			continue
		}
		names := f.section(uint64(s.link))
		table, ok := f.bytes(s)
		strings, ok2 := f.bytes(names)
		if !ok || !ok2 || names.typ != shtStrtab || len(table)+len(strings) > maxSymbols {
			continue
		}
		return &Symbols{head: f.symbolsHead(i, uint64(s.link), len(table), len(strings)), table: table, names: strings}
	}
	return nil
}

// symbolsHead makes the headers for two sections of the file.
func (f *elfFile) symbolsHead(table, names uint64, tableSize, namesSize int) []byte {
	const sections = 3
	ehsize := 52
	if f.is64 {
		ehsize = 64
	}
	shsize := int(f.wantSect)
	head := make([]byte, 4+ehsize+sections*shsize)
	end := len(head) - 4 // of the headers, from the ELF header
	le.PutUint32(head, uint32(end+tableSize+namesSize))

	elf := head[4:]
	copy(elf, f.data[:ehsize])
	// no program headers, and no names of sections
	counts := elf[42:]
	if f.is64 {
		le.PutUint64(elf[32:], 0)
		le.PutUint64(elf[40:], uint64(ehsize))
		counts = elf[54:]
	} else {
		le.PutUint32(elf[28:], 0)
		le.PutUint32(elf[32:], uint32(ehsize))
	}
	for i, v := range []int{0, 0, shsize, sections, 0} {
		le.PutUint16(counts[2*i:], uint16(v))
	}
	put := func(n int, from uint64, at int, link uint32) {
		h := elf[ehsize+n*shsize:][:shsize]
		copy(h, f.data[f.shoff+from*f.shentsize:])
		le.PutUint32(h, 0)
		if f.is64 {
			le.PutUint64(h[24:], uint64(at))
			le.PutUint32(h[40:], link)
		} else {
			le.PutUint32(h[16:], uint32(at))
			le.PutUint32(h[24:], link)
		}
	}
	put(1, table, end, 2)
	put(2, names, end+tableSize, 0)
	return head
}
