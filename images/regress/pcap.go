package regress

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// frames reads a file in the format of pcap (draft-ietf-opsawg-pcap), little endian.
func frames(b []byte) (all [][]byte, err error) {
	const header, record = 24, 16
	le := binary.LittleEndian
	if len(b) < header || le.Uint32(b) != 0xa1b2c3d4 {
		return nil, fmt.Errorf("%d bytes, which are no record of frames", len(b))
	}
	for b = b[header:]; len(b) >= record; {
		n := int(le.Uint32(b[8:]))
		if n > len(b)-record {
			break // it was cut
		}
		all = append(all, b[record:record+n])
		b = b[record+n:]
	}
	return all, nil
}

// sound looks at the pings in a record: each that the self-test sends has right checksums,
// and the data it should have, and each has one answer.
func (t *T) sound(name string) error {
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		return err
	}
	all, err := frames(b)
	if err != nil {
		return err
	}
	const head, ping, answer = 42, 8, 0
	open, n := map[uint16]int{}, 0
	for _, f := range all {
		if len(f) < head || f[12] != 8 || f[13] != 0 || f[23] != 1 {
			continue
		}
		size := int(binary.BigEndian.Uint16(f[16:]))
		seq := binary.BigEndian.Uint16(f[40:])
		if 14+size > len(f) || size < 28 || internetSum(f[14:34]) != 0 || internetSum(f[34:14+size]) != 0 {
			return fmt.Errorf("ping %d is not sound on the wire: % x", seq, f[:head])
		}
		for i, d := range f[head : 14+size] {
			if want := byte(i*7) ^ byte(seq); d != want {
				return fmt.Errorf("byte %d of ping %d is %#x on the wire, not %#x", i, seq, d, want)
			}
		}
		switch f[34] {
		case ping:
			open[seq]++
			n++
		case answer:
			open[seq]--
		}
		if open[seq] < 0 || open[seq] > 1 {
			return fmt.Errorf("ping %d: one was sent or answered twice", seq)
		}
	}
	const least = 500
	if n < least {
		return fmt.Errorf("%d pings on the wire, the self-test sends more than %d", n, least)
	}
	for seq, k := range open {
		if k != 0 {
			return fmt.Errorf("ping %d has no answer", seq)
		}
	}
	return nil
}

// internetSum is the checksum of RFC 1071: 0 over what holds its own.
func internetSum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i&1))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
