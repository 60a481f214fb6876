package fs

import (
	"encoding/binary"
	"hash/crc32"
)

// The checksums of ext4 ("Checksums" in its documentation): CRC-32C of everything with
// metadata_csum, CRC-16 of the groups' descriptors with gdt_csum.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c is the sum without the inversions at its begin and end.
func crc32c(sum uint32, b []byte) uint32 { return ^crc32.Update(^sum, castagnoli, b) }

// crc32cOf is crc32c of numbers.
func crc32cOf(sum uint32, numbers ...uint32) uint32 {
	var b [4]byte
	for _, n := range numbers {
		binary.LittleEndian.PutUint32(b[:], n)
		sum = crc32c(sum, b[:])
	}
	return sum
}

// crc16 has the polynomial 0x8005, from the lowest bit on.
func crc16(sum uint16, b []byte) uint16 {
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			low := sum & 1
			if sum >>= 1; low != 0 {
				sum ^= 0xa001
			}
		}
	}
	return sum
}

// balance changes the four bytes of b at at so that crc32c of all of b is want. The sum is
// linear: each of the 32 bits changes some of its bits, whatever the others are.
func balance(b []byte, at int, want uint32) {
	le := binary.LittleEndian
	le.PutUint32(b[at:], 0)
	zero := crc32c(^uint32(0), b)
	type row struct{ sum, bit uint32 }
	var rows [32]row // by the highest bit of what they change
	for i := range 32 {
		le.PutUint32(b[at:], 1<<i)
		r := row{crc32c(^uint32(0), b) ^ zero, 1 << i}
		for k := 31; k >= 0; k-- {
			if r.sum>>k&1 == 0 {
				continue
			}
			if rows[k].sum == 0 {
				rows[k] = r
				break
			}
			r.sum, r.bit = r.sum^rows[k].sum, r.bit^rows[k].bit
		}
	}
	left, x := want^zero, uint32(0)
	for k := 31; k >= 0; k-- {
		if left>>k&1 != 0 {
			left, x = left^rows[k].sum, x^rows[k].bit
		}
	}
	le.PutUint32(b[at:], x)
}
