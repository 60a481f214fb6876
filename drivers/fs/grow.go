package fs

import (
	"errors"
	"fmt"
	"io"
)

// Medium is a disk that can be written, too. What was written may be lost, any part of it and
// in any order, until Flush is done.
type Medium interface {
	io.ReaderAt
	io.WriterAt
	// Zero makes n bytes from off on zeros.
	Zero(off, n int64) error
	Flush() error
}

// Errors of a Grower.
var (
	// ErrFull says that there is no room.
	ErrFull = errors.New("no room is left in the file system")
	// ErrFixed says that nothing of the file system is written.
	ErrFixed = errors.New("its files can't be given more room")
)

// Grower is a System whose files can be given more room, if it was opened on a Medium. Each
// change reaches the medium in such an order that the power may go at any time: at worst some
// clusters are allocated that nothing uses. Its methods may not be called at once.
type Grower interface {
	System
	// Prepare makes what a file's last cluster has behind the file's end zeros, and the file
	// a whole number of 512 bytes long, while nobody uses it. The error says why it can't be
	// given room; it wraps ErrFixed if the file is as it was.
	Prepare(f *File) error
	// Extend makes a file that was prepared at least least bytes longer, and most bytes if
	// there is room, of zeros. Its old extents stay, but for the last one's length. After an error
	// the file may be longer, too, as the medium may have done what it said it had not. The error
	// wraps ErrFull or ErrFixed, or is the medium's.
	// used tells whether somebody uses what should be free.
	Extend(f *File, least, most int64, used func(Extent) bool) error
	// Finish ends what was begun, once nobody uses a file any more.
	Finish() error
}

// Filler is a Grower whose files may have holes, which can be filled.
type Filler interface {
	Grower
	// Fill gives a file that was prepared blocks at least where the first of n bytes from from
	// on is, unless it has them, and zeros in them. Errors are as Extend's.
	Fill(f *File, from, n int64, used func(Extent) bool) error
}

func fixed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFixed}, args...)...)
}

// medium returns the disk as one that is written, or nil.
func (d disk) medium() Medium {
	m, _ := d.r.(Medium)
	return m
}

// write writes b from byte off on.
func (d disk) write(b []byte, off int64) error {
	if off < 0 || off > d.size-int64(len(b)) {
		return damaged("%d bytes at %d are not on the disk of %d", len(b), off, d.size)
	}
	_, err := d.medium().WriteAt(b, off)
	return err
}
