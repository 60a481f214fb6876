package start

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/image"
	"nidus/personalities/image/imagetest"
)

const mib = 256 // pages

func TestStart(t *testing.T) {
	disk := bytes.Repeat([]byte("ramdisk!"), 70000)
	one := []Module{{Name: "r", Data: disk}}
	for name, c := range map[string]struct {
		spec  spec
		pages uint64
		mods  []Module
	}{
		"as Linux":             {linux64(), 64 * mib, one},
		"no ramdisk":           {linux64(), 33 * mib, nil},
		"plain":                {plain64(), 64 * mib, one},
		"list by its address":  {plain64().with(image.NoteInitP2M, imagetest.U64(0xffffffff_40000000)), 64 * mib, nil},
		"list next to it":      {plain64().with(image.NoteInitP2M, imagetest.U64(0xffffffff_7fff0000)), 32 * mib, nil},
		"ramdisk by its frame": {plain64().with(image.NoteModStartPFN, imagetest.U32(1)), 64 * mib, one},
		"identity":             {grub64(), 8 * mib, nil},
		"NetBSD":               {netbsd64(), 16 * mib, one},
		"NetBSD, 32 bits":      {netbsd32(), 16 * mib, one},
		"as Linux, 32 bits":    {linux32(), 64 * mib, one},
		"identity, 32 bits":    {grub32(), 16 * mib, one},
		"list, 32 bits":        {linux32().with(image.NoteInitP2M, imagetest.U32(0x80000000)), 16 * mib, nil}, // which has no such note
		"at 3 GiB - 4 MiB":     {spec{is32: true, at: 0x1000, size: 0x9000, legacy: "XEN_VER=xen-3.0,VIRT_BASE=0xbfc00000,ELF_PADDR_OFFSET=0,VIRT_ENTRY=0xbfc01000,PAE=bimodal"}, 8 * mib, one},
		"__xen_guest, entry":   {spec{at: 0x40000000, size: 0x9000, legacy: "XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0x2"}, 8 * mib, nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := c.spec.kernel(t)
			g, s := start(t, Params{Kernel: k, Pages: c.pages, Cmdline: "root=/dev/xvda ro", Modules: c.mods})
			n := &k.Notes
			if g.p.Bits != k.Class || k.Class == 64 && n.Has(image.NoteInitP2M) && s.MFNList != uint64(n.InitP2M) {
				t.Errorf("%d bits, list at %#x", g.p.Bits, s.MFNList)
			}
			if (k.Symbols != nil) != c.spec.symbols {
				t.Error("symbols")
			}
			want := uint32(xenabi.SIFVirtP2M)
			if len(c.mods) > 0 {
				if n.ModStartPFN {
					want |= xenabi.SIFModStartPFN
				}
				if got := g.ramdisk(&s); !bytes.Equal(got, disk) {
					t.Errorf("ramdisk of %d bytes at %#x", s.ModLen, s.ModStart)
				}
			} else if s.ModStart != 0 || s.ModLen != 0 {
				t.Errorf("ramdisk of %d bytes at %#x", s.ModLen, s.ModStart)
			}
			if s.Flags != want {
				t.Errorf("flags %#x, want %#x", s.Flags, want)
			}
		})
	}
}

// TestKinds shows where kernels lie that ask for what real ones ask for, and whether they
// have a hypercall page.
func TestKinds(t *testing.T) {
	for name, c := range map[string]struct {
		spec      spec
		bits      int
		base      mm.GuestVirt
		hypercall bool
	}{
		"Linux":                        {linux64(), 64, 0xffffffff_80000000, true},
		"Linux without hypercall page": {linux64().with(image.NoteHypercallPage, nil), 64, 0xffffffff_80000000, false},
		"GRUB":                         {grub64(), 64, 0, false},
		"GRUB, 32 bits":                {grub32(), 32, 0, false},
		"NetBSD":                       {netbsd64(), 64, 0xffffffff_80000000, true},
		"NetBSD, 32 bits":              {netbsd32(), 32, 0xc0000000, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, s := start(t, Params{Kernel: c.spec.kernel(t), Pages: 128 * mib, Cmdline: "console=hvc0", Modules: []Module{{Name: "r", Data: []byte("ramdisk")}}})
			if g.p.Bits != c.bits || g.p.VirtBase != c.base || g.p.guest.hasHypercalls != c.hypercall || string(g.ramdisk(&s)) != "ramdisk" {
				t.Errorf("%d bits at %#x, hypercall page %v", g.p.Bits, g.p.VirtBase, g.p.guest.hasHypercalls)
			}
		})
	}
}

