package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode"
	"unicode/utf16"
)

const (
	gptSignature  = "EFI PART"
	gptHeaderSize = 92
	gptEntrySize  = 128  // at least, as it is always
	mostEntries   = 1024 // 128 is usual
)

// gptHeader is what a header says, which its checksum confirms.
type gptHeader struct {
	lba, firstUsable, lastUsable, table uint64
	entries, entrySize, sum             uint32
}

// gpt reads the table of the first header, or of the one at the disk's end.
func (d *disk) gpt() (Table, error) {
	t := Table{Kind: "GPT"}
	var good *Table
	for i, lba := range []uint64{1, d.blocks() - 1} {
		got, why, err := d.gptAt(lba)
		switch {
		case err != nil:
			return Table{}, err
		case why != "":
			t.problem("%s GUID partition table: %s", []string{"first", "second"}[i], why)
		case good == nil:
			good = &got
		}
	}
	if good != nil {
		good.Problems = append(t.Problems, good.Problems...)
		return *good, nil
	}
	t.problem("there are no partitions, as neither table is sound")
	return t, nil
}

// gptAt reads the table whose header is at lba; why says what is wrong with it.
func (d *disk) gptAt(lba uint64) (t Table, why string, err error) {
	b := make([]byte, d.unit)
	if err := d.read(b, lba); err != nil {
		return t, "", err
	}
	h, why := d.header(b, lba)
	if why != "" {
		return t, why, nil
	}
	table := make([]byte, int(h.entries)*int(h.entrySize))
	if err := d.read(table, h.table); err != nil {
		return t, "", err
	}
	if crc32.ChecksumIEEE(table) != h.sum {
		return t, "the checksum of its entries is wrong", nil
	}
	t.Kind = "GPT"
	for i := range int(h.entries) {
		e := table[i*int(h.entrySize):][:gptEntrySize]
		typ := e[:16]
		if bytes.Count(typ, []byte{0}) == len(typ) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first < h.firstUsable || last > h.lastUsable || last < first {
			t.problem("partition %d, sectors %d to %d, is not among those that are for use, %d to %d", i+1, first, last, h.firstUsable, h.lastUsable)
			continue
		}
		t.add(Entry{Number: i + 1, First: first * d.perBlock(), Sectors: (last - first + 1) * d.perBlock(), Type: guid(typ), Name: name(e[56:128])}, d.sectors)
	}
	return t, "", nil
}

// header checks a header (UEFI 2.10, table 5.5).
func (d *disk) header(b []byte, lba uint64) (h gptHeader, why string) {
	le := binary.LittleEndian
	size := le.Uint32(b[12:])
	switch {
	case string(b[:8]) != gptSignature:
		return h, "it is not there"
	case size < gptHeaderSize || int64(size) > d.unit:
		return h, fmt.Sprintf("its header is said to have %d bytes", size)
	}
	sum := le.Uint32(b[16:])
	plain := bytes.Clone(b[:size])
	clear(plain[16:20])
	if crc32.ChecksumIEEE(plain) != sum {
		return h, "its header's checksum is wrong"
	}
	h = gptHeader{lba: le.Uint64(b[24:]), firstUsable: le.Uint64(b[40:]), lastUsable: le.Uint64(b[48:]), table: le.Uint64(b[72:]),
		entries: le.Uint32(b[80:]), entrySize: le.Uint32(b[84:]), sum: le.Uint32(b[88:])}
	blocks := d.blocks()
	switch {
	case h.lba != lba:
		return h, fmt.Sprintf("its header at sector %d is that of sector %d", lba, h.lba)
	case h.entrySize < gptEntrySize || h.entrySize > 4096 || h.entrySize&(h.entrySize-1) != 0 || h.entries > mostEntries:
		return h, fmt.Sprintf("it has %d entries of %d bytes", h.entries, h.entrySize)
	case h.firstUsable > h.lastUsable || h.lastUsable >= blocks:
		return h, fmt.Sprintf("it is for sectors %d to %d of %d", h.firstUsable, h.lastUsable, blocks)
	}
	need := (uint64(h.entries)*uint64(h.entrySize) + uint64(d.unit) - 1) / uint64(d.unit)
	if h.table < 2 || h.table >= blocks || need > blocks-h.table {
		return h, fmt.Sprintf("its entries are at sector %d", h.table)
	}
	return h, ""
}

// guid writes a GUID as the specification does: the first three parts are little endian.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08X-%04X-%04X-%04X-%012X", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// name is a partition's name, without what a terminal might obey.
func name(b []byte) string {
	var u []uint16
	for ; len(b) >= 2 && (b[0] != 0 || b[1] != 0); b = b[2:] {
		u = append(u, binary.LittleEndian.Uint16(b))
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(utf16.Decode(u)))
}
