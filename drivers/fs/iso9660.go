package fs

import (
	"encoding/binary"
	"strings"
)

// ISO 9660 (ECMA-119), with the names of Rock Ridge (IEEE P1282) where there are such.

const (
	isoSector = 2048
	isoFirst  = 16 // of the volume's descriptors
	isoDir    = 0x02
	isoMore   = 0x80 // a file in several extents
	isoLeast  = 33   // bytes of a folder's entry
)

type iso struct {
	disk
	block int64 // bytes
	root  File
}

func openISO(d disk) (System, error) {
	b := make([]byte, isoSector)
	for n := range int64(32) {
		if d.size < (isoFirst+n+1)*isoSector || d.read(b, (isoFirst+n)*isoSector) != nil || string(b[1:6]) != "CD001" || b[0] == 255 {
			return nil, ErrUnknown
		}
		if b[0] == 1 { // the primary descriptor
			break
		}
	}
	i := &iso{disk: d, block: int64(binary.LittleEndian.Uint16(b[128:]))}
	if i.block < 512 || i.block > isoSector || i.block&(i.block-1) != 0 {
		return nil, damaged("blocks of %d bytes", i.block)
	}
	i.root = i.file(b[156:190])
	return i, nil
}

// Kind implements System.
func (i *iso) Kind() string { return "ISO 9660" }

// file is what an entry says.
func (i *iso) file(e []byte) File {
	le := binary.LittleEndian
	size := int64(le.Uint32(e[10:]))
	return File{Size: size, Extents: []Extent{{0, (int64(le.Uint32(e[2:])) + int64(e[1])) * i.block, size}}}
}

// Find implements System. Names are the same in upper and lower case.
func (i *iso) Find(path string) (File, error) {
	file, dir := i.root, true
	for _, part := range parts(path) {
		if !dir {
			return file, irregular(path, part, "in a file, not in a folder")
		}
		b, err := file.all(i.disk)
		if err != nil {
			return file, err
		}
		e, err := isoFind(b, part)
		if err != nil {
			return file, err
		}
		if e == nil {
			return file, missing(path, part)
		}
		if e[25]&isoMore != 0 {
			return file, irregular(path, part, "in several pieces, as files of more than 4 GiB are")
		}
		file, dir = i.file(e), e[25]&isoDir != 0
	}
	if dir {
		return file, irregular(path, path, "a folder")
	}
	return file, nil
}

// isoFind returns the entry of a name, or nil.
func isoFind(dir []byte, name string) ([]byte, error) {
	for at := 0; at+isoLeast < len(dir); {
		n := int(dir[at])
		if n == 0 { // none goes over a sector's end
			at = (at/isoSector + 1) * isoSector
			continue
		}
		l := int(dir[at+32])
		if n <= isoLeast || isoLeast+l > n || at+n > len(dir) {
			return nil, damaged("an entry of %d bytes in a folder", n)
		}
		e := dir[at : at+n]
		plain, _, _ := strings.Cut(string(e[33:33+l]), ";")
		if l > 1 || e[33] > 1 { // 0 and 1 are the folder and the one above
			if strings.EqualFold(strings.TrimRight(plain, "."), name) || rockRidge(e[min(33+l+1-l&1, n):]) == name {
				return e, nil
			}
		}
		at += n
	}
	return nil, nil
}

// rockRidge returns the name among an entry's system use fields, or "".
func rockRidge(b []byte) (name string) {
	for len(b) >= 4 && int(b[2]) >= 4 && int(b[2]) <= len(b) {
		if f := b[:b[2]]; string(f[:2]) == "NM" && len(f) >= 5 {
			name += string(f[5:])
		}
		b = b[b[2]:]
	}
	return name
}
