package pv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/create"
	"nidus/personalities/image"
	"nidus/personalities/image/imagetest"
	"nidus/personalities/pv/start"
)

const mib = 1 << 20

// frames are enough for a domain of config's, and what describes the machine's memory.
const frames = 4096

// base is where the tests' kernels begin, and entry where they are entered.
func base(bits int) uint64 {
	if bits == 32 {
		return 0xc0000000
	}
	return 0xffffffff80000000
}

const text = 0x1000 // behind base

// kernel has a segment of text, and notes besides those that it needs.
func kernel(t *testing.T, bits int, notes map[image.NoteType][]byte) *image.Kernel {
	t.Helper()
	b := base(bits)
	word := imagetest.U64
	if bits == 32 {
		word = func(v uint64) []byte { return imagetest.U32(uint32(v)) }
	}
	all := map[image.NoteType][]byte{
		image.NoteXenVersion: []byte("xen-3.0\x00"), image.NoteEntry: word(b + text), image.NoteVirtBase: word(b),
	}
	if bits == 32 {
		all[image.NotePAEMode] = []byte("yes\x00")
	}
	for typ, desc := range notes {
		all[typ] = desc
	}
	e := imagetest.ELF{Is64: bits == 64, Segments: []imagetest.Segment{{Paddr: text, Vaddr: b + text, Data: []byte("the kernel's text"), Memsz: 0x3000, Flags: 7}}}
	for typ, desc := range all {
		if desc != nil {
			e.Notes = append(e.Notes, imagetest.Note(uint32(typ), desc)...)
		}
	}
	k, err := image.Decode("test", e.Build(), image.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// config is a domain of 4 MiB with two vcpus.
func config(t *testing.T, m *domaintest.Machine, bits int) create.Config {
	t.Helper()
	return create.Config{
		Params: m.Params(t, 1, 2), Name: "g", Memory: 4 * mib, MaxMemory: 6 * mib, OnlineVCPUs: 2,
		Kernel: kernel(t, bits, nil), Cmdline: "console=hvc0",
		Modules: []image.Module{{Name: "initrd", Data: bytes.Repeat([]byte("ramdisk "), 1000)}},
	}
}

// newMachine has no hardware virtualization, which PV domains need not.
func newMachine(t *testing.T, frames int) *domaintest.Machine {
	m := domaintest.New(t, frames)
	m.Host.Virt = nil
	m.EnablePV(t)
	return m
}

// at is n bytes of the guest's memory, by its page tables.
func at(t *testing.T, d *domain.Domain, va uint64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for done := 0; done < n; {
		m, ok := d.VCPUs[0].MMU.Translate(true, mm.GuestVirt(va)+mm.GuestVirt(done))
		if !ok {
			t.Fatalf("nothing is mapped at %#x", va+uint64(done))
		}
		off := (va + uint64(done)) & mm.PageMask
		k := min(n-done, int(mm.PageSize-off))
		if err := d.Space.ReadPhys(mm.GFN(m.Frame).Addr()+mm.GuestPhys(off), b[done:done+k]); err != nil {
			t.Fatal(err)
		}
		done += k
	}
	return b
}

func TestBuild(t *testing.T) {
	for _, bits := range []int{64, 32} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			m := newMachine(t, frames)
			c := config(t, m, bits)
			var progress []uint64
			c.Progress = func(done, all uint64) error {
				if all != c.Memory || done > all {
					t.Errorf("progress %d of %d", done, all)
				}
				progress = append(progress, done)
				return nil
			}
			published := 0
			c.Published = func() { published++ }
			d, err := Build(context.Background(), m.Host, c)
			if err != nil {
				t.Fatal(err)
			}
			defer m.CheckFree(t)
			defer func() {
				if err := d.Destroy(); err != nil {
					t.Error(err)
				}
			}()
			if published != 1 || len(progress) == 0 || progress[len(progress)-1] != c.Memory {
				t.Errorf("published %d times, progress %v", published, progress)
			}
			if n := d.Space.TotPages(); n != 4*mib/mm.PageSize || d.Space.MaxPages() != 6*mib/mm.PageSize {
				t.Errorf("%d pages of %d", n, d.Space.MaxPages())
			}
			checkVCPUs(t, d, bits)
			if b := at(t, d, base(bits)+text, 17); string(b) != "the kernel's text" {
				t.Errorf("the kernel is %q", b)
			}
			checkStartInfo(t, d, &c)
		})
	}
}

