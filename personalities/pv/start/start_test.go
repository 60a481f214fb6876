package start

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/image"
	"nidus/personalities/image/imagetest"
)

// spec describes a kernel; notes that are nil are left out.
type spec struct {
	is32  bool
	notes map[image.NoteType][]byte
	at    uint64 // p_paddr
	size  uint64
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

// with replaces a note.
func (s spec) with(t image.NoteType, desc []byte) spec {
	if s.notes[t] = desc; desc == nil {
		delete(s.notes, t)
	}
	return s
}

func (s spec) kernel(t testing.TB) *image.Kernel {
	t.Helper()
	var notes []byte
	for n := range image.NoteType(32) {
		if d, ok := s.notes[n]; ok {
			notes = append(notes, imagetest.Note(uint32(n), d)...)
		}
	}
	data := bytes.Repeat([]byte("kernel text "), int(s.size)/12)
	k, err := image.Decode("k", imagetest.ELF{Is64: !s.is32, Notes: notes, Entry: s.at, Segments: []imagetest.Segment{
		{Paddr: s.at, Data: data, Memsz: s.size},
		{Paddr: s.at + s.size + 0x123, Data: []byte("data"), Memsz: 0x1800},
	}}.Build(), image.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const mib = 256 // pages

func TestStart64(t *testing.T) {
	disk := bytes.Repeat([]byte("ramdisk!"), 70000)
	for name, c := range map[string]struct {
		spec  spec
		pages uint64
		mods  []Module
	}{
		"as Linux":             {linux64(), 64 * mib, []Module{{Name: "r", Data: disk}}},
		"no ramdisk":           {linux64(), 33 * mib, nil},
		"plain":                {plain64(), 64 * mib, []Module{{Name: "r", Data: disk}}},
		"list by its address":  {plain64().with(image.NoteInitP2M, imagetest.U64(0xffffffff_40000000)), 64 * mib, nil},
		"list next to it":      {plain64().with(image.NoteInitP2M, imagetest.U64(0xffffffff_7fff0000)), 32 * mib, nil},
		"ramdisk by its frame": {plain64().with(image.NoteModStartPFN, imagetest.U32(1)), 64 * mib, []Module{{Name: "r", Data: disk}}},
		"identity": {spec{at: 0x100000, size: 0x9000, notes: map[image.NoteType][]byte{
			image.NoteEntry: imagetest.U64(0x100000), image.NoteXenVersion: []byte("xen-3.0\x00"),
		}}, 8 * mib, nil},
		"virtual p_paddr": {spec{at: 0xffffffff_80100000, size: 0x9000, notes: map[image.NoteType][]byte{
			image.NoteEntry: imagetest.U64(0xffffffff_80100000), image.NoteXenVersion: []byte("xen-3.0\x00"),
			image.NoteVirtBase: imagetest.U64(0xffffffff_80000000), image.NotePaddrOffset: imagetest.U64(0xffffffff_80000000),
		}}, 8 * mib, nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := c.spec.kernel(t)
			g, s := start(t, Params{Kernel: k, Pages: c.pages, Cmdline: "root=/dev/xvda ro", Modules: c.mods})
			if g.p.Bits != 64 || k.Notes.Has(image.NoteInitP2M) && s.MFNList != uint64(k.Notes.InitP2M) {
				t.Errorf("%d bits, list at %#x", g.p.Bits, s.MFNList)
			}
			want := uint32(xenabi.SIFVirtP2M)
			at := s.ModStart
			if len(c.mods) > 0 && k.Notes.ModStartPFN {
				want |= xenabi.SIFModStartPFN
				var got []byte
				for pfn := range PFN(pages(s.ModLen)) {
					got = append(got, g.m.page(g.m.Frame(PFN(at) + pfn))[:]...)
				}
				if uint64(len(disk)) != s.ModLen || !bytes.Equal(got[:s.ModLen], disk) {
					t.Errorf("ramdisk of %d bytes at PFN %#x", s.ModLen, at)
				}
			} else if len(c.mods) > 0 {
				if uint64(len(disk)) != s.ModLen || !bytes.Equal(g.read(at, s.ModLen), disk) {
					t.Errorf("ramdisk of %d bytes at %#x", s.ModLen, at)
				}
			}
			if s.Flags != want {
				t.Errorf("flags %#x, want %#x", s.Flags, want)
			}
		})
	}
}

// TestDebianKernel starts the kernel that the regressions use, if it has been fetched.
func TestDebianKernel(t *testing.T) {
	data, err := os.ReadFile("../../../out/guest/vmlinux")
	if err != nil {
		t.Skip("no kernel: ", err)
	}
	k, err := image.Decode("vmlinux", data, image.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	g, s := start(t, Params{Kernel: k, Pages: 256 * mib, Cmdline: "console=hvc0", Modules: []Module{{Name: "initrd", Data: data[:1<<20]}}})
	if g.p.VirtBase != 0xffffffff80000000 || s.MFNList != 0x8000000000 || s.Flags&xenabi.SIFModStartPFN == 0 {
		t.Errorf("%+v, list at %#x, flags %#x", g.p.VirtBase, s.MFNList, s.Flags)
	}
	t.Logf("%#x-%#x, entry %#x, tables %+v, list %+v, its tables %+v, ramdisk %+v, hypercall page %v %#x", g.p.VirtBase, g.p.VirtEnd, g.p.Entry,
		g.p.Tables, g.p.P2M, g.p.P2MTables, g.p.Ramdisk, g.p.guest.hasHypercalls, g.p.guest.hypercalls)
}

func TestCheckPV(t *testing.T) {
	const base = 0xffffffff_80000000
	n := imagetest.U64
	for _, c := range []struct {
		spec spec
		want string
	}{
		{linux64(), ""},
		{spec{at: 0x1000, size: 12}, "it has no notes for Xen"},
		{linux64().with(image.NoteEntry, nil), "it has no ENTRY note; build Linux with CONFIG_XEN_PV"},
		{linux64().with(image.NoteEntry, nil).with(image.NotePhys32Entry, n(0x1000000)), `starts as PVH; write type="pvh"`},
		{linux64().with(image.NoteXenVersion, nil), `XEN_VERSION is ""`},
		{linux64().with(image.NoteXenVersion, []byte("xen-2.0\x00")), `XEN_VERSION is "xen-2.0"`},
		{linux64().with(image.NoteFeatures, []byte("!auto_translated_physmap|!warp_drive|dom0\x00")), "requires auto_translated_physmap, warp_drive,"},
		{linux64().with(image.NoteHVStartLow, n(0xffff9000_00000000)), "HV_START_LOW"},
		{linux64().with(image.NoteVirtBase, n(base+1)), "VIRT_BASE 0xffffffff80000001 begins no page"},
		{linux64().with(image.NotePaddrOffset, n(0x1000001)), "PADDR_OFFSET 0x1000001 does not fit"},
		{linux64().with(image.NotePaddrOffset, n(base)), "PADDR_OFFSET"},
		{linux64().with(image.NoteEntry, n(base)), "ENTRY 0xffffffff80000000 lies outside the kernel, 0xffffffff81000000 to"},
		{linux64().with(image.NoteEntry, n(base+0x1000000+0x6000)), "lies outside the kernel"},
		{linux64().with(image.NoteVirtBase, n(0xffff8000_00000000)), "are not the guest's"},
		{linux64().with(image.NoteVirtBase, n(0xffff87ff_ff000000)), "are not the guest's"},
		{linux64().with(image.NoteVirtBase, n(0x7fff_ff000000)), "are not the guest's"},
		{linux64().with(image.NoteVirtBase, n(0x9000_00000000)), "are not the guest's"},
		{linux64().with(image.NoteVirtBase, n(0xffffffff_ff000000)), "are not the guest's"},
		{linux64().with(image.NoteHypercallPage, n(base+0x1001010)), "HYPERCALL_PAGE"},
		{linux64().with(image.NoteHypercallPage, n(base-0x1000)), "HYPERCALL_PAGE"},
		{linux64().with(image.NoteHypercallPage, n(base+0x2000000)), "HYPERCALL_PAGE"},
		{linux64().with(image.NoteInitP2M, n(0x80_00000008)), "INIT_P2M 0x8000000008 begins no page"},
	} {
		err := CheckPV(c.spec.kernel(t))
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrKernel) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	n := imagetest.U64
	ok := Params{Kernel: linux64().kernel(t), Pages: 64 * mib}
	for name, c := range map[string]struct {
		change func(*Params)
		want   error
		text   string
	}{
		"less than the kernel":    {func(p *Params) { p.Pages = 8 * mib }, ErrMemory, "raise memory="},
		"less than what's mapped": {func(p *Params) { p.Pages = 17 * mib }, ErrMemory, "the domain has 17; raise memory="},
		"large ramdisk":           {func(p *Params) { p.Modules = []Module{{Name: "r", Data: make([]byte, 60<<20)}} }, ErrMemory, "61440 KiB of modules"},
		"empty ramdisk":           {func(p *Params) { p.Modules = []Module{{Name: "r"}} }, ErrParams, "the file r is empty"},
		"many modules":            {func(p *Params) { p.Modules = make([]Module, 33) }, ErrParams, "33 modules"},
		"long command line":       {func(p *Params) { p.Cmdline = strings.Repeat("x", 1024) }, ErrParams, "1024 bytes"},
		"too much memory":         {func(p *Params) { p.Pages = 1<<34 + 1 }, ErrParams, "65536 GiB"},
		"terabytes of kernel": {func(p *Params) {
			k := *p.Kernel
			k.Segments = []image.Segment{{PhysAddr: 0x1000000, MemSize: 1 << 45}}
			k.Notes.VirtBase, k.Notes.Entry, k.Notes.HypercallPage = 0, 0x1000000, 0x1000000
			p.Kernel = &k
		}, ErrMemory, "raise memory="},
		"list over the kernel": {func(p *Params) { p.Kernel = linux64().with(image.NoteInitP2M, n(0xffffffff_81000000)).kernel(t) }, ErrKernel, "INIT_P2M"},
		"list in the hole":     {func(p *Params) { p.Kernel = linux64().with(image.NoteInitP2M, n(0xffff8100_00000000)).kernel(t) }, ErrKernel, "INIT_P2M"},
		"no room behind": {func(p *Params) {
			p.Kernel = linux64().with(image.NoteVirtBase, n(0xffffffff_fe000000)).with(image.NoteEntry, n(0xffffffff_ff000000)).with(image.NoteHypercallPage, nil).kernel(t)
			p.Kernel.Notes.ModStartPFN = false
			p.Modules = []Module{{Name: "r", Data: make([]byte, 16<<20)}}
		}, ErrKernel, "memory at the start"},
	} {
		p := ok
		c.change(&p)
		if _, err := Layout(p); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
}

func TestWriteFails(t *testing.T) {
	p, err := Layout(Params{Kernel: linux64().kernel(t), Pages: 64 * mib, Modules: []Module{{Name: "r", Data: []byte("r")}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, pfn := range map[string]PFN{
		"segment 0": 0x1000, "the ramdisk": p.Ramdisk.First, "the list": p.P2M.First, "start_info": p.StartInfo, "page tables": p.Tables.First,
	} {
		m := newMachine(p.Pages)
		m.fail = m.Frame(pfn)
		if err := p.Write(m, testLive); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHypercallPage(t *testing.T) {
	for _, c := range []struct {
		width xenabi.Width
		n     int
		want  string
	}{
		{xenabi.Guest64, 2, "\x51\x41\x53\xb8\x02\x00\x00\x00\x0f\x05\x41\x5b\x59\xc3\xcc"},
		{xenabi.Guest64, 23, "\x51\x41\x53\x50\xb8\x17\x00\x00\x00\x0f\x05\xcc"},
		{xenabi.Guest64, 127, "\x51\x41\x53\xb8\x7f\x00\x00\x00\x0f\x05\x41\x5b\x59\xc3\xcc"},
		{xenabi.Guest32, 2, "\xb8\x02\x00\x00\x00\xcd\x82\xc3\xcc"},
		{xenabi.Guest32, 23, "\x50\xb8\x17\x00\x00\x00\xcd\x82\xcc"},
	} {
		if got := HypercallPage(c.width)[32*c.n:]; string(got[:len(c.want)]) != c.want {
			t.Errorf("%d, %d: % x", c.width, c.n, got[:32])
		}
	}
}

func TestRegisters(t *testing.T) {
	p, err := Layout(Params{Kernel: linux64().kernel(t), Pages: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Registers(); r.CS != 0xe033 || r.SS != 0xe02b || r.DS != 0 || mm.GuestVirt(r.RIP) != p.Entry {
		t.Errorf("%+v", r)
	}
}

// TestRegionEnd looks at kernels of all sizes up to the multiple of 4 MiB after the next.
func TestRegionEnd(t *testing.T) {
	k := plain64().kernel(t)
	for n := range uint64(2200) {
		k.Segments[1].MemSize = 0x1800 + n<<mm.PageShift
		p, err := Layout(Params{Kernel: k, Pages: 64 * mib})
		if err != nil {
			t.Fatal(err)
		}
		spare := uint64(p.VirtEnd) - uint64(p.Virt(p.Stack+1))
		if p.VirtEnd%(4<<20) != 0 || spare < 512<<10 || spare >= 512<<10+4<<20 {
			t.Fatalf("%d more pages: %d KiB behind the stack, end %#x", n, spare>>10, p.VirtEnd)
		}
	}
}
