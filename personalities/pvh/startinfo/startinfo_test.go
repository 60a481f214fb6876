package startinfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nidus/mm"
	"nidus/personalities/acpi"
)

// lowMemory is guest memory below 1 MiB; writes elsewhere fail.
type lowMemory [1 << 20]byte

func (m *lowMemory) WritePhys(a mm.GuestPhys, src []byte) error {
	if a >= mm.GuestPhys(len(m)) || len(src) > len(m)-int(a) {
		return mm.ErrBadAddress
	}
	copy(m[a:], src)
	return nil
}

func (m *lowMemory) ReadPhys(a mm.GuestPhys, dst []byte) error { return mm.ErrBadAddress }
func (m *lowMemory) Pin(mm.GFN) (mm.Page, error)               { return mm.Page{}, mm.ErrBadAddress }
func (m *lowMemory) Unpin(mm.GFN)                              {}

// str reads the text at an address of the guest.
func (m *lowMemory) str(a uint64) string {
	b := m[a:]
	return string(b[:bytes.IndexByte(b, 0)])
}

// The structures of arch-x86/hvm/start_info.h, written down a second time so
// that encoding/binary can read what Write wrote.
type hvmStartInfo struct {
	Magic, Version, Flags, NrModules              uint32
	ModlistPaddr, CmdlinePaddr, RSDPPaddr, Memmap uint64
	MemmapEntries, Reserved                       uint32
}
type hvmModlistEntry struct{ Paddr, Size, CmdlinePaddr, Reserved uint64 }
type hvmMemmapEntry struct {
	Addr, Size     uint64
	Type, Reserved uint32
}

