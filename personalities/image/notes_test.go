package image

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"nidus/personalities/image/imagetest"
)

var code = []imagetest.Segment{{Paddr: 0x1000, Data: []byte("code")}}

// linuxNotes are the notes of a 64-bit Linux, in its order.
func linuxNotes() []byte {
	return slices.Concat(
		namedNote("Linux\x00", 0x101, []byte("not for us")),
		note(NoteGuestOS, []byte("linux\x00")),
		note(NoteGuestVersion, []byte("2.6\x00")),
		note(NoteXenVersion, []byte("xen-3.0\x00")),
		note(NoteVirtBase, u64(0xffffffff80000000)),
		note(NoteInitP2M, u64(0x8000000000)),
		note(NoteEntry, u64(0xffffffff82c00000)),
		note(NoteFeatures, []byte("!writable_page_tables|pae_pgdir_above_4gb|!no_such_thing|nor_this\x00")),
		note(NoteSupportedFeatures, u32(1<<Dom0|1<<HVMCallbackVector)),
		note(NotePAEMode, []byte("yes\x00")),
		note(NoteLoader, []byte("generic\x00")),
		note(NoteL1MFNValid, slices.Concat(u64(1), u64(1))),
		note(NoteSuspendCancel, u32(1)),
		note(NoteModStartPFN, u32(1)),
		note(NoteHVStartLow, u64(0xffff800000000000)),
		note(NotePaddrOffset, u64(0)),
		note(NoteHypercallPage, u64(0xffffffff81001000)),
		note(NoteInfo, []byte("a=b")),
		note(NoteBSDSymtab, []byte("yes\x00")),
		note(NotePhys32Entry, u32(0x1001)),
		note(77, u32(5)),
	)
}

func wantLinuxNotes() Notes {
	return Notes{
		present: 1<<19 - 1,
		Entry:   0xffffffff82c00000, HypercallPage: 0xffffffff81001000, VirtBase: 0xffffffff80000000,
		XenVersion: "xen-3.0", GuestOS: "linux", GuestVersion: "2.6", Loader: "generic", PAEMode: "yes",
		BSDSymtab: true, HVStartLow: 0xffff800000000000, L1MFNValid: []MaskValue{{1, 1}}, SuspendCancel: true,
		InitP2M: 0x8000000000, ModStartPFN: true, Phys32Entry: 0x1001,
		FeatureList:     "!writable_page_tables|pae_pgdir_above_4gb|!no_such_thing|nor_this",
		Supported:       1<<WritablePageTables | 1<<PAEPgdirAbove4GB | 1<<Dom0 | 1<<HVMCallbackVector,
		Required:        1 << WritablePageTables,
		UnknownRequired: []string{"no_such_thing"},
		Info:            []string{"a=b"},
	}
}

