package boot

import (
	"reflect"
	"testing"
)

// Mirrors of the C structures, to assert offsets by the compiler's layout.
type (
	// struct hvm_start_info (arch-x86/hvm/start_info.h)
	hvmStartInfo struct {
		Magic, Version, Flags, NrModules              uint32
		ModlistPaddr, CmdlinePaddr, RSDPPaddr, MemMap uint64
		MemMapEntries, Reserved                       uint32
	}
	// struct hvm_modlist_entry
	hvmModlistEntry struct{ Paddr, Size, CmdlinePaddr, Reserved uint64 }
	// struct hvm_memmap_table_entry
	hvmMemmapEntry struct {
		Addr, Size     uint64
		Type, Reserved uint32
	}
	// struct multiboot_info (multiboot 0.6.96, multiboot.h); framebuffer_addr
	// is a u64 there, at an offset where both layouts agree.
	multibootInfo struct {
		Flags, MemLower, MemUpper, BootDevice, Cmdline, ModsCount, ModsAddr uint32
		Syms                                                                [4]uint32
		MmapLength, MmapAddr, DrivesLength, DrivesAddr                      uint32
		ConfigTable, BootLoaderName, APMTable, VBEControlInfo, VBEModeInfo  uint32
		VBEMode, VBEInterfaceSeg, VBEInterfaceOff, VBEInterfaceLen          uint16
		FramebufferAddr                                                     uint64
		Pitch, Width, Height                                                uint32
		BPP, Type                                                           uint8
		Color                                                               [6]uint8
	}
)

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		of   any
		name string
		want int
	}{
		{hvmStartInfo{}, "Magic", pvhMagic}, {hvmStartInfo{}, "Version", pvhVersion},
		{hvmStartInfo{}, "NrModules", pvhNrModules}, {hvmStartInfo{}, "ModlistPaddr", pvhModList},
		{hvmStartInfo{}, "CmdlinePaddr", pvhCmdLine}, {hvmStartInfo{}, "RSDPPaddr", pvhRSDP},
		{hvmStartInfo{}, "MemMap", pvhMemMap}, {hvmStartInfo{}, "MemMapEntries", pvhMemEntries},
		{hvmStartInfo{}, "", pvhSize}, {hvmModlistEntry{}, "", pvhModule}, {hvmMemmapEntry{}, "", pvhMemEntry},
		{multibootInfo{}, "Flags", mb1Flags}, {multibootInfo{}, "MemLower", mb1MemLower},
		{multibootInfo{}, "MemUpper", mb1MemUpper}, {multibootInfo{}, "Cmdline", mb1CmdLine},
		{multibootInfo{}, "ModsCount", mb1ModsCount}, {multibootInfo{}, "ModsAddr", mb1ModsAddr},
		{multibootInfo{}, "MmapLength", mb1MmapLength}, {multibootInfo{}, "MmapAddr", mb1MmapAddr},
		{multibootInfo{}, "BootLoaderName", mb1LoaderName}, {multibootInfo{}, "FramebufferAddr", mb1Framebuffer},
		{multibootInfo{}, "BPP", mb1Framebuffer + 20}, {multibootInfo{}, "Color", mb1Framebuffer + 22},
	} {
		typ := reflect.TypeOf(c.of)
		got := int(typ.Size())
		if c.name != "" {
			f, _ := typ.FieldByName(c.name)
			got = int(f.Offset)
		}
		if got != c.want {
			t.Errorf("%v.%s: %d, want %d", typ, c.name, got, c.want)
		}
	}
	if f, _ := reflect.TypeOf(multibootInfo{}).FieldByName("Color"); int(f.Offset)+6 != mb1SizeFB {
		t.Errorf("multiboot_info has %d bytes, want %d", f.Offset+6, mb1SizeFB)
	}
}

// TestEarlyHasNoPointers keeps Early fit for use before the garbage collector.
func TestEarlyHasNoPointers(t *testing.T) {
	var check func(typ reflect.Type, path string)
	check = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Struct:
			for i := range typ.NumField() {
				check(typ.Field(i).Type, path+"."+typ.Field(i).Name)
			}
		case reflect.Array:
			check(typ.Elem(), path+"[]")
		case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
			t.Errorf("%s is a %v", path, typ.Kind())
		}
	}
	check(reflect.TypeFor[Early](), "Early")
	check(reflect.TypeFor[TSCEvidence](), "TSCEvidence")
	check(reflect.TypeFor[TSCChoice](), "TSCChoice")
}
