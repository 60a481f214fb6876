package image

import (
	"bytes"
	"embed"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"nidus/mm"
	"nidus/personalities/image/imagetest"
)

// testdata holds tinyKernel, packed by Debian's gzip, bzip2, xz, lzop, lz4 and
// zstd with the options that Linux's build gives them.
//
//go:embed testdata
var testdata embed.FS

var packedFiles = []struct{ file, how string }{
	{"tiny.gz", "gzip"}, {"tiny.bz2", "bzip2"}, {"tiny.lzma", "lzma"}, {"tiny.xz", "xz"},
	{"tiny.lzo", "lzo"}, {"tiny.lz4", "lz4"}, {"tiny.lz4frame", "lz4"}, {"tiny.zst", "zstd"},
}

func readTestdata(t testing.TB, file string) []byte {
	t.Helper()
	b, err := testdata.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameKernel checks that k is tinyKernel, byte for byte.
func sameKernel(t *testing.T, k *Kernel) {
	t.Helper()
	want := mustDecode(t, tinyKernel())
	if len(k.Segments) != len(want.Segments) {
		t.Fatalf("%d segments, want %d", len(k.Segments), len(want.Segments))
	}
	for i, s := range k.Segments {
		w := want.Segments[i]
		if s.PhysAddr != w.PhysAddr || s.VirtAddr != w.VirtAddr || s.MemSize != w.MemSize || s.Flags != w.Flags || !bytes.Equal(s.Data, w.Data) {
			t.Errorf("segment %d differs", i)
		}
	}
	if e, ok := k.PVHEntry(); !ok || e != 0x1000040 {
		t.Errorf("PVHEntry() = %#x, %v", e, ok)
	}
}

func TestDecodeEveryCompression(t *testing.T) {
	size := len(tinyKernel())
	for _, p := range packedFiles {
		data := readTestdata(t, p.file)
		for _, c := range []struct {
			format string
			data   []byte
		}{
			{"ELF64, " + p.how, data},
			{"ELF64, " + p.how, append(bytes.Clone(data), "trailing text"...)},
			{"bzImage, " + p.how, bzImage(withSize(data, size))},
			{"bzImage, " + p.how, bzImage(data)},
			{"bzImage, " + p.how, bzImage(withSize(data, 1<<31))},
		} {
			if p.file == "tiny.lz4" && strings.HasSuffix(string(c.data), "text") {
				// The legacy frame has no end mark; a short last block is one.
				c.data = c.data[:len(data)+3]
			}
			k, err := Decode(p.file, c.data, Limits{})
			if err != nil {
				t.Errorf("%s as %s: %v", p.file, c.format, err)
				continue
			}
			if k.Format != c.format || k.Held == 0 {
				t.Errorf("%s: Format %q, Held %d", p.file, k.Format, k.Held)
			}
			sameKernel(t, k)
		}
	}
}

func TestDecodeNests(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(bzImage(readTestdata(t, "tiny.xz")))
	z.Close()
	k := mustDecode(t, b.Bytes())
	if k.Format != "bzImage, gzip, xz" {
		t.Errorf("Format = %q", k.Format)
	}
	sameKernel(t, k)

	k = mustDecode(t, bzImage(tinyKernel()))
	if k.Format != "bzImage, uncompressed" {
		t.Errorf("Format = %q", k.Format)
	}
	sameKernel(t, k)
	sameKernel(t, mustDecode(t, bzSpec{version: 0x0208, setupSects: 0, payload: readTestdata(t, "tiny.gz")}.build()))
}

func TestDecodeAliasesThePlainFile(t *testing.T) {
	data := tinyKernel()
	k := mustDecode(t, data)
	if k.Format != "ELF64" || k.Held != 0 {
		t.Errorf("Format %q, Held %d", k.Format, k.Held)
	}
	if &k.Segments[0].Data[0] != &data[64+3*56] {
		t.Error("the segment is a copy of the file")
	}
	if lo, hi := k.Span(); lo != 0x1000000 || hi != 0x1005000 {
		t.Errorf("Span() = %#x, %#x", lo, hi)
	}
}

func TestDecodeELF32(t *testing.T) {
	k := mustDecode(t, imagetest.ELF{
		Entry: 0x100000,
		Segments: []imagetest.Segment{
			{Paddr: 0x200000, Vaddr: 0xc0200000, Data: []byte("second"), Memsz: 0x1000, Flags: 6},
			{Paddr: 0x100000, Vaddr: 0xc0100000, Data: []byte("first"), Flags: 5},
		},
		Notes: note(NotePhys32Entry, u32(0x100000)),
	}.Build())
	if k.Class != 32 || k.Machine != Machine386 || k.Entry != 0x100000 || k.Format != "ELF32" {
		t.Errorf("%+v", k)
	}
	s := k.Segments
	if len(s) != 2 || s[0].PhysAddr != 0x100000 || string(s[0].Data) != "first" || s[0].Flags != Readable|Executable ||
		s[1].VirtAddr != 0xc0200000 || s[1].MemSize != 0x1000 || s[1].Flags != Readable|Writable {
		t.Errorf("segments %+v", s)
	}
}

func TestDecodeErrors(t *testing.T) {
	tiny := tinyKernel()
	patch := func(at int, b ...byte) []byte {
		c := bytes.Clone(tiny)
		copy(c[at:], b)
		return c
	}
	one := imagetest.Segment{Paddr: 0x1000, Data: []byte("x")}
	old := bzSpec{version: 0x0204, payload: tiny}.build()
	empty := bzSpec{version: 0x0208}.build()
	cut := bzImage(readTestdata(t, "tiny.xz"))
	for _, c := range []struct {
		name string
		data []byte
		is   error
		says string
	}{
		{"zip", []byte("PK\x03\x04rest of it"), ErrFormat, "kernel k: not an ELF or bzImage file: first bytes are 50 4b 03 04 (a zip archive?)"},
		{"empty", nil, ErrFormat, "it is empty"},
		{"short", []byte{1}, ErrFormat, "first bytes are 01"},
		{"ramdisk", []byte("070701000"), ErrFormat, "ramdisk"},
		{"arm64 Image", append(append([]byte("MZ"), make([]byte, 0x36)...), "ARM\x64more......."...), ErrMachine, "arm64"},
		{"ELF header only", tiny[:40], ErrTruncated, "12 bytes are missing"},
		{"ELF64 header cut", tiny[:60], ErrTruncated, "4 bytes are missing"},
		{"program headers cut", tiny[:100], ErrTruncated, "the program header table"},
		{"segment cut", tiny[:4000], ErrTruncated, "segment 0 ends at byte 4732 and the file at byte 4000: 732 bytes are missing"},
		{"big endian", patch(5, 2), ErrMachine, "big-endian"},
		{"bad class", patch(4, 7), ErrFormat, "class 7"},
		{"arm64", imagetest.ELF{Is64: true, Machine: 183, Segments: []imagetest.Segment{one}}.Build(), ErrMachine, "this kernel is for arm64"},
		{"x32", imagetest.ELF{Machine: uint16(MachineAMD64), Segments: []imagetest.Segment{one}}.Build(), ErrMachine, "x86-64"},
		{"object file", patch(16, 1), ErrFormat, "object file"},
		{"core file", patch(16, 4), ErrFormat, "type 4"},
		{"no headers", patch(56, 0), ErrFormat, "no program headers"},
		{"too many headers", patch(56, 200), ErrTooLarge, "200 program headers"},
		{"small headers", patch(54, 32), ErrFormat, "program headers of 32 bytes"},
		{"headers far away", patch(32, 255, 255, 255, 255, 255, 255, 255, 255), ErrFormat, "program headers at"},
		{"no segment", imagetest.ELF{Is64: true, Notes: note(NoteEntry, u64(1))}.Build(), ErrFormat, "no loadable segment"},
		{"file size over memory size", patch(64+40, 1, 0), ErrFormat, "in memory"},
		{"wraps", patch(64+24, 255, 255, 255, 255, 255, 255, 255, 255), ErrFormat, "wraps"},
		{"overlap", imagetest.ELF{Is64: true, Segments: []imagetest.Segment{{Paddr: 0x1000, Data: []byte("a"), Memsz: 0x1001}, {Paddr: 0x2000, Data: []byte("b")}}}.Build(), ErrFormat, "overlap"},
		{"old bzImage", old, ErrFormat, "2.04"},
		{"bzImage without payload", empty, ErrFormat, "empty"},
		{"bzImage cut", cut[:len(cut)-30], ErrTruncated, "10 bytes are missing"},
		{"bzImage header cut", cut[:0x220], ErrTruncated, "bzImage header"},
		{"bzImage, unknown compression", bzImage([]byte("QQQQ....")), ErrCompression, "unknown compression, first bytes are 51 51 51 51"},
		{"bzImage of text", bzImage(gzipped([]byte("hello"))), ErrFormat, "inside it (bzImage, gzip)"},
		{"gzip of nothing", gzipped(nil), ErrCompression, "holds nothing"},
		{"gzip of zip", gzipped([]byte("PK\x03\x04")), ErrFormat, "inside it (gzip)"},
		{"gzip of gzip", gzipped(gzipped(tiny)), ErrFormat, "inside it (gzip)"},
	} {
		k, err := Decode("k", c.data, Limits{})
		if err == nil || k != nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "kernel k: ") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// TestDamage cuts and changes every packed form at many places. Nothing may
// panic; what a checksum covers must not be accepted changed.
func TestDamage(t *testing.T) {
	for _, p := range packedFiles {
		data := readTestdata(t, p.file)
		for n := 0; n < len(data); n += 1 + len(data)/97 {
			// The last few bytes can be a checksum that legacy formats lack.
			if _, err := Decode(p.file, data[:n], Limits{}); err == nil && n < len(data)-16 {
				t.Errorf("%s cut to %d of %d bytes is accepted", p.file, n, len(data))
			}
			bad := bytes.Clone(data)
			bad[n] ^= 0x55
			if k, err := Decode(p.file, bad, Limits{}); err == nil && (p.how == "xz" || p.how == "bzip2") {
				sameKernel(t, k) // only a byte that means nothing may differ
			}
		}
	}
}

func TestLimits(t *testing.T) {
	bomb := make([]byte, 4<<20)
	e, _ := zstd.NewWriter(nil)
	for name, data := range map[string][]byte{
		"gzip": gzipped(bomb),
		"zstd": e.EncodeAll(bomb, nil),
		"lie":  bzImage(withSize(gzipped(bomb), 4)),
	} {
		_, err := Decode(name, data, Limits{MaxUnpacked: 1 << 20})
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1 MiB") {
			t.Errorf("%s: %v", name, err)
		}
	}
	size := len(tinyKernel())
	for _, p := range packedFiles {
		data := readTestdata(t, p.file)
		if _, err := Decode(p.file, data, Limits{MaxUnpacked: size}); err != nil {
			t.Errorf("%s: %v", p.file, err)
		}
		if _, err := Decode(p.file, data, Limits{MaxUnpacked: size - 1}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s, one byte too little: %v", p.file, err)
		}
	}
	if _, err := Decode("xz", readTestdata(t, "tiny.xz"), Limits{MaxWindow: 1 << 20}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("xz window: %v", err)
	}
}

func TestProgress(t *testing.T) {
	big := imagetest.ELF{Is64: true, Segments: []imagetest.Segment{{Paddr: 0x1000, Data: make([]byte, 5<<20)}}}.Build()
	var seen []int
	if _, err := Decode("k", gzipped(big), Limits{Progress: func(n int) { seen = append(seen, n) }}); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 5 || seen[len(seen)-1] != len(big) {
		t.Errorf("progress %v, want it to end at %d", seen, len(big))
	}
}

// TestRoomIsExact checks that a file that tells its size costs no more.
func TestRoomIsExact(t *testing.T) {
	size := len(tinyKernel())
	for _, p := range packedFiles {
		data := readTestdata(t, p.file)
		if size > 32*len(data) {
			t.Fatalf("%s is too small to be believed", p.file)
		}
		k := mustDecode(t, bzImage(withSize(data, size)))
		if k.Held > size+size/16 && p.how != "gzip" {
			t.Errorf("%s: %d bytes held for %d", p.file, k.Held, size)
		}
	}
}

func TestCheckPVH(t *testing.T) {
	seg := []imagetest.Segment{{Paddr: 0x100000, Data: []byte("code"), Memsz: 0x1000}}
	for _, c := range []struct {
		name string
		spec imagetest.ELF
		says string
	}{
		{"no notes", imagetest.ELF{Is64: true, Segments: seg}, "CONFIG_PVH"},
		{"outside", imagetest.ELF{Is64: true, Segments: seg, Notes: note(NotePhys32Entry, u32(0x101000))}, "outside the kernel"},
		{"over 32 bits", imagetest.ELF{Is64: true, Segments: seg, Notes: note(NotePhys32Entry, u64(1<<32+0x100000))}, "outside the kernel"},
		{"high", imagetest.ELF{Is64: true, Segments: []imagetest.Segment{{Paddr: 1 << 32, Data: []byte("code")}}, Notes: note(NotePhys32Entry, u32(0))}, "below 4 GiB"},
	} {
		k := mustDecode(t, c.spec.Build())
		err := k.CheckPVH()
		if _, ok := k.PVHEntry(); ok || !errors.Is(err, ErrNoPVHEntry) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// memory is guest memory from 0 on, filled with rubbish.
type memory []byte

func newMemory(size int) memory { return bytes.Repeat([]byte{0xaa}, size) }

func (m memory) at(a mm.GuestPhys, n int) ([]byte, error) {
	if a > mm.GuestPhys(len(m)) || n > len(m)-int(a) {
		return nil, mm.ErrBadAddress
	}
	return m[a : int(a)+n], nil
}

func (m memory) ReadPhys(a mm.GuestPhys, dst []byte) error {
	b, err := m.at(a, len(dst))
	copy(dst, b)
	return err
}

func (m memory) WritePhys(a mm.GuestPhys, src []byte) error {
	b, err := m.at(a, len(src))
	copy(b, src)
	return err
}

func (m memory) Pin(mm.GFN) (mm.Page, error) { return mm.Page{}, mm.ErrBadAddress }
func (m memory) Unpin(mm.GFN)                {}

func TestLoad(t *testing.T) {
	k := mustDecode(t, tinyKernel())
	m := newMemory(0x1006000)
	if err := k.Load(m, LoadOptions{Bottom: 0x100000, Top: 0x1006000}); err != nil {
		t.Fatal(err)
	}
	a, b := k.Segments[0], k.Segments[1]
	want := newMemory(0x1006000)
	copy(want[0x1000000:], a.Data)
	clear(want[0x1002000:0x1005000])
	copy(want[0x1002000:], b.Data)
	if !bytes.Equal(m, want) {
		t.Error("memory differs from the segments")
	}

	m = newMemory(0x1006000)
	if err := k.Load(m, LoadOptions{Top: 0x1006000, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	if m[0x1004fff] != 0xaa {
		t.Error("zeroed memory was cleared again")
	}

	for _, o := range []LoadOptions{{Top: 0x1004fff}, {Bottom: 0x1000001, Top: 0x2000000}} {
		m := newMemory(0x1006000)
		if err := k.Load(m, o); !errors.Is(err, ErrPlacement) {
			t.Errorf("%+v: %v", o, err)
		}
		if !bytes.Equal(m, newMemory(len(m))) {
			t.Error("a refused kernel was written")
		}
	}
	if err := k.Load(newMemory(0x1003000), LoadOptions{Top: 0x2000000}); !errors.Is(err, mm.ErrBadAddress) {
		t.Errorf("memory's own error: %v", err)
	}
}

func TestLZOPStoredBlock(t *testing.T) {
	// A header as lzop writes it, then one block that is not packed.
	tiny := tinyKernel()
	b := []byte(lzopMagic)
	be := binary.BigEndian
	b = be.AppendUint16(b, 0x1030)
	b = be.AppendUint16(b, 0x20a0)
	b = be.AppendUint16(b, 0x940)
	b = append(b, 1, 5)
	b = be.AppendUint32(b, 0)
	b = append(b, make([]byte, 12)...)
	b = append(b, 4)
	b = append(b, "name"...)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, uint32(len(tiny)))
	b = be.AppendUint32(b, uint32(len(tiny)))
	b = append(b, tiny...)
	sameKernel(t, mustDecode(t, be.AppendUint32(b, 0)))
}
