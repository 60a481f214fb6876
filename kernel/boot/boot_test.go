package boot

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const infoAddr = 0x10000 // where the tests put the loader's information

// e820 is a PC's usual map; the order, an overlap and an empty entry are what
// firmware gets wrong.
var e820 = []struct {
	addr, size uint64
	typ        uint32
}{
	{0x100000, 0x7fee0000, 1},
	{0, 0x9fc00, 1},
	{0x9fc00, 0x400, 2},
	{0xf0000, 0x10000, 2},
	{0x7ffdf000, 0x21000, 2},
	{0x7fff0000, 0x8000, 3},
	{0x500000, 0, 1},
	{0xfffc0000, 0x40000, 2},
	{0x100000000, 0x80000000, 1},
	{0x7ff00000, 0x1000, 99},
}

var e820Want = []Range{
	{0, 0x9fc00, MemUsable},
	{0x9fc00, 0xa0000, MemReserved},
	{0xf0000, 0x100000, MemReserved},
	{0x100000, 0x7ff00000, MemUsable},
	{0x7ff00000, 0x7ff01000, MemReserved},
	{0x7ff01000, 0x7ffdf000, MemUsable},
	{0x7ffdf000, 0x80000000, MemReserved},
	{0xfffc0000, 0x100000000, MemReserved},
	{0x100000000, 0x180000000, MemUsable},
}

// multiboot1 builds what QEMU and GRUB pass.
func multiboot1() *fakePhys {
	p := newPhys()
	const mmap, mods, str = infoAddr + 0x200, infoAddr + 0x400, infoAddr + 0x500
	var m []byte
	for _, r := range e820 {
		m = append(m, pack(uint32(20), r.addr, r.size, r.typ)...)
	}
	p.write(mmap, m)
	p.put(str, "/boot/nidus console=com1")
	p.put(str+0x40, "/boot/vmlinuz root=/dev/xvda ro")
	p.put(str+0x80, "GRUB 2.06")
	p.put(mods, uint32(0x200000), uint32(0x300000), uint32(str+0x40), uint32(0),
		uint32(0x300000), uint32(0x300123), uint32(0), uint32(0))
	p.put(infoAddr, uint32(0x124f), uint32(639), uint32(0x7fb80), uint32(0), uint32(str),
		uint32(2), uint32(mods), make([]byte, 16), uint32(len(m)), uint32(mmap),
		make([]byte, 12), uint32(str+0x80), make([]byte, 20),
		uint64(0xfd000000), uint32(4096), uint32(1024), uint32(768), uint8(32), uint8(1),
		[]byte{16, 8, 8, 8, 0, 8})
	return p
}

// tag builds a multiboot 2 tag.
func tag(typ uint32, values ...any) []byte {
	body := pack(values...)
	b := pack(typ, uint32(8+len(body)), body)
	return append(b, make([]byte, -len(b)&7)...)
}

var rsdp1 = append([]byte("RSD PTR "), make([]byte, 12)...)
var rsdp2 = append([]byte("RSD PTR "), make([]byte, 28)...)

// mb2Tags are what GRUB passes on UEFI.
func mb2Tags() [][]byte {
	m := pack(uint32(24), uint32(0))
	for _, r := range e820 {
		m = append(m, pack(r.addr, r.size, r.typ, uint32(0))...)
	}
	return [][]byte{
		tag(mb2CmdLine, "console=com1"),
		tag(mb2LoaderName, "GRUB 2.06"),
		tag(mb2Module, uint32(0x200000), uint32(0x300000), "/boot/vmlinuz root=/dev/xvda ro"),
		tag(mb2Module, uint32(0x300000), uint32(0x300123), ""),
		tag(mb2BasicMem, uint32(639), uint32(0x7fb80)),
		tag(mb2Mmap, m),
		tag(mb2Framebuffer, uint64(0xfd000000), uint32(4096), uint32(1024), uint32(768),
			uint8(32), uint8(1), uint16(0), []byte{16, 8, 8, 8, 0, 8}),
		tag(mb2EFI64, uint64(0x7f123000)),
		tag(mb2RSDPNew, rsdp2),
		tag(mb2RSDPOld, rsdp1),
		tag(mb2EFIMmap, uint32(48), uint32(1),
			uint32(7), uint32(0), uint64(0x100000), uint64(0), uint64(0x10000), uint64(0xf), uint64(0),
			uint32(10), uint32(0), uint64(0x7f000000), uint64(0), uint64(4), uint64(0xf), uint64(0)),
		tag(99, "unknown"),
	}
}

