package image

import (
	"slices"
	"testing"

	"nidus/personalities/image/imagetest"
)

// fuzzLimits keep a fuzzer's bombs small.
var fuzzLimits = Limits{MaxUnpacked: 1 << 20, MaxWindow: 1 << 20}

// checkKernel checks what must hold of every kernel that was accepted.
func checkKernel(t *testing.T, k *Kernel, size int) {
	if k.Held > fuzzLimits.MaxUnpacked {
		t.Fatalf("holds %d bytes, the limit is %d", k.Held, fuzzLimits.MaxUnpacked)
	}
	if len(k.Segments) == 0 || len(k.Segments) > maxSegments {
		t.Fatalf("%d segments", len(k.Segments))
	}
	room := max(size, k.Held)
	for i, s := range k.Segments {
		if uint64(len(s.Data)) > s.MemSize || len(s.Data) > room || s.MemSize == 0 {
			t.Fatalf("segment %d: %d bytes of data, %d in memory", i, len(s.Data), s.MemSize)
		}
		if uint64(s.PhysAddr)+s.MemSize < uint64(s.PhysAddr) {
			t.Fatalf("segment %d wraps", i)
		}
		if i > 0 && uint64(k.Segments[i-1].PhysAddr)+k.Segments[i-1].MemSize > uint64(s.PhysAddr) {
			t.Fatalf("segments %d and %d overlap", i-1, i)
		}
	}
	if e, ok := k.PVHEntry(); ok {
		if lo, hi := k.Span(); uint64(e) < uint64(lo) || uint64(e) >= uint64(hi) {
			t.Fatalf("entry %#x is outside %#x to %#x", e, lo, hi)
		}
	}
	m := newMemory(1 << 16)
	if k.Load(m, LoadOptions{Bottom: 0x1000, Top: 0x8000}) == nil {
		if lo, hi := k.Span(); lo < 0x1000 || hi > 0x8000 || m[0xfff] != 0xaa || m[0x8000] != 0xaa {
			t.Fatal("loaded outside its place")
		}
	}
}

func FuzzELF(f *testing.F) {
	f.Add(bsdKernel(true, "yes\x00", 2).Build())
	f.Add(bsdKernel(false, "yes\x00", 2).Build())
	f.Add(tinyKernel())
	f.Add(imagetest.ELF{Segments: code, Notes: linuxNotes()}.Build())
	f.Add(imagetest.ELF{Is64: true, Segments: code, Sections: []imagetest.Section{{Name: ".notes", Type: shtNote, Data: linuxNotes()}}}.Build())
	f.Add(imagetest.ELF{Segments: code, Sections: []imagetest.Section{{Name: "__xen_guest", Type: 1, Data: []byte("VIRT_BASE=0xc0000000,LOADER=generic")}}}.Build())
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := Decode("fuzz", data, fuzzLimits); err == nil {
			checkKernel(t, k, len(data))
		} else if k != nil {
			t.Fatal("a kernel and an error")
		}
	})
}

// FuzzBzImage feeds payloads, so that the decoders behind the header are
// reached, and whole images.
func FuzzBzImage(f *testing.F) {
	for _, p := range packedFiles {
		data := readTestdata(f, p.file)
		f.Add(data, true)
		f.Add(bzImage(withSize(data, len(tinyKernel()))), false)
	}
	f.Add(bzImage(tinyKernel()), false)
	f.Fuzz(func(t *testing.T, data []byte, payload bool) {
		if payload {
			data = bzImage(data)
		}
		if k, err := Decode("fuzz", data, fuzzLimits); err == nil {
			checkKernel(t, k, len(data))
		}
	})
}

func FuzzNotes(f *testing.F) {
	f.Add(linuxNotes(), uint64(4))
	f.Add(slices.Concat(u32(4), u32(8), u32(1), []byte("Xen\x00"), u64(7)), uint64(8))
	f.Add([]byte("GUEST_OS=linux,VIRT_BASE=0xc0000000,HYPERCALL_PAGE=0x101,FEATURES=!dom0"), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, align uint64) {
		var n Notes
		n.parse(data, align)
		n.parseLegacy(cString(data))
		kept := len(n.FeatureList) + len(n.GuestOS) + len(n.Loader)
		for _, s := range n.Info {
			kept += len(s)
		}
		if kept > 3*maxNoteString+maxNoteList*maxNoteString || len(n.L1MFNValid) > maxNoteList {
			t.Fatalf("%d bytes of strings kept", kept)
		}
		if n.Required&^n.Supported != 0 && n.FeatureList != "" && !n.Has(NoteSupportedFeatures) {
			t.Fatal("a required feature is not supported")
		}
	})
}