// TestModules looks at two modules as GNU Mach finds them.
func TestModules(t *testing.T) {
	files := []Module{
		{Name: "ext2fs", Data: bytes.Repeat([]byte("e"), 5000), Cmdline: "ext2fs --readonly device:hd0"},
		{Name: "exec", Data: []byte("exec"), Cmdline: "exec /hurd/exec"},
	}
	for name, c := range map[string]struct {
		spec  spec
		files []Module
	}{"64 bits": {linux64(), files}, "32 bits": {netbsd32(), files}, "one with a command line": {linux64(), files[:1]}} {
		t.Run(name, func(t *testing.T) {
			files := c.files
			g, s := start(t, Params{Kernel: c.spec.kernel(t), Pages: 64 * mib, Modules: files})
			if s.Flags&xenabi.SIFMultibootMod == 0 {
				t.Errorf("flags %#x", s.Flags)
			}
			b := g.ramdisk(&s)
			for i := 0; ; i++ {
				var m xenabi.XenMultibootMod
				if !xenabi.Decode(xenabi.Guest64, b[16*i:], &m) || m.ModStart == 0 {
					if i != len(files) {
						t.Errorf("%d modules", i)
					}
					return
				}
				text, _, _ := bytes.Cut(b[m.Cmdline:], []byte{0})
				if data := b[m.ModStart : m.ModEnd+1]; !bytes.Equal(data, files[i].Data) || string(text) != files[i].Cmdline || m.ModStart%mm.PageSize != 0 {
					t.Errorf("module %d: %d bytes at %#x, %q", i, len(data), m.ModStart, text)
				}
			}
		})
	}
}

func TestArrange(t *testing.T) {
	legacy := netbsd32()
	legacy.legacy = strings.Replace(legacy.legacy, "[extended-cr3]", "", 1)
	p, err := Layout(Params{Kernel: legacy.kernel(t), Pages: 16 * mib})
	if err != nil {
		t.Fatal(err)
	}
	host := func(low PFN) *machine {
		m := &machine{pfn: make(map[mm.MFN]PFN), pages: make(map[mm.MFN]*[mm.PageSize]byte)}
		for i := range PFN(p.Pages) {
			f := mm.MFN(1<<20 + i)
			if i == low {
				f = 1<<20 - 1
			}
			m.frames, m.pfn[f] = append(m.frames, f), i
		}
		return m
	}
	for _, low := range []PFN{p.Tables.First, 0, PFN(p.Pages) - 1} {
		m := host(low)
		if err := p.Arrange(m.Frame, m.swap); err != nil || m.Frame(p.Tables.First) != 1<<20-1 || low != p.Tables.First && m.Frame(low) != 1<<20+mm.MFN(p.Tables.First) {
			t.Errorf("low frame %d: %v, root %#x", low, err, m.Frame(p.Tables.First))
		}
		if err := p.Write(m, testLive); err != nil {
			t.Error(err)
		}
	}
	m := host(PFN(p.Pages))
	if err := p.Arrange(m.Frame, m.swap); !errors.Is(err, ErrMemory) {
		t.Errorf("no low frame: %v", err)
	}
	if err := p.Write(m, testLive); !errors.Is(err, ErrMemory) {
		t.Errorf("a root above 4 GiB: %v", err)
	}
	for _, any := range []spec{netbsd32(), linux32(), linux32().with(image.NoteFeatures, nil), netbsd64()} {
		p, err := Layout(Params{Kernel: any.kernel(t), Pages: 64 * mib})
		if err != nil || p.LowRoot {
			t.Errorf("%v, low root %v", err, p.LowRoot)
		}
	}
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
		{netbsd64(), ""},
		{netbsd32(), ""},
		{linux32(), ""},
		{linux32().with(image.NotePAEMode, nil), `PAE_MODE is "", and 32-bit kernels run with PAE only`},
		{linux32().with(image.NotePAEMode, []byte("no\x00")), `PAE_MODE is "no"`},
		{linux32().with(image.NotePAEMode, []byte("yes,bimodal\x00")), ""},
		{linux32().with(image.NoteHVStartLow, imagetest.U32(0xf5800001)), "HV_START_LOW"},
		{linux32().with(image.NoteVirtBase, imagetest.U32(0xf53fd000)), "0xf5800000 up are not the guest's"},
		{linux32().with(image.NoteVirtBase, imagetest.U64(0x1_00000000)), "are not the guest's"},
		{spec{is32: true, at: 0x1000, size: 0x1000, legacy: "XEN_VER=xen-3.0,PAE=yes"}, ""},
		{spec{is32: true, at: 0x1000, size: 0x1000, legacy: "XEN_VER=xen-3.0,PAE=no"}, "PAE_MODE"},
		{spec{at: 0x1000, size: 0x1000, legacy: "LOADER=generic"}, "XEN_VERSION"},
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
	if p, err = Layout(Params{Kernel: linux32().kernel(t), Pages: 64 * mib}); err != nil {
		t.Fatal(err)
	}
	if r := p.Registers(); r.CS != 0xe019 || r.SS != 0xe021 || r.DS != 0xe021 {
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
