package fs

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// FAT, as in Microsoft's "FAT: General Overview of On-Disk Format", version 1.03.

const (
	fatEntry   = 32 // bytes of a folder's entry
	fatVolume  = 0x08
	fatDir     = 0x10
	fatLong    = 0x0f       // attributes of a part of a long name
	fatLastPos = 0x40       // in a part's number: it is the last one, which comes first
	fatEnd     = 0x0ffffff8 // from here on an entry of the table is a chain's last
)

type fat struct {
	disk
	kind     string
	bits     int   // of an entry in the table
	cluster  int64 // bytes
	table    int64 // where the first table is
	data     int64 // where cluster 2 is
	clusters uint32
	root     File   // of FAT12 and FAT16
	rootAt   uint32 // of FAT32

	fixed  error   // why files can't grow, or nil
	tables []int64 // where all of them are
	info   int64   // where FAT32's FSInfo is, 0 for none
	rover  uint32  // where to look for a free cluster
	sought uint32  // how many were looked at
}

func openFAT(d disk) (System, error) {
	b := make([]byte, 512)
	if d.size < 512 || d.read(b, 0) != nil {
		return nil, ErrUnknown
	}
	le := binary.LittleEndian
	unit, per := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, roots := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	sectors, perTable := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	if perTable == 0 {
		perTable = int64(le.Uint32(b[36:]))
	}
	if b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 || unit < 512 || unit > 4096 || unit&(unit-1) != 0 ||
		per == 0 || per&(per-1) != 0 || reserved == 0 || tables == 0 || perTable == 0 || sectors == 0 {
		return nil, ErrUnknown
	}
	rootBytes := (roots*fatEntry + unit - 1) / unit * unit
	f := &fat{disk: d, cluster: unit * per, table: reserved * unit, data: (reserved+tables*perTable)*unit + rootBytes}
	if sectors*unit > d.size || f.data > sectors*unit {
		return nil, damaged("FAT of %d sectors of %d bytes on a disk of %d", sectors, unit, d.size)
	}
	count := (sectors*unit - f.data) / f.cluster
	switch f.clusters = uint32(count); {
	case count < 4085:
		f.bits = 12
	case count < 65525:
		f.bits = 16
	default:
		f.bits, f.rootAt = 32, le.Uint32(b[44:])
	}
	f.kind = map[int]string{12: "FAT12", 16: "FAT16", 32: "FAT32"}[f.bits]
	if (count+2)*int64(f.bits) > perTable*unit*8 || count >= 1<<28 {
		return nil, damaged("%s has a table of %d bytes for %d clusters", f.kind, perTable*unit, count)
	}
	f.root = File{Size: rootBytes, Extents: []Extent{{0, f.data - rootBytes, rootBytes}}}
	for i := range tables {
		f.tables = append(f.tables, f.table+i*perTable*unit)
	}
	f.growable(b, unit, reserved)
	return f, nil
}

// Kind implements System.
func (f *fat) Kind() string { return f.kind }

// page is one of the first table's, as it was when it was read.
type page struct {
	f    *fat
	have int64 // where it is, -1: none was read
	b    []byte
}

func (f *fat) page(bytes int) *page { return &page{f, -1, make([]byte, bytes)} }

// entry returns a cluster's entry of the table, as FAT32 has it, without what is reserved.
func (p *page) entry(c uint32) (uint32, error) {
	f := p.f
	var v [4]byte
	bit := int64(c) * int64(f.bits)
	for i := range int64(f.bits+7) / 8 {
		off := f.table + bit/8 + i
		size := int64(len(p.b))
		if at := off - off%size; at != p.have {
			p.have = -1
			if err := f.read(p.b[:min(size, f.size-at)], at); err != nil {
				return 0, err
			}
			p.have = at
		}
		v[i] = p.b[off%size]
	}
	e := binary.LittleEndian.Uint32(v[:])
	switch f.bits {
	case 12:
		if e = e >> (bit % 8) & 0xfff; e >= 0xff7 {
			e |= 0x0ffff000
		}
	case 16:
		if e >= 0xfff7 {
			e |= 0x0fff0000
		}
	}
	return e & 0x0fffffff, nil
}

// chain follows the clusters from c on. A folder's size is what they have.
func (f *fat) chain(c uint32, size int64, dir bool) (File, error) {
	file := File{Size: size}
	if size == 0 && !dir {
		return file, nil
	}
	p := f.page(4096)
	at := int64(0)
	for n := uint32(0); ; n++ {
		if c < 2 || c-2 >= f.clusters || n >= f.clusters {
			return file, damaged("a chain of clusters goes to %d, or in a circle", c)
		}
		if err := file.add(Extent{at, f.data + int64(c-2)*f.cluster, f.cluster}); err != nil {
			return file, err
		}
		at += f.cluster
		if !dir && at >= size { // what its chain has beyond is not the file's
			break
		}
		next, err := p.entry(c)
		if err != nil {
			return file, err
		}
		if next >= fatEnd {
			break
		}
		c = next
		if dir && at > maxDir {
			return file, damaged("a folder of more than %d bytes", maxDir)
		}
	}
	if dir {
		file.Size = at
	}
	if at < file.Size {
		return file, damaged("a file of %d bytes has clusters for %d", file.Size, at)
	}
	return file, nil
}

// Find implements System. Names are the same in upper and lower case.
func (f *fat) Find(path string) (file File, err error) {
	file = f.root
	if f.bits == 32 {
		if file, err = f.chain(f.rootAt, 0, true); err != nil {
			return file, err
		}
	}
	dir := true
	for _, part := range parts(path) {
		if !dir {
			return file, irregular(path, part, "in a file, not in a folder")
		}
		b, err := file.all(f.disk)
		if err != nil {
			return file, err
		}
		off := fatFind(b, part)
		if off < 0 {
			return file, missing(path, part)
		}
		e, at := b[off:], file.place(int64(off))
		le := binary.LittleEndian
		first := uint32(le.Uint16(e[26:]))
		if f.bits == 32 {
			first |= uint32(le.Uint16(e[20:])) << 16
		}
		dir = e[11]&fatDir != 0
		if file, err = f.chain(first, int64(le.Uint32(e[28:])), dir); err != nil {
			return file, err
		}
		file.at = at
	}
	if dir {
		return file, irregular(path, path, "a folder")
	}
	return file, nil
}

// fatFind returns where in a folder the entry of a name is, or -1.
func fatFind(dir []byte, name string) int {
	var long []uint16 // from its end on
	var sum byte
	for at := 0; at+fatEntry <= len(dir) && dir[at] != 0; at += fatEntry {
		e := dir[at:][:fatEntry]
		switch {
		case e[0] == 0xe5: // deleted
			long = nil
		case e[11]&0x3f == fatLong:
			if e[0]&fatLastPos != 0 {
				long, sum = nil, e[13]
			}
			var u []uint16
			for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
				if c := binary.LittleEndian.Uint16(e[at:]); c != 0 && c != 0xffff {
					u = append(u, c)
				}
			}
			if long = append(u, long...); len(long) > 260 || e[13] != sum {
				long = nil
			}
		case e[11]&fatVolume != 0:
			long = nil
		default:
			base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
			if ext != "" {
				base += "." + ext
			}
			if strings.EqualFold(base, name) || sum == fatSum(e) && len(long) > 0 && strings.EqualFold(string(utf16.Decode(long)), name) {
				return at
			}
			long = nil
		}
	}
	return -1
}

// fatSum ties a long name to its entry.
func fatSum(e []byte) (sum byte) {
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