func TestNotes(t *testing.T) {
	want := wantLinuxNotes()
	for name, spec := range map[string]imagetest.ELF{
		"segment":          {Is64: true, Segments: code, Notes: linuxNotes()},
		"segment, 32 bits": {Segments: code, Notes: linuxNotes()},
		"section":          {Is64: true, Segments: code, Sections: []imagetest.Section{{Name: ".text", Type: 1, Data: []byte("x")}, {Name: ".notes", Type: shtNote, Data: linuxNotes()}}},
		"section, 32 bits": {Segments: code, Sections: []imagetest.Section{{Name: ".notes", Type: shtNote, Data: linuxNotes()}}},
		// A segment's notes win over those of a section.
		"both": {Is64: true, Segments: code, Notes: linuxNotes(), Sections: []imagetest.Section{{Name: ".n", Type: shtNote, Data: note(NoteEntry, u64(3))}}},
	} {
		if got := mustDecode(t, spec.Build()).Notes; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
	for n := range NoteType(40) {
		if want.Has(n) != (n <= NotePhys32Entry) {
			t.Errorf("Has(%d)", n)
		}
	}
}

func TestLegacyGuestSection(t *testing.T) {
	text := "GUEST_OS=netbsd,GUEST_VER=4.99,XEN_VER=xen-3.0,VIRT_BASE=0xc0000000,VIRT_ENTRY=0xc0100000," +
		"HYPERCALL_PAGE=0x101,LOADER=generic,PAE=yes[extended-cr3],FEATURES=writable_page_tables|!dom0,BSD_SYMTAB=yes,JUNK,X=\x00after"
	n := mustDecode(t, imagetest.ELF{Segments: code, Sections: []imagetest.Section{{Name: "__xen_guest", Type: 1, Data: []byte(text)}}}.Build()).Notes
	want := Notes{
		present: 1<<NoteGuestOS | 1<<NoteGuestVersion | 1<<NoteXenVersion | 1<<NoteVirtBase | 1<<NoteEntry |
			1<<NoteHypercallPage | 1<<NoteLoader | 1<<NotePAEMode | 1<<NoteFeatures | 1<<NoteBSDSymtab,
		Legacy: true, GuestOS: "netbsd", GuestVersion: "4.99", XenVersion: "xen-3.0",
		VirtBase: 0xc0000000, Entry: 0xc0100000, HypercallPage: 0xc0101000, PaddrOffset: 0xc0000000,
		Loader: "generic", PAEMode: "yes[extended-cr3]", BSDSymtab: true,
		FeatureList: "writable_page_tables|!dom0", Supported: 1<<WritablePageTables | 1<<Dom0, Required: 1 << Dom0,
	}
	if !reflect.DeepEqual(n, want) {
		t.Errorf("\n got %+v\nwant %+v", n, want)
	}
	n = mustDecode(t, imagetest.ELF{Segments: code, Sections: []imagetest.Section{{Name: "__xen_guest", Type: 1, Data: []byte("ELF_PADDR_OFFSET=0x10,VIRT_BASE=0x20,VIRT_ENTRY=bad")}}}.Build()).Notes
	if n.PaddrOffset != 0x10 || n.VirtBase != 0x20 || n.Has(NoteEntry) {
		t.Errorf("%+v", n)
	}
}

func TestNotesBad(t *testing.T) {
	good := note(NoteEntry, u64(7))
	for name, c := range map[string]struct {
		notes []byte
		align uint64
		want  bool
	}{
		"good":                  {good, 4, true},
		"cut":                   {good[:len(good)-1], 4, false},
		"name too long":         {slices.Concat(u32(0xffffffff), u32(8), u32(1), []byte("Xen\x00........")), 4, false},
		"descriptor too long":   {slices.Concat(u32(4), u32(0xffffffff), u32(1), []byte("Xen\x00........")), 4, false},
		"odd size":              {note(NoteEntry, []byte("123")), 4, false},
		"other name":            {namedNote("Zen\x00", NoteEntry, u64(7)), 4, false},
		"after one with none":   {slices.Concat(namedNote("", 5, nil), good), 4, true},
		"after a cut name":      {slices.Concat(namedNote("abcde", 5, []byte("x")), good), 4, true},
		"8 bytes aligned":       {slices.Concat(u32(4), u32(8), u32(1), []byte("Xen\x00"), u64(7)), 8, true},
		"short mask list":       {note(NoteL1MFNValid, u64(1)), 4, false},
		"type over 31":          {note(0x1000001, u64(1)), 4, false},
		"after an unknown type": {slices.Concat(note(31, u64(1)), good), 4, true},
	} {
		var n Notes
		n.parse(c.notes, c.align)
		if got := n.Entry == 7 && n.Has(NoteEntry); got != c.want || n.Any() != c.want {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// TestCutText: a text is taken without what its size promises beyond its end.
func TestCutText(t *testing.T) {
	cut := slices.Concat(note(NoteEntry, u64(7)), u32(4), u32(12), u32(uint32(NotePAEMode)), []byte("Xen\x00yes\x00"))
	for name, c := range map[string]struct {
		notes []byte
		want  bool
	}{
		"as GRUB":      {cut, true},
		"no end":       {cut[:len(cut)-1], false},
		"no beginning": {cut[:len(cut)-4], false},
		"no name":      {cut[:len(cut)-5], false},
	} {
		var n Notes
		n.parse(c.notes, 4)
		if !n.Has(NoteEntry) || n.Has(NotePAEMode) != c.want || c.want && n.PAEMode != "yes" {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestNotesAreBounded(t *testing.T) {
	var n Notes
	n.parse(bytes.Repeat(note(NoteInfo, bytes.Repeat([]byte("x"), 10000)), 100), 4)
	n.parse(note(NoteL1MFNValid, make([]byte, 16*100)), 4)
	n.parse(note(NoteFeatures, bytes.Repeat([]byte("!x|"), 1000)), 4)
	if len(n.Info) != maxNoteList || len(n.Info[0]) != maxNoteString || len(n.L1MFNValid) != maxNoteList || len(n.UnknownRequired) != 16 {
		t.Errorf("%d infos of %d bytes, %d masks, %d features", len(n.Info), len(n.Info[0]), len(n.L1MFNValid), len(n.UnknownRequired))
	}
}

func TestFeatureNames(t *testing.T) {
	// features.h: XENFEAT_direct_mapped is 17 and the last.
	if len(featureNames) != 18 || DirectMapped.String() != "direct_mapped" || Feature(18).String() != "unknown feature" {
		t.Error("features differ from features.h")
	}
	if s := Features(1 << Dom0); !s.Has(Dom0) || s.Has(HVMPirqs) || s.Has(64+Dom0) {
		t.Error("Features.Has")
	}
}