// read reads n values of T at an address.
func read[T any](t *testing.T, m *lowMemory, at uint64, n int) []T {
	t.Helper()
	out := make([]T, n)
	if err := binary.Read(bytes.NewReader(m[at:]), binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStructureSizes(t *testing.T) {
	// start_info.h: 56, 32 and 24 bytes.
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"hvm_start_info", binary.Size(hvmStartInfo{}), infoSize},
		{"hvm_modlist_entry", binary.Size(hvmModlistEntry{}), modlistSize},
		{"hvm_memmap_table_entry", binary.Size(hvmMemmapEntry{}), memmapSize},
		{"hvm_start_info in the header", infoSize, 56},
		{"hvm_modlist_entry in the header", modlistSize, 32},
		{"hvm_memmap_table_entry in the header", memmapSize, 24},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
}

func cpus(n int) []acpi.CPU {
	c := make([]acpi.CPU, n)
	for i := range c {
		c[i] = acpi.CPU{UID: uint32(i), APICID: uint32(2 * i), Enabled: true}
	}
	return c
}

// good are parameters of an ordinary domain with 256 MiB.
func good() Params {
	return Params{
		Memory: 256 << 20, KernelStart: 0x1000000, KernelEnd: 0x4a00123, Cmdline: "console=hvc0 root=/dev/xvda1",
		Modules: []Module{{"initrd.img", 30<<20 + 5, ""}, {"second", 1, "second's words"}}, CPUs: cpus(4),
	}
}

func TestWrite(t *testing.T) {
	plan, err := Layout(good())
	if err != nil {
		t.Fatal(err)
	}
	m := new(lowMemory)
	if err := plan.Write(m); err != nil {
		t.Fatal(err)
	}
	if plan.StartInfo == 0 || plan.StartInfo%8 != 0 {
		t.Errorf("start info at %#x", plan.StartInfo)
	}
	si := read[hvmStartInfo](t, m, uint64(plan.StartInfo), 1)[0]
	if si.Magic != 0x336ec578 || si.Version != 1 || si.Flags != 0 || si.NrModules != 2 || si.Reserved != 0 {
		t.Errorf("%+v", si)
	}
	if s := m.str(si.CmdlinePaddr); s != good().Cmdline {
		t.Errorf("command line %q", s)
	}
	mods := read[hvmModlistEntry](t, m, si.ModlistPaddr, 2)
	if mods[0] != (hvmModlistEntry{Paddr: 0x4a01000, Size: 30<<20 + 5}) {
		t.Errorf("module 0: %#x", mods[0])
	}
	if mods[1].Paddr != 0x4a01000+30<<20+0x1000 || mods[1].Size != 1 || m.str(mods[1].CmdlinePaddr) != "second's words" {
		t.Errorf("module 1: %#x", mods[1])
	}
	if mods[0].Paddr != uint64(plan.Modules[0].Addr) || mods[1].Paddr != uint64(plan.Modules[1].Addr) {
		t.Error("the plan has other places for the modules")
	}
	entries := read[hvmMemmapEntry](t, m, si.Memmap, int(si.MemmapEntries))
	want := []hvmMemmapEntry{
		{0, 0xa0000, 1, 0},
		{0xe0000, 0x20000, 3, 0},
		{0x100000, 255 << 20, 1, 0},
		{0xfeff8000, 0x8000, 2, 0},
	}
	if !slices.Equal(entries, want) {
		t.Errorf("memory map %#x", entries)
	}
	if string(m[si.RSDPPaddr:][:8]) != "RSD PTR " {
		t.Errorf("no RSDP at %#x", si.RSDPPaddr)
	}
	if !bytes.Equal(m[:0x1000], make([]byte, 0x1000)) {
		t.Error("page 0 was written")
	}
	if err := plan.Write(failing{}); !errors.Is(err, mm.ErrBadAddress) {
		t.Errorf("memory's error: %v", err)
	}
}

type failing struct{ lowMemory }

func (failing) WritePhys(mm.GuestPhys, []byte) error { return mm.ErrBadAddress }
func (failing) ReadPhys(mm.GuestPhys, []byte) error  { return mm.ErrBadAddress }
func (failing) Pin(mm.GFN) (mm.Page, error)          { return mm.Page{}, mm.ErrBadAddress }
func (failing) Unpin(mm.GFN)                         {}

func TestWriteWithoutModules(t *testing.T) {
	p := good()
	p.Modules, p.Cmdline = nil, ""
	plan, err := Layout(p)
	if err != nil {
		t.Fatal(err)
	}
	m := new(lowMemory)
	if err := plan.Write(m); err != nil {
		t.Fatal(err)
	}
	si := read[hvmStartInfo](t, m, uint64(plan.StartInfo), 1)[0]
	if si.NrModules != 0 || si.ModlistPaddr != 0 || si.CmdlinePaddr == 0 || m.str(si.CmdlinePaddr) != "" {
		t.Errorf("%+v", si)
	}
}

func TestMemoryAbove4GiB(t *testing.T) {
	p := good()
	p.Memory = 6 << 30
	plan, err := Layout(p)
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{{0, 0xf0000000}, {1 << 32, 6<<30 - 0xf0000000}}
	if !slices.Equal(plan.RAM, want) {
		t.Errorf("RAM %#x", plan.RAM)
	}
	last := plan.MemoryMap[len(plan.MemoryMap)-1]
	if last.Range != want[1] || last.Type != MapRAM {
		t.Errorf("last entry %#x", last)
	}
	p.HoleStart = 0xc0000000
	if plan, err = Layout(p); err != nil || plan.RAM[0].End() != 0xc0000000 || plan.RAM[1].Size != 3<<30 {
		t.Errorf("with a larger hole: %v", err)
	}
}

func TestLayoutErrors(t *testing.T) {
	long := strings.Repeat("x", MaxCmdline)
	for _, c := range []struct {
		name   string
		change func(*Params)
		is     error
		says   string
	}{
		{"no memory", func(p *Params) { p.Memory = 0 }, ErrMemory, "memory="},
		{"odd memory", func(p *Params) { p.Memory += 5 }, ErrParams, "whole pages"},
		{"far too much", func(p *Params) { p.Memory = 1 << 60 }, ErrParams, "GiB"},
		{"hole over the APICs", func(p *Params) { p.HoleStart = 0xfee00000 }, ErrParams, "devices"},
		{"hole unaligned", func(p *Params) { p.HoleStart = 0xf0000001 }, ErrParams, "devices"},
		{"empty kernel", func(p *Params) { p.KernelEnd = p.KernelStart }, ErrParams, "a kernel from"},
		{"low kernel", func(p *Params) { p.KernelStart = 0x8000 }, ErrParams, "first MiB"},
		{"kernel too large", func(p *Params) { p.Memory = 64 << 20 }, ErrMemory, "at least 75 MiB"},
		{"ramdisk too large", func(p *Params) { p.Modules[0].Size = 300 << 20 }, ErrMemory,
			"module initrd.img takes 307200 KiB, and above the kernel 186364 KiB are free; give the domain at least 375 MiB"},
		{"second too large", func(p *Params) { p.Modules[1].Size = 200 << 20 }, ErrMemory, "module second"},
		{"ramdisk over the hole", func(p *Params) { p.Memory, p.Modules[0].Size = 16<<30, 5<<30 }, ErrMemory, "device space at 0xf0000000"},
		{"absurd ramdisk", func(p *Params) { p.Modules[0].Size = 1<<64 - 1 }, ErrMemory, "initrd.img"},
		{"empty ramdisk", func(p *Params) { p.Modules[0].Size = 0 }, ErrParams, "is empty"},
		{"many modules", func(p *Params) { p.Modules = make([]Module, MaxModules+1) }, ErrParams, "33 modules"},
		{"long command line", func(p *Params) { p.Cmdline = long + "y" }, ErrParams, "16385 characters"},
		{"zero in a command line", func(p *Params) { p.Cmdline = "a\x00b" }, ErrParams, "zero byte at 1"},
		{"module's command line", func(p *Params) { p.Modules[1].Cmdline = long + "y" }, ErrParams, "module second"},
		{"command lines too long", func(p *Params) {
			p.Modules = nil
			for range MaxModules {
				p.Modules = append(p.Modules, Module{"m", 1, long})
			}
		}, ErrParams, "more than 504 KiB"},
		{"no CPU", func(p *Params) { p.CPUs = nil }, acpi.ErrConfig, "0 processors"},
	} {
		p := good()
		c.change(&p)
		plan, err := Layout(p)
		if plan != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// checkPlan checks what must hold of every plan: the RAM adds up, everything
// lies in it, and no two things lie at one place.
func checkPlan(t *testing.T, p Params, plan *Plan) {
	t.Helper()
	var total uint64
	for _, r := range plan.RAM {
		total += r.Size
	}
	if total != p.Memory {
		t.Fatalf("%#x bytes of RAM, want %#x", total, p.Memory)
	}
	used := []Range{
		{0, mm.PageSize},
		{plan.StartInfo, uint64(len(plan.info()))},
		{plan.cmdlineAddr, uint64(len(p.Cmdline)) + 1},
		{plan.Tables.Base, uint64(len(plan.Tables.Data))},
		{p.KernelStart, uint64(p.KernelEnd - p.KernelStart)},
	}
	for i, m := range plan.Modules {
		if m.Addr%mm.PageSize != 0 || m.Size != p.Modules[i].Size {
			t.Fatalf("module %d at %#x", i, m.Addr)
		}
		used = append(used, Range{m.Addr, m.Size})
		if m.cmdline != 0 {
			used = append(used, Range{m.cmdline, uint64(len(m.Cmdline)) + 1})
		}
	}
	slices.SortFunc(used, func(a, b Range) int { return int(int64(a.Start) - int64(b.Start)) })
	for i, u := range used {
		if u.End() > plan.RAM[0].End() {
			t.Fatalf("%#x is outside the memory", u)
		}
		if i > 0 && used[i-1].End() > u.Start {
			t.Fatalf("%#x and %#x overlap", used[i-1], u)
		}
	}
	end := mm.GuestPhys(0)
	for _, e := range plan.MemoryMap {
		if e.Start < end || e.Size == 0 {
			t.Fatalf("memory map %#x is out of order", plan.MemoryMap)
		}
		end = e.End()
		if e.Type == MapRAM && !slices.ContainsFunc(plan.RAM, func(r Range) bool { return e.Start >= r.Start && e.End() <= r.End() }) {
			t.Fatalf("the map says that %#x is RAM", e)
		}
	}
	if len(plan.info()) > mm.PageSize {
		t.Fatal("start info is over its page")
	}
}

func TestLayoutRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	accepted := 0
	for range 3000 {
		p := Params{
			Memory:      uint64(r.Uint32N(3<<20)) << r.IntN(5) << 12 / 8 &^ mm.PageMask,
			KernelStart: mm.GuestPhys(r.Uint32N(64 << 20)),
			CPUs:        cpus(1 + r.IntN(128)),
			Cmdline:     strings.Repeat("c", r.IntN(MaxCmdline)),
		}
		p.KernelEnd = p.KernelStart + mm.GuestPhys(r.Uint32N(128<<20))
		for range r.IntN(MaxModules + 2) {
			p.Modules = append(p.Modules, Module{"m", uint64(r.Uint32() >> r.IntN(32)), strings.Repeat("m", r.IntN(3000)*r.IntN(2))})
		}
		if plan, err := Layout(p); err == nil {
			accepted++
			checkPlan(t, p, plan)
		} else if !errors.Is(err, ErrMemory) && !errors.Is(err, ErrParams) {
			t.Fatal(err)
		}
	}
	if accepted < 100 {
		t.Errorf("only %d of the random layouts were possible", accepted)
	}
}

func FuzzLayout(f *testing.F) {
	f.Add(uint64(256<<20), uint64(0), uint64(0x1000000), uint64(0x4a00123), "console=hvc0", uint64(30<<20), uint64(1))
	f.Add(uint64(6<<30), uint64(0xc0000000), uint64(0x100000), uint64(0x297500), "", uint64(1), uint64(1<<63))
	f.Fuzz(func(t *testing.T, mem, hole, lo, hi uint64, cmdline string, m1, m2 uint64) {
		p := Params{
			Memory: mem, HoleStart: mm.GuestPhys(hole), KernelStart: mm.GuestPhys(lo), KernelEnd: mm.GuestPhys(hi),
			Cmdline: cmdline, Modules: []Module{{"1", m1, cmdline}, {"2", m2, ""}}, CPUs: cpus(2),
		}
		if plan, err := Layout(p); err == nil {
			checkPlan(t, p, plan)
		}
	})
}

func TestSpecialPages(t *testing.T) {
	s := specialPages()
	seen := map[mm.GFN]bool{}
	for _, g := range []mm.GFN{s.BufIOReq, s.IOReq, s.Xenstore, s.IdentPT, s.Console, s.VM86TSS} {
		if a := g.Addr(); a < s.Pages.Start || a >= s.Pages.End() || seen[g] {
			t.Errorf("special page %#x", g)
		}
		seen[g] = true
	}
	if s.Pages.End() != 0xff000000 {
		t.Errorf("they end at %#x", s.Pages.End())
	}
	d := IdentityDirectory()
	for _, i := range []uint32{0, 1, 1023} {
		if e := le.Uint32(d[4*i:]); e != i<<22|0xe7 {
			t.Errorf("entry %d of the identity directory: %#x", i, e)
		}
	}
}

func TestBootState(t *testing.T) {
	plan, err := Layout(good())
	if err != nil {
		t.Fatal(err)
	}
	s := plan.BootState(0x1000850)
	if s.CR0 != 0x11 || s.CR3 != 0 || s.CR4 != 0 || s.EFER != 0 || s.RFLAGS != 2 || s.RIP != 0x1000850 || s.RBX != uint64(plan.StartInfo) {
		t.Errorf("%+v", s)
	}
	for name, seg := range map[string]Segment{"ds": s.DS, "es": s.ES, "ss": s.SS} {
		if seg.Base != 0 || seg.Limit != 0xffffffff || seg.Attributes != 0xc93 {
			t.Errorf("%s %+v", name, seg)
		}
	}
	if s.CS.Base != 0 || s.CS.Limit != 0xffffffff || s.CS.Attributes != 0xc9b {
		t.Errorf("cs %+v", s.CS)
	}
	// pvh: "tr: must be a 32-bit TSS (active) with a base of '0' and a limit of '0x67'".
	if s.TR.Base != 0 || s.TR.Limit != 0x67 || s.TR.Attributes != 0x8b {
		t.Errorf("tr %+v", s.TR)
	}
}
