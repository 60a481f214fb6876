package domaintest

import "encoding/binary"

// Kernel is the smallest 32-bit ELF file that starts as PVH: 16 bytes at 1 MiB.
func Kernel() []byte {
	le := binary.LittleEndian
	b := make([]byte, 52+2*32)
	copy(b, "\x7fELF\x01\x01\x01")
	for off, v := range map[int]uint16{16: 2, 18: 3, 40: 52, 42: 32, 44: 2, 46: 40} {
		le.PutUint16(b[off:], v)
	}
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[28:], 52)
	header := func(i int, typ, at, size uint32) {
		for j, v := range []uint32{typ, uint32(len(b)), at, at, size, size, 7, 4} {
			le.PutUint32(b[52+32*i+4*j:], v)
		}
	}
	header(0, 1, 0x100000, 16)
	b = append(b, make([]byte, 16)...)
	header(1, 4, 0, 20)
	for _, v := range []uint32{4, 4, 18} { // XEN_ELFNOTE_PHYS32_ENTRY
		b = le.AppendUint32(b, v)
	}
	b = append(b, "Xen\x00"...)
	return le.AppendUint32(b, 0x100000)
}
