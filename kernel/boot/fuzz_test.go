package boot

import (
	"encoding/binary"
	"reflect"
	"testing"
)

// fuzzScan parses data at infoAddr and checks what is promised of the result.
func fuzzScan(t *testing.T, magic uint32, data []byte) {
	if len(data) > 1<<16 {
		return
	}
	mem := &flatPhys{infoAddr, data}
	e := new(Early)
	s := e.Scan(magic, infoAddr, mem)
	checkRanges(t, e.memory.list[:e.memory.n])
	if e.nmod > MaxModules || e.nown > maxOwn {
		t.Fatalf("%d modules, %d places", e.nmod, e.nown)
	}
	for i := range e.nmod {
		m := e.Module(i)
		if m.Start == 0 || m.Start > m.End || m.End > MaxPhys {
			t.Fatalf("module %+v", m)
		}
	}
	if f := e.Framebuffer; f.Kind != FramebufferNone {
		if f.Size() == 0 || f.Addr+f.Size() > MaxPhys || f.Pitch*8 < f.Width*uint32(f.BPP) {
			t.Fatalf("framebuffer %+v", f)
		}
	}
	in, err := Parse(magic, infoAddr, mem)
	if (err == nil) != (s == StatusOK) {
		t.Fatalf("Scan says %v, Parse says %v", s, err)
	}
	if err != nil {
		return
	}
	usable := uint64(0)
	for _, r := range in.Memory {
		if r.Type == MemUsable {
			usable += r.Size()
		}
	}
	if usable == 0 {
		t.Fatal("no usable memory, and no error")
	}
	if len(in.CommandLine) > MaxString || len(in.Modules) != e.nmod {
		t.Fatalf("command line of %d bytes, %d modules of %d", len(in.CommandLine), len(in.Modules), e.nmod)
	}
	if len(in.Problems) > 0 {
		return // what was only partly readable is not kept
	}
	// The kept places are all that was read: the result is the same with the
	// rest destroyed.
	kept := &flatPhys{infoAddr, make([]byte, len(data))}
	for i := range e.nown {
		o := e.Own(i)
		if o.Addr < infoAddr || o.Addr+o.Len > infoAddr+uint64(len(data)) {
			return // a table that could not be read
		}
		copy(kept.data[o.Addr-infoAddr:], data[o.Addr-infoAddr:][:o.Len])
	}
	again, err := Parse(magic, infoAddr, kept)
	if err != nil || !reflect.DeepEqual(in, again) {
		t.Fatalf("the kept places don't hold everything: %v\n got %+v\nwant %+v", err, again, in)
	}
}

func FuzzMultiboot1(f *testing.F) {
	f.Add(multiboot1().dump(infoAddr, 0x700))
	f.Add(pack(uint32(1), uint32(639), uint32(0x10000), make([]byte, 76)))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzScan(t, Multiboot1Magic, data) })
}

func FuzzMultiboot2(f *testing.F) {
	f.Add(multiboot2(mb2Tags()).dump(infoAddr, 0x500))
	tags := mb2Tags()
	f.Add(multiboot2(append(tags[:5], tags[6:]...)).dump(infoAddr, 0x500))
	f.Add(efiMapCutShort())
	f.Fuzz(func(t *testing.T, data []byte) { fuzzScan(t, Multiboot2Magic, data) })
}

// efiMapCutShort has EFI's map where reading it fails halfway, and a memory map
// that is enough without it.
func efiMapCutShort() []byte {
	tags := mb2Tags()
	efi := tag(mb2EFIMmap, uint32(48), uint32(1), make([]byte, 48*8))
	info := multiboot2([][]byte{tags[5], efi}).dump(infoAddr, 8+len(tags[5])+16+48)
	binary.LittleEndian.PutUint32(info, uint32(8+len(tags[5])+len(efi))) // no end tag
	return info
}

func TestUnreadableEFIMap(t *testing.T) {
	in, err := Parse(Multiboot2Magic, infoAddr, &flatPhys{infoAddr, efiMapCutShort()})
	if err != nil {
		t.Fatal(err)
	}
	if in.EFIMemory != nil || !reflect.DeepEqual(in.Problems, ProblemMemoryMap.Strings()) {
		t.Errorf("EFI's map %v, problems %q", in.EFIMemory, in.Problems)
	}
}

func FuzzPVH(f *testing.F) {
	f.Add(pvh().dump(infoAddr, 0x700))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzScan(t, PVHMagic, data) })
}
