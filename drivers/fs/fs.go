// Package fs finds files in the file systems of disks, FAT, ext4 and ISO 9660, and says
// where on the disk their bytes are. A file that is a guest's disk is written in its place.
// What is written of a file system is room that a file gets (Grower).
//
// What a disk says is not believed: sizes and places are checked before they are used,
// and a loop ends.
package fs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sort"
	"strings"
)

// Extent is where a part of a file is, in bytes.
type Extent struct{ File, Disk, Len int64 }

// File is a regular file. Its extents are in order; what is not in one reads as zeros.
type File struct {
	Size    int64
	Extents []Extent
	at      int64  // where its entry in the folder is, in FAT, or its inode
	id      uint32 // its inode's number
	tree    *tree  // of what it has, in ext4, once it may change
}

// System is a file system.
type System interface {
	// Find finds a regular file; the path's parts are separated by slashes. The error
	// wraps fs.ErrNotExist if there is none.
	Find(path string) (File, error)
	// Kind is FAT12, FAT16, FAT32, ext4 or ISO 9660.
	Kind() string
}

// ErrUnknown says that a disk has no file system that is known here.
var ErrUnknown = errors.New("it has no file system that can be read here; there are FAT, ext4 and ISO 9660")

const (
	// maxDir bounds a folder, in bytes.
	maxDir = 16 << 20
	// maxExtents bounds a file's: 3 MiB of memory.
	maxExtents = 1 << 17
)

// Open reads what kind of a file system a disk of size bytes has.
func Open(r io.ReaderAt, size int64) (System, error) {
	d := disk{r, size}
	for _, open := range []func(disk) (System, error){openExt4, openISO, openFAT} {
		if s, err := open(d); !errors.Is(err, ErrUnknown) {
			return s, err
		}
	}
	return nil, ErrUnknown
}

// disk is what a file system is read from.
type disk struct {
	r    io.ReaderAt
	size int64
}

// read fills b from byte off on.
func (d disk) read(b []byte, off int64) error {
	if off < 0 || off > d.size-int64(len(b)) {
		return damaged("%d bytes at %d are not on the disk of %d", len(b), off, d.size)
	}
	n, err := d.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	return err
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("the file system is damaged: "+format, args...)
}

// add adds a part, in one extent with the last one if it follows that.
func (f *File) add(e Extent) error {
	if n := len(f.Extents); n > 0 {
		if l := &f.Extents[n-1]; l.File+l.Len == e.File && l.Disk+l.Len == e.Disk {
			l.Len += e.Len
			return nil
		}
	}
	if len(f.Extents) >= maxExtents {
		return fmt.Errorf("it is in more than %d pieces; copy it to where there is more room in one place", maxExtents)
	}
	f.Extents = append(f.Extents, e)
	return nil
}

// place is where on the disk a byte of the file is, 0 if it is nowhere.
func (f *File) place(at int64) int64 {
	i := sort.Search(len(f.Extents), func(i int) bool { return f.Extents[i].File+f.Extents[i].Len > at })
	if i == len(f.Extents) || f.Extents[i].File > at {
		return 0
	}
	return f.Extents[i].Disk + at - f.Extents[i].File
}

// Reader reads a file from the disk that it was found on.
func (f *File) Reader(r io.ReaderAt) io.Reader {
	var all []io.Reader
	at := int64(0)
	for _, e := range f.Extents {
		if e.File > at {
			all = append(all, io.LimitReader(zeros{}, min(e.File, f.Size)-at))
		}
		if n := min(e.Len, f.Size-e.File); n > 0 {
			all = append(all, io.NewSectionReader(r, e.Disk, n))
			at = e.File + n
		}
	}
	if at < f.Size {
		all = append(all, io.LimitReader(zeros{}, f.Size-at))
	}
	return io.MultiReader(all...)
}

// all reads a whole file that is a folder.
func (f *File) all(d disk) ([]byte, error) {
	if f.Size > maxDir {
		return nil, damaged("a folder of %d bytes", f.Size)
	}
	b := make([]byte, f.Size)
	_, err := io.ReadFull(f.Reader(d.r), b)
	return b, err
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// parts cuts a path.
func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// missing is the error of a part of a path that is not there.
func missing(path, part string) error {
	return fmt.Errorf("%s: there is no %q: %w", path, part, iofs.ErrNotExist)
}

// irregular is the error of a path that is no file, or goes through one.
func irregular(path, part, what string) error {
	return fmt.Errorf("%s: %q is %s", path, part, what)
}