func multiboot2(tags [][]byte) *fakePhys {
	p := newPhys()
	b := append(bytes.Join(tags, nil), tag(mb2End)...)
	p.put(infoAddr, uint32(len(b)+8), uint32(0), b)
	return p
}

// pvh builds what QEMU and Xen pass.
func pvh() *fakePhys {
	p := newPhys()
	const mmap, mods, str = infoAddr + 0x200, infoAddr + 0x400, infoAddr + 0x500
	for i, r := range e820 {
		p.put(mmap+uint64(i)*24, r.addr, r.size, r.typ, uint32(0))
	}
	p.put(str, "console=com1")
	p.put(str+0x40, "/boot/vmlinuz root=/dev/xvda ro")
	p.put(mods, uint64(0x200000), uint64(0x100000), uint64(str+0x40), uint64(0),
		uint64(0x300000), uint64(0x123), uint64(0), uint64(0))
	p.put(infoAddr, uint32(PVHMagic), uint32(1), uint32(0), uint32(2), uint64(mods),
		uint64(str), uint64(0xf5a40), uint64(mmap), uint32(len(e820)), uint32(0))
	return p
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		magic uint32
		mem   *fakePhys
		want  Info
	}{
		{"multiboot1", Multiboot1Magic, multiboot1(), Info{
			Loader: LoaderMultiboot1, LoaderName: "GRUB 2.06", CommandLine: "/boot/nidus console=com1",
		}},
		{"multiboot2", Multiboot2Magic, multiboot2(mb2Tags()), Info{
			Loader: LoaderMultiboot2, LoaderName: "GRUB 2.06", CommandLine: "console=com1",
			RSDPCopy: rsdp2, EFISystemTable: 0x7f123000,
			EFIMemory: []EFIMemory{{7, 0x100000, 0x10000, 0xf}, {10, 0x7f000000, 4, 0xf}},
		}},
		{"pvh", PVHMagic, pvh(), Info{
			Loader: LoaderPVH, CommandLine: "console=com1", RSDP: 0xf5a40,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.magic, infoAddr, c.mem)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			want.Memory = e820Want
			want.Modules = []Module{
				{0x200000, 0x300000, "/boot/vmlinuz root=/dev/xvda ro"}, {0x300000, 0x300123, ""},
			}
			if c.magic == Multiboot2Magic {
				want.RSDP = got.RSDP // checked by its content
				b := make([]byte, 8)
				if c.mem.ReadPhys(got.RSDP, b); string(b) != "RSD PTR " {
					t.Errorf("RSDP %#x holds %q", got.RSDP, b)
				}
			}
			if c.magic != PVHMagic {
				want.Framebuffer = &Framebuffer{FramebufferRGB, 0xfd000000, 4096, 1024, 768, 32,
					Channel{16, 8}, Channel{8, 8}, Channel{0, 8}}
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("\n got %+v\nwant %+v", *got, want)
			}
			if n := got.Modules[0].Name(); n != "vmlinuz" {
				t.Errorf("module name %q", n)
			}
		})
	}
}

// early is where the tests' Early lives: not on the heap for each run.
var early Early

func TestScanDoesNotAllocate(t *testing.T) {
	for magic, p := range map[uint32]*fakePhys{
		Multiboot1Magic: multiboot1(), Multiboot2Magic: multiboot2(mb2Tags()), PVHMagic: pvh(),
	} {
		flat := &flatPhys{infoAddr, p.dump(infoAddr, 0x1000)}
		var s Status
		if n := testing.AllocsPerRun(100, func() { s = early.Scan(magic, infoAddr, flat) }); n != 0 {
			t.Errorf("magic %#x: %v allocations", magic, n)
		}
		if s != StatusOK {
			t.Errorf("magic %#x: %v", magic, s)
		}
	}
}

// TestOwn asserts that everything that Info reads lies in the kept places.
func TestOwn(t *testing.T) {
	for magic, p := range map[uint32]*fakePhys{
		Multiboot1Magic: multiboot1(), Multiboot2Magic: multiboot2(mb2Tags()), PVHMagic: pvh(),
	} {
		want, err := Parse(magic, infoAddr, p)
		if err != nil {
			t.Fatal(err)
		}
		early.Scan(magic, infoAddr, p)
		kept := newPhys()
		for _, page := range []uint64{infoAddr >> 12} {
			kept.pages[page] = new([4096]byte)
		}
		for i := range early.NumOwn() {
			o := early.Own(i)
			kept.write(o.Addr, p.dump(o.Addr, int(o.Len)))
		}
		got, err := Parse(magic, infoAddr, kept)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("magic %#x: the kept places don't hold everything: %v\n got %+v\nwant %+v", magic, err, got, want)
		}
	}
}