// checkVCPUs looks at what the vcpus begin with.
func checkVCPUs(t *testing.T, d *domain.Domain, bits int) {
	t.Helper()
	w, cs := xenabi.Guest64, uint16(xenabi.FlatKernelCS64)
	if bits == 32 {
		w, cs = xenabi.Guest32, xenabi.FlatKernelCS32
	}
	v := d.VCPUs[0]
	if got := v.HV.Segment(virt.CS).Selector; d.PV.Width != w || v.HV.Regs().RIP != base(bits)+text || got != cs {
		t.Errorf("width %d, starts at %#x, CS %#x", d.PV.Width, v.HV.Regs().RIP, got)
	}
	if !v.Up() || d.VCPUs[1].Up() || v.PV.KernelSP != v.HV.Regs().RSP {
		t.Errorf("up: %v and %v; the kernel's stack is at %#x", v.Up(), d.VCPUs[1].Up(), v.PV.KernelSP)
	}
	for _, v := range d.VCPUs {
		if !v.PV.M.UpcallMask() {
			t.Errorf("vcpu %d starts with events on", v.ID)
		}
	}
	root := mm.GFN(v.MMU.Root(true))
	if d.Space.ReadPhys(root.Addr(), make([]byte, 8)) != nil || d.Space.WritePhys(root.Addr(), make([]byte, 8)) == nil {
		t.Errorf("frame %#x is no page table", root)
	}
}

// checkStartInfo looks for what start_info leads to.
func checkStartInfo(t *testing.T, d *domain.Domain, c *create.Config) {
	t.Helper()
	var s xenabi.StartInfo
	w := d.PV.Width
	if !xenabi.Decode(w, at(t, d, d.VCPUs[0].HV.Regs().RSI, xenabi.Size(w, &s)), &s) {
		t.Fatal("no start_info")
	}
	pages := c.Memory / mm.PageSize
	if s.NrPages != pages {
		t.Errorf("%d pages", s.NrPages)
	}
	if b := at(t, d, s.ModStart, int(s.ModLen)); !bytes.Equal(b, c.Modules[0].Data) {
		t.Errorf("a ramdisk of %d bytes at %#x is damaged", s.ModLen, s.ModStart)
	}
	// The list and the machine-to-physical table agree, and every frame is its own.
	list := at(t, d, s.MFNList, int(pages)*int(w))
	for pfn := range pages {
		var e [8]byte
		copy(e[:w], list[pfn*uint64(w):])
		f := mm.MFN(binary.LittleEndian.Uint64(e[:]))
		if got := d.PV.M2P.Get(f); got != pfn || d.Host.Memory.Frames().Info(f).Owner != d.ID {
			t.Fatalf("frame %#x of page %d: the table says %d, %+v", f, pfn, got, d.Host.Memory.Frames().Info(f))
		}
	}
}

// TestBuildErrors: each way in which Build fails has its error, and leaves nothing.
func TestBuildErrors(t *testing.T) {
	errProgress := errors.New("stop")
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		name   string
		change func(m *domaintest.Machine, c *create.Config)
		want   error // nil: any
		text   string
	}{
		{"no PV here", func(m *domaintest.Machine, _ *create.Config) { m.Host.PV = nil }, nil, "PV domains"},
		{"no PV kernel", func(_ *domaintest.Machine, c *create.Config) {
			c.Kernel = kernel(t, 64, map[image.NoteType][]byte{image.NoteXenVersion: nil})
		}, nil, ""},
		{"32 bits without PAE", func(_ *domaintest.Machine, c *create.Config) {
			c.Kernel = kernel(t, 32, map[image.NoteType][]byte{image.NotePAEMode: []byte("no\x00")})
		}, nil, "PAE"},
		{"too little memory", func(_ *domaintest.Machine, c *create.Config) { c.Memory = 4 * mm.PageSize }, start.ErrMemory, ""},
		{"half a page", func(_ *domaintest.Machine, c *create.Config) { c.MaxMemory = c.Memory - mib }, nil, ""},
		{"ramdisk larger than the memory", func(_ *domaintest.Machine, c *create.Config) { c.Modules[0].Data = make([]byte, 5*mib) }, start.ErrMemory, ""},
		{"a vcpu too many", func(_ *domaintest.Machine, c *create.Config) { c.Params.VCPUs = 600 }, nil, ""},
		{"interrupted", func(_ *domaintest.Machine, c *create.Config) {
			c.Progress = func(done, all uint64) error { return errProgress }
		}, errProgress, ""},
		{"cancelled meanwhile", func(_ *domaintest.Machine, c *create.Config) {
			c.Progress = func(done, all uint64) error { cancel(); return nil }
		}, context.Canceled, ""},
		{"cancelled before", nil, context.Canceled, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, frames)
			cfg := config(t, m, 64)
			if c.change != nil {
				c.change(m, &cfg)
			}
			d, err := Build(ctx, m.Host, cfg)
			if d != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
			if d != nil {
				d.Destroy()
			}
			m.CheckFree(t)
		})
	}
}

// TestBuildNoMemory: wherever memory runs out, all that was had before is given back, and
// with enough there is a domain.
func TestBuildNoMemory(t *testing.T) {
	failed, built := 0, 0
	for n := 1; n < frames; n += 61 {
		m := newMachine(t, n)
		d, err := Build(context.Background(), m.Host, config(t, m, 64-n%2*32))
		switch {
		case err == nil:
			built++
			if err := d.Destroy(); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, mm.ErrNoMemory):
			t.Errorf("%d frames: %v", n, err)
		default:
			failed++
		}
		m.CheckFree(t)
	}
	if failed == 0 || built == 0 {
		t.Errorf("%d failed, %d were built", failed, built)
	}
}
