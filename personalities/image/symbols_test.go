package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"testing"

	"nidus/personalities/image/imagetest"
)

// symbol makes an entry of a symbol table.
func symbol(is64 bool, name uint32, value uint64) []byte {
	if is64 {
		return append(append(imagetest.U32(name), 0x10, 0, 1, 0), append(imagetest.U64(value), make([]byte, 8)...)...)
	}
	return append(append(imagetest.U32(name), imagetest.U32(uint32(value))...), 0, 0, 0, 0, 0x10, 0, 1, 0)
}

func bsdKernel(is64 bool, note string, link uint32) imagetest.ELF {
	var table []byte
	for i, v := range []uint64{0, 0xc0101000, 0xc0102000} {
		table = append(table, symbol(is64, []uint32{0, 1, 6}[i], v)...)
	}
	return imagetest.ELF{
		Is64: is64, Entry: 0x101000, Segments: []imagetest.Segment{{Paddr: 0x101000, Data: make([]byte, 0x1235)}},
		Notes: imagetest.Note(uint32(NoteBSDSymtab), []byte(note)),
		Sections: []imagetest.Section{
			{Name: ".text", Type: 1, Data: []byte("text")},
			{Name: ".strtab", Type: 3, Data: []byte("\x00main\x00start\x00")},
			{Name: ".symtab", Type: 2, Data: table, Link: link},
		},
	}
}

// TestSymbols reads what a BSD kernel finds with another reader of ELF files.
func TestSymbols(t *testing.T) {
	for _, is64 := range []bool{true, false} {
		k := mustDecode(t, bsdKernel(is64, "yes\x00", 2).Build())
		if k.Symbols == nil {
			t.Fatal("no symbols")
		}
		if at, want := k.SymbolsAt(), map[bool]uint64{true: 0x102238, false: 0x102238}[is64]; uint64(at) != want {
			t.Errorf("at %#x, want %#x", at, want)
		}
		p := k.Symbols.Pieces()
		all := bytes.Join(p[:], nil)
		if n := uint64(len(all)); n != k.Symbols.Size() || uint64(le.Uint32(all)) != n-4 {
			t.Errorf("%d bytes, Size %d, at the beginning %d", n, k.Symbols.Size(), le.Uint32(all))
		}
		f, err := elf.NewFile(bytes.NewReader(all[4:]))
		if err != nil {
			t.Fatal(err)
		}
		syms, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range syms {
			got += fmt.Sprintf("%s=%#x ", s.Name, s.Value)
		}
		if got != "main=0xc0101000 start=0xc0102000 " || len(f.Progs) != 0 || len(f.Sections) != 3 {
			t.Errorf("%s, %d program headers, %d sections", got, len(f.Progs), len(f.Sections))
		}
	}
}

func TestNoSymbols(t *testing.T) {
	cut := bsdKernel(true, "yes\x00", 2).Build()
	at := bytes.LastIndex(cut, append(imagetest.U32(2), make([]byte, 12)...)) // the type of .symtab
	le.PutUint64(cut[at-4+32:], 1<<40)
	for name, data := range map[string][]byte{
		"not asked for":     bsdKernel(true, "no\x00", 2).Build(),
		"names elsewhere":   bsdKernel(true, "yes\x00", 77).Build(),
		"names no names":    bsdKernel(true, "yes\x00", 1).Build(),
		"outside the file":  cut,
		"no section header": imagetest.ELF{Is64: true, Segments: code, Notes: note(NoteBSDSymtab, []byte("yes\x00"))}.Build(),
	} {
		if k := mustDecode(t, data); k.Symbols != nil {
			t.Errorf("%s: %d bytes", name, k.Symbols.Size())
		}
	}
}
