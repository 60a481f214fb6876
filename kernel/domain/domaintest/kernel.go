package domaintest

import "nidus/personalities/image/imagetest"

// Kernel is the smallest 32-bit ELF file that starts as PVH: 16 bytes at 1 MiB.
func Kernel() []byte {
	const at, phys32Entry = 0x100000, 18
	return imagetest.ELF{
		Segments: []imagetest.Segment{{Paddr: at, Vaddr: at, Data: make([]byte, 16), Flags: 7}},
		Notes:    imagetest.Note(phys32Entry, imagetest.U32(at)),
	}.Build()
}

// KernelPV is the smallest 64-bit ELF file that starts as PV: 16 bytes at frame 1, where
// addresses are those of its memory.
func KernelPV() []byte {
	const at, entry, xenVersion = 0x1000, 1, 5
	return imagetest.ELF{
		Is64:     true,
		Segments: []imagetest.Segment{{Paddr: at, Vaddr: at, Data: make([]byte, 16), Flags: 7}},
		Notes:    append(imagetest.Note(entry, imagetest.U64(at)), imagetest.Note(xenVersion, []byte("xen-3.0\x00"))...),
	}.Build()
}
