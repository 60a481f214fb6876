package pvh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/create"
	"nidus/personalities/image"
	"nidus/personalities/image/imagetest"
	"nidus/personalities/pvh/startinfo"
)

const mib = 1 << 20

var le = binary.LittleEndian

// Where the kernel of these tests lies, and starts.
const (
	kernelAt    = 0x200000
	kernelEntry = kernelAt + 0x10
)

// kernel has one segment of size bytes in memory, and the PVH note if entry is not 0.
func kernel(t *testing.T, at, size uint64, entry uint32) *image.Kernel {
	t.Helper()
	e := imagetest.ELF{Is64: true, Entry: at, Segments: []imagetest.Segment{
		{Paddr: at, Vaddr: at, Data: []byte("the kernel's text"), Memsz: size, Flags: 7},
	}}
	if entry != 0 {
		e.Notes = imagetest.Note(uint32(image.NotePhys32Entry), imagetest.U32(entry))
	}
	k, err := image.Decode("test", e.Build(), image.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// config is a domain of 8 MiB with two vcpus.
func config(t *testing.T, m *domaintest.Machine) create.Config {
	t.Helper()
	return create.Config{
		Params: m.Params(t, 1, 2), Name: "g", Memory: 8 * mib, MaxMemory: 8 * mib, OnlineVCPUs: 2,
		Kernel: kernel(t, kernelAt, mib, kernelEntry), Cmdline: "console=hvc0", Modules: []image.Module{{Name: "initrd", Data: []byte(strings.Repeat("ramdisk ", 1000))}, {Name: "m", Data: []byte("module"), Cmdline: "a b"}},
	}
}

// built makes a domain that goes at the test's end, and leaves nothing.
func built(t *testing.T, m *domaintest.Machine, c create.Config) guest {
	t.Helper()
	d, err := Build(context.Background(), m.Host, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(); err != nil {
			t.Error(err)
		}
		m.CheckFree(t)
	})
	v := d.VCPUs[0]
	return guest{&vcpu{VCPU: v}, v.HV.(*domaintest.VCPU)}
}

func (g guest) phys(t *testing.T, at mm.GuestPhys, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if err := g.Domain.Space.ReadPhys(at, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// startInfo is what the guest reads in hvm_start_info (start_info.h).
type startInfo struct {
	cmdline string
	modules [][3]uint64 // address, size, address of the command line
	rsdp    uint64
	memmap  [][3]uint64 // address, size, type
}

func (g guest) startInfo(t *testing.T) (in startInfo) {
	t.Helper()
	s := g.phys(t, mm.GuestPhys(g.HV.Regs().RBX), 56)
	if le.Uint32(s) != 0x336ec578 || le.Uint32(s[4:]) != 1 {
		t.Fatalf("start info begins with % x", s[:8])
	}
	cmdline := g.phys(t, mm.GuestPhys(le.Uint64(s[24:])), 100)
	in.cmdline = string(cmdline[:bytes.IndexByte(cmdline, 0)])
	in.rsdp = le.Uint64(s[32:])
	for i := range le.Uint32(s[12:]) {
		e := g.phys(t, mm.GuestPhys(le.Uint64(s[16:])+32*uint64(i)), 32)
		in.modules = append(in.modules, [3]uint64{le.Uint64(e), le.Uint64(e[8:]), le.Uint64(e[16:])})
	}
	for i := range le.Uint32(s[48:]) {
		e := g.phys(t, mm.GuestPhys(le.Uint64(s[40:])+24*uint64(i)), 24)
		in.memmap = append(in.memmap, [3]uint64{le.Uint64(e), le.Uint64(e[8:]), uint64(le.Uint32(e[16:]))})
	}
	return in
}

func TestBuild(t *testing.T) {
	m := domaintest.New(t, 2600)
	c := config(t, m)
	var progress []uint64
	c.Progress = func(done, all uint64) error {
		if all != c.Memory || done > all || len(progress) > 0 && done < progress[len(progress)-1] {
			t.Errorf("progress %d of %d", done, all)
		}
		progress = append(progress, done)
		return nil
	}
	g := built(t, m, c)
	if len(progress) == 0 || progress[len(progress)-1] != c.Memory {
		t.Errorf("progress %v", progress)
	}
	if n := g.Domain.Space.TotPages(); n != 8*mib/mm.PageSize+8 {
		t.Errorf("%d pages", n)
	}
	if b := g.phys(t, kernelAt, 17); string(b) != "the kernel's text" {
		t.Errorf("the kernel is %q", b)
	}
	r := g.HV.Regs()
	if r.RIP != kernelEntry || g.HV.Get(virt.CR0) != virt.CR0PE|1<<4 || g.HV.Segment(virt.CS).Attr != 0xc9b {
		t.Errorf("starts at %#x, CR0 %#x, CS %+v", r.RIP, g.HV.Get(virt.CR0), g.HV.Segment(virt.CS))
	}
	if ident, ok := g.Domain.Param(xenabi.HVMParamIdentPT); !ok || le.Uint32(g.phys(t, mm.GuestPhys(ident)+4, 4)) != 1<<22|0xe7 {
		t.Errorf("no identity map at %#x", ident)
	}
	in := g.startInfo(t)
	if in.cmdline != c.Cmdline {
		t.Errorf("command line %q", in.cmdline)
	}
	// Behind the kernel, in whole pages.
	if len(in.modules) != 2 || in.modules[0][0] != kernelAt+mib {
		t.Fatalf("modules %#x", in.modules)
	}
	for i, m := range in.modules {
		want := c.Modules[i]
		if b := g.phys(t, mm.GuestPhys(m[0]), int(m[1])); !bytes.Equal(b, want.Data) || m[0]%mm.PageSize != 0 {
			t.Errorf("module %d at %#x is damaged", i, m[0])
		}
		if m[2] != 0 {
			if b := g.phys(t, mm.GuestPhys(m[2]), len(want.Cmdline)+1); string(b) != want.Cmdline+"\x00" {
				t.Errorf("module %d has the command line %q", i, b)
			}
		} else if want.Cmdline != "" {
			t.Errorf("module %d has no command line", i)
		}
	}
	if b := g.phys(t, mm.GuestPhys(in.rsdp), 8); string(b) != "RSD PTR " {
		t.Errorf("the RSDP is %q", b)
	}
	want := [][3]uint64{{0, 0xa0000, 1}, {0xe0000, 0x20000, 3}, {mib, 7 * mib, 1}, {0xfeff8000, 0x8000, 2}}
	checkMap(t, g, in, want)
	for _, e := range in.memmap {
		if e[2] == 3 && (in.rsdp < e[0] || in.rsdp >= e[0]+e[1]) {
			t.Errorf("the RSDP at %#x is not in the ACPI range", in.rsdp)
		}
	}
	if g.Domain.VCPUs[1].Up() {
		t.Error("the second vcpu runs")
	}
}

// checkMap compares both places where the guest finds the memory map.
func checkMap(t *testing.T, g guest, in startInfo, want [][3]uint64) {
	t.Helper()
	if len(in.memmap) != len(want) || len(g.Domain.MemoryMap) != len(want) {
		t.Fatalf("memory map %#x and %#x, want %#x", in.memmap, g.Domain.MemoryMap, want)
	}
	for i, w := range want {
		e := g.Domain.MemoryMap[i]
		if in.memmap[i] != w || le.Uint64(e[:]) != w[0] || le.Uint64(e[8:]) != w[1] || uint64(le.Uint32(e[16:])) != w[2] {
			t.Errorf("memory map entry %d: %#x and % x, want %#x", i, in.memmap[i], e, w)
		}
	}
}

// TestBuildOnDemand: maxmem above memory, and above what lies below the devices.
func TestBuildOnDemand(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name   string
		maxMem uint64
		types  map[mm.GuestPhys]mm.Type
		max    mm.GuestPhys // the end of RAM
		last   [][3]uint64  // of the memory map, from the first above 1 MiB
	}{
		{"a little more", 12 * mib, map[mm.GuestPhys]mm.Type{
			0: mm.TypeRAM, 8*mib - 1: mm.TypeRAM, 8 * mib: mm.TypePoD, 12*mib - 1: mm.TypePoD, 12 * mib: mm.TypeNone, 4 * gib: mm.TypeNone,
		}, 12 * mib, [][3]uint64{{mib, 11 * mib, 1}, {0xfeff8000, 0x8000, 2}}},
		{"up to the devices", 0xf0000000, map[mm.GuestPhys]mm.Type{
			8 * mib: mm.TypePoD, 0xf0000000 - 1: mm.TypePoD, 0xf0000000: mm.TypeNone, 4 * gib: mm.TypeNone,
		}, 0xf0000000, [][3]uint64{{mib, 0xf0000000 - mib, 1}, {0xfeff8000, 0x8000, 2}}},
		{"one page above them", 0xf0001000, map[mm.GuestPhys]mm.Type{
			0xf0000000: mm.TypeNone, 4 * gib: mm.TypePoD, 4*gib + 0x1000: mm.TypeNone,
		}, 4*gib + 0x1000, [][3]uint64{{mib, 0xf0000000 - mib, 1}, {0xfeff8000, 0x8000, 2}, {4 * gib, 0x1000, 1}}},
		{"5 GiB", 5 * gib, map[mm.GuestPhys]mm.Type{
			8*mib - 1: mm.TypeRAM, 8 * mib: mm.TypePoD, 0xf0000000 - 1: mm.TypePoD, 0xf0000000: mm.TypeNone, 0xfeff7fff: mm.TypeNone,
			0xfeff8000: mm.TypeRAM, 0xff000000: mm.TypeNone, 4*gib - 1: mm.TypeNone, 4 * gib: mm.TypePoD, 5*gib + 256*mib - 1: mm.TypePoD, 5*gib + 256*mib: mm.TypeNone,
		}, 5*gib + 256*mib, [][3]uint64{{mib, 0xf0000000 - mib, 1}, {0xfeff8000, 0x8000, 2}, {4 * gib, 5*gib - 0xf0000000, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := domaintest.New(t, 2600)
			cfg := config(t, m)
			cfg.MaxMemory = c.maxMem
			g := built(t, m, cfg)
			s := g.Domain.Space
			if n := s.TotPages(); n != 8*mib/mm.PageSize+8 || s.MaxPages() != c.maxMem/mm.PageSize+8 {
				t.Errorf("%d pages of %d", n, s.MaxPages())
			}
			for at, want := range c.types {
				if got := s.P2M().Lookup(at.Frame()).Type; got != want && !(want == mm.TypeRAM && at.Frame() >= 0xfeff8 && got == mm.TypeSpecial) {
					t.Errorf("%#x is %v, not %v", at, got, want)
				}
			}
			if g.Domain.MaxGFN != c.max.Frame() {
				t.Errorf("the first frame behind the memory is %#x, not %#x", g.Domain.MaxGFN, c.max.Frame())
			}
			checkMap(t, g, g.startInfo(t), append([][3]uint64{{0, 0xa0000, 1}, {0xe0000, 0x20000, 3}}, c.last...))
		})
	}
}

// TestBuildErrors: each way in which Build fails has its error, and leaves nothing.
func TestBuildErrors(t *testing.T) {
	errProgress := errors.New("stop")
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		name   string
		frames int // of the machine; 0: enough
		change func(c *create.Config)
		want   error
		text   string
	}{
		{"no PVH note", 0, func(c *create.Config) { c.Kernel = kernel(t, kernelAt, mib, 0) }, image.ErrNoPVHEntry, "PHYS32_ENTRY"},
		{"entry outside", 0, func(c *create.Config) { c.Kernel = kernel(t, kernelAt, mib, kernelAt+mib) }, image.ErrNoPVHEntry, "outside"},
		{"kernel in the first MiB", 0, func(c *create.Config) { c.Kernel = kernel(t, 0x10000, mib, 0x10000) }, startinfo.ErrParams, "first MiB"},
		{"kernel behind the memory", 0, func(c *create.Config) { c.Kernel = kernel(t, 7*mib, 2*mib, 7*mib) }, startinfo.ErrMemory, "memory="},
		{"kernel in memory on demand", 0, func(c *create.Config) { c.MaxMemory, c.Kernel = 64*mib, kernel(t, 7*mib, 2*mib, 7*mib) }, startinfo.ErrMemory, "raise memory="},
		{"kernel above 4 GiB", 0, func(c *create.Config) { c.MaxMemory, c.Kernel = 1<<33, kernel(t, 1<<32-mib, 2*mib, 1<<32-mib) }, image.ErrNoPVHEntry, "4 GiB"},
		{"too little memory", 0, func(c *create.Config) { c.Memory = 4*mib - mm.PageSize }, startinfo.ErrMemory, "at least 4 MiB"},
		{"half a page", 0, func(c *create.Config) { c.Memory -= 2048 }, startinfo.ErrMemory, "whole pages"},
		{"half a page on demand", 0, func(c *create.Config) { c.MaxMemory += 2048 }, startinfo.ErrParams, "whole pages"},
		{"maxmem less than memory", 0, func(c *create.Config) { c.MaxMemory -= mib }, startinfo.ErrMemory, "maxmem="},
		{"maxmem without bounds", 0, func(c *create.Config) { c.MaxMemory = 1 << 47 }, startinfo.ErrParams, "GiB"},
		{"ramdisk larger than the memory", 0, func(c *create.Config) { c.Modules[0].Data = make([]byte, 8*mib) }, startinfo.ErrMemory, "at least 11 MiB"},
		{"ramdisk a byte too large", 0, func(c *create.Config) { c.Modules[0].Data = make([]byte, 5*mib+1) }, startinfo.ErrMemory, "initrd"},
		{"ramdisk in memory on demand", 0, func(c *create.Config) { c.MaxMemory, c.Modules[0].Data = 64*mib, make([]byte, 5*mib+1) }, startinfo.ErrMemory, "raise memory="},
		{"empty ramdisk", 0, func(c *create.Config) { c.Modules[0].Data = []byte{} }, startinfo.ErrParams, "empty"},
		{"long command line", 0, func(c *create.Config) { c.Cmdline = strings.Repeat("x", startinfo.MaxCmdline+1) }, startinfo.ErrParams, "command line"},
		{"zero in the command line", 0, func(c *create.Config) { c.Cmdline = "a\x00b" }, startinfo.ErrParams, "zero byte"},
		{"no memory", 1500, nil, mm.ErrNoMemory, "8 MiB"},
		{"no memory for anything", 1, nil, mm.ErrNoMemory, ""},
		{"no memory for the tables", 12, nil, mm.ErrNoMemory, ""},
		{"interrupted", 0, func(c *create.Config) { c.Progress = func(done, all uint64) error { return errProgress } }, errProgress, ""},
		{"cancelled meanwhile", 0, func(c *create.Config) {
			c.Progress = func(done, all uint64) error { cancel(); return nil }
		}, context.Canceled, ""},
		{"cancelled before", 0, nil, context.Canceled, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.frames == 0 {
				c.frames = 2600
			}
			m := domaintest.New(t, c.frames)
			cfg := config(t, m)
			if c.change != nil {
				c.change(&cfg)
			}
			d, err := Build(ctx, m.Host, cfg)
			if d != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
			if d != nil {
				d.Destroy()
			}
			m.CheckFree(t)
		})
	}
}

// TestBuildFits: a ramdisk may end with the memory.
func TestBuildFits(t *testing.T) {
	m := domaintest.New(t, 2600)
	c := config(t, m)
	c.Modules = []image.Module{{Name: "initrd", Data: bytes.Repeat([]byte{7}, 5*mib)}}
	g := built(t, m, c)
	if b := g.phys(t, 8*mib-1, 1); b[0] != 7 {
		t.Error("the ramdisk's last byte is missing")
	}
	// Without one there is no module either.
	m = domaintest.New(t, 2600)
	c = config(t, m)
	c.Modules = nil
	if in := built(t, m, c).startInfo(t); in.modules != nil {
		t.Errorf("modules %#x", in.modules)
	}
}
