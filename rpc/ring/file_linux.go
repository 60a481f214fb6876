package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// maxFile is the most of a file that is mapped, in bytes: far more than a host lays out.
const maxFile = 1 << 30

// DialFile attaches to a region that is a file, such as that of QEMU's
// memory-backend-file; see Dial. The connection holds its slot's lock in the file, so that
// the death of this program is seen by the next one that calls DialFile. Its Close unmaps
// the file.
func DialFile(ctx context.Context, name string, opts Options) (net.Conn, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	region, err := mapFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	release := sync.OnceFunc(func() {
		syscall.Munmap(region)
		f.Close()
	})
	opts.Locks = fileLocks{f}
	conn, err := Dial(ctx, region, opts)
	if err != nil {
		release()
		return nil, err
	}
	c := conn.(*Conn)
	finish := c.finish
	c.finish = func() {
		finish()
		release()
	}
	return c, nil
}

func mapFile(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() == 0 || st.Size() > maxFile {
		return nil, fmt.Errorf("%w: %s has to be a file of 1 to %d bytes, that of QEMU's memory-backend-file", ErrFormat, f.Name(), maxFile)
	}
	region, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	return region, nil
}

// fileLocks are write locks on one byte each, of the open file (fcntl_locking(2), "Open
// file description locks"): slot i's is byte i. They end with the last process that has
// the file open by this open(2), which is why no child inherits it.
type fileLocks struct{ f *os.File }

// setLock is F_OFD_SETLK of Linux' include/uapi/asm-generic/fcntl.h.
const setLock = 37

// TryLock implements Locks.
func (l fileLocks) TryLock(slot int) (unlock func(), ok bool) {
	set := func(kind int16) error {
		return syscall.FcntlFlock(l.f.Fd(), setLock, &syscall.Flock_t{Type: kind, Whence: io.SeekStart, Start: int64(slot), Len: 1})
	}
	err := set(syscall.F_WRLCK)
	for errors.Is(err, syscall.EINTR) {
		err = set(syscall.F_WRLCK)
	}
	return func() { set(syscall.F_UNLCK) }, err == nil
}