func TestScanRefuses(t *testing.T) {
	mb1 := func(off uint64, values ...any) *fakePhys {
		p := multiboot1()
		p.put(infoAddr+off, values...)
		return p
	}
	start := func(off uint64, values ...any) *fakePhys {
		p := pvh()
		p.put(infoAddr+off, values...)
		return p
	}
	mb2 := func(size uint32) *fakePhys {
		p := multiboot2(mb2Tags())
		p.put(infoAddr, size)
		return p
	}
	for _, c := range []struct {
		name  string
		magic uint32
		info  uint64
		mem   Phys
		want  Status
	}{
		{"no loader", 0x12345678, infoAddr, multiboot1(), StatusBadMagic},
		{"null", Multiboot1Magic, 0, multiboot1(), StatusBadInfo},
		{"hole", Multiboot1Magic, 0x900000, multiboot1(), StatusBadInfo},
		{"beyond", Multiboot1Magic, ^uint64(0) - 4, multiboot1(), StatusBadInfo},
		{"no flags", Multiboot1Magic, infoAddr, mb1(0, uint32(0)), StatusNoMemory},
		{"module list", Multiboot1Magic, infoAddr, mb1(mb1ModsAddr, ^uint32(0)), StatusBadInfo},
		{"mb2 unaligned", Multiboot2Magic, infoAddr + 4, multiboot2(mb2Tags()), StatusBadInfo},
		{"mb2 tiny", Multiboot2Magic, infoAddr, mb2(15), StatusBadInfo},
		{"mb2 huge", Multiboot2Magic, infoAddr, mb2(^uint32(0)), StatusBadInfo},
		{"mb2 cut", Multiboot2Magic, infoAddr, mb2(49), StatusBadInfo},
		{"mb2 empty", Multiboot2Magic, infoAddr, multiboot2(nil), StatusNoMemory},
		{"mb2 tag size", Multiboot2Magic, infoAddr, multiboot2([][]byte{pack(uint32(1), uint32(7))}), StatusBadInfo},
		{"pvh magic", PVHMagic, infoAddr, start(0, uint32(1)), StatusBadInfo},
		{"pvh version 0", PVHMagic, infoAddr, start(4, uint32(0)), StatusNoMemory},
		{"pvh list", PVHMagic, infoAddr, start(pvhModList, ^uint64(0)), StatusBadInfo},
		{"pvh map", PVHMagic, infoAddr, start(pvhMemMap, uint64(MaxPhys-8)), StatusBadInfo},
		{"pvh entries", PVHMagic, infoAddr, start(pvhMemEntries, ^uint32(0)), StatusTooManyRanges},
	} {
		if got := early.Scan(c.magic, c.info, c.mem); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		_, err := Parse(c.magic, c.info, c.mem)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: Parse: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestScanPasses covers what is wrong and can be passed over.
func TestScanPasses(t *testing.T) {
	mb1 := func(off uint64, values ...any) *fakePhys {
		p := multiboot1()
		p.put(infoAddr+off, values...)
		return p
	}
	long := multiboot1()
	long.put(infoAddr+mb1CmdLine, uint32(0x40000))
	long.write(0x40000, bytes.Repeat([]byte("a"), MaxString+1))
	many := mb2Tags()
	for range MaxModules {
		many = append(many, tag(mb2Module, uint32(0x1000), uint32(0x2000), ""))
	}
	badTag := append(mb2Tags(), tag(mb2EFI64, uint32(1)))
	basic := []Range{{0, 639 << 10, MemUsable}, {1 << 20, 1<<20 + 0x7fb80<<10, MemUsable}}
	efi := append([][]byte{}, mb2Tags()...)
	efi[5] = tag(mb2Mmap, uint32(0), uint32(0)) // an entry size of 0
	for _, c := range []struct {
		name    string
		magic   uint32
		mem     Phys
		problem Problem
		memory  []Range
	}{
		{"no map", Multiboot1Magic, mb1(0, uint32(mb1HasMem)), 0, basic},
		{"map too long", Multiboot1Magic, mb1(mb1MmapLength, ^uint32(0)), ProblemMemoryMap, basic},
		{"map in a hole", Multiboot1Magic, mb1(mb1MmapAddr, uint32(0x900000)), ProblemMemoryMap, basic},
		{"map entry size", Multiboot1Magic, mb1(0x200, uint32(19)), ProblemMemoryMap, basic},
		{"map entry wraps", Multiboot1Magic, mb1(0x200+4+24, ^uint64(0)-5, uint64(0x1000)), ProblemMemoryEntry, nil},
		{"command line in a hole", Multiboot1Magic, mb1(mb1CmdLine, uint32(0x900000)), ProblemCommandLine, e820Want},
		{"command line too long", Multiboot1Magic, long, ProblemCommandLine, e820Want},
		{"name in a hole", Multiboot1Magic, mb1(mb1LoaderName, uint32(0x900000)), ProblemLoaderName, e820Want},
		{"module backwards", Multiboot1Magic, mb1(0x400, uint32(0x200000), uint32(0x1ff)), ProblemModule, e820Want},
		{"module line in a hole", Multiboot1Magic, mb1(0x408, uint32(0x900000)), ProblemModuleString, e820Want},
		{"65 modules", Multiboot1Magic, mb1(mb1ModsCount, uint32(65)), ProblemModules | ProblemModule | ProblemModuleString, e820Want},
		{"module count", Multiboot1Magic, mb1(mb1ModsCount, ^uint32(0)), ProblemModules | ProblemModule | ProblemModuleString, e820Want},
		{"mb2 modules", Multiboot2Magic, multiboot2(many), ProblemModules, e820Want},
		{"screen", Multiboot1Magic, mb1(96, uint32(4095)), ProblemFramebuffer, e820Want},
		{"screen kind", Multiboot1Magic, mb1(109, uint8(3)), ProblemFramebuffer, e820Want},
		{"screen channel", Multiboot1Magic, mb1(110, uint8(25)), ProblemFramebuffer, e820Want},
		{"short tag", Multiboot2Magic, multiboot2(badTag), ProblemTag, e820Want},
		{"EFI map instead", Multiboot2Magic, multiboot2(efi), 0,
			[]Range{{0x100000, 0x10100000, MemUsable}, {0x7f000000, 0x7f004000, MemNVS}}},
	} {
		if s := early.Scan(c.magic, infoAddr, c.mem); s != StatusOK {
			t.Errorf("%s: %v", c.name, s)
			continue
		}
		if early.Problems != c.problem {
			t.Errorf("%s: problems %v, want %v", c.name, early.Problems.Strings(), c.problem.Strings())
		}
		if got := early.memory.list[:early.memory.n]; c.memory != nil && !reflect.DeepEqual(got, c.memory) {
			t.Errorf("%s: memory %v, want %v", c.name, got, c.memory)
		}
	}
	if in, err := Parse(Multiboot1Magic, infoAddr, long); err != nil || in.CommandLine != strings.Repeat("a", MaxString) {
		t.Errorf("long command line: %v", err)
	}
}

// TestTooManyRanges has a map of 257 islands.
func TestTooManyRanges(t *testing.T) {
	for n, want := range map[int]Status{MaxRanges: StatusOK, MaxRanges + 1: StatusTooManyRanges} {
		p := pvh()
		for i := range uint64(n) {
			p.put(0x20000+i*24, i<<20, uint64(0x1000), uint32(1), uint32(0))
		}
		p.put(infoAddr+pvhMemMap, uint64(0x20000), uint32(n))
		if got := early.Scan(PVHMagic, infoAddr, p); got != want {
			t.Errorf("%d ranges: %v, want %v", n, got, want)
		}
	}
}

func TestSplitModule(t *testing.T) {
	for _, c := range []struct{ line, name, args string }{
		{"", "", ""},
		{"vmlinuz", "vmlinuz", ""},
		{"/boot/vmlinuz-6.1 root=/dev/xvda ro", "vmlinuz-6.1", "root=/dev/xvda ro"},
		{"  (hd0,1)/boot/initrd.img\t a  b ", "initrd.img", "a  b"},
		{"dir/ x", "", "x"},
	} {
		if n, a := SplitModule(c.line); n != c.name || a != c.args {
			t.Errorf("%q: %q, %q; want %q, %q", c.line, n, a, c.name, c.args)
		}
	}
}
