package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Extent is a part of an image and of the disk, in bytes.
type Extent struct{ First, Count int64 }

// chunk is how much is copied at a time.
const chunk = 1 << 20

// Write copies an image's extents to the same places of a device, shows how far it is,
// and reads them back from the device to compare.
func Write(ctx context.Context, image io.ReaderAt, extents []Extent, d Device, out io.Writer) (err error) {
	var total int64
	for _, e := range extents {
		if e.First+e.Count > d.Bytes {
			return fmt.Errorf("%s is too small: the image goes to byte %d", d, e.First+e.Count)
		}
		total += e.Count
	}
	f, err := open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Synced now and then, for progress that is the disk's and not the cache's.
	const often = 16 << 20
	var unsynced int64
	err = pass(ctx, image, extents, newProgress(out, "writing", total), func(b []byte, at int64) error {
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		if unsynced += int64(len(b)); unsynced < often {
			return nil
		}
		unsynced = 0
		return f.Sync()
	})
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = verify(ctx, image, extents, f, newProgress(out, "verifying", total))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return rereadPartitions(f)
}

// verify compares a device with an image. It goes around the cache of what was written,
// by O_DIRECT where that works and else by dropping the cache, which is only advice:
// then the check may be weaker.
func verify(ctx context.Context, image io.ReaderAt, extents []Extent, f *os.File, bar *progress) error {
	// O_DIRECT wants memory, places and counts that are aligned to blocks.
	back, err := syscall.Mmap(-1, 0, chunk, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer syscall.Munmap(back)
	const align = 4096
	direct, err := os.OpenFile(f.Name(), os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		direct = nil
	} else {
		defer direct.Close()
	}
	dropCache(f)
	return pass(ctx, image, extents, bar, func(b []byte, at int64) error {
		n := 0
		if direct != nil && at%align == 0 {
			n, _ = direct.ReadAt(back[:(len(b)+align-1)&^(align-1)], at) // short at the end
		}
		if n < len(b) {
			if _, err := f.ReadAt(back[:len(b)], at); err != nil {
				return err
			}
		}
		if !bytes.Equal(b, back[:len(b)]) {
			return fmt.Errorf("what was written at byte %d reads back differently: the device is bad", at)
		}
		return nil
	})
}

// dropCache makes the next reads come from the device (posix_fadvise(2)).
func dropCache(f *os.File) {
	const dontNeed = 4
	syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0)
}

// rereadPartitions lets the kernel know the new partitions (BLKRRPART, linux/fs.h). A
// file has none, and some devices can have none.
func rereadPartitions(f *os.File) error {
	const blkrrpart = 0x125f
	info, err := f.Stat()
	if err != nil || info.Mode().IsRegular() {
		return err
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), blkrrpart, 0); errno != 0 && errno != syscall.EINVAL {
		return fmt.Errorf("%s is written, but Linux does not see its new partitions (%w): unplug it and plug it in again", f.Name(), errno)
	}
	return nil
}

// pass goes over an image's extents once.
func pass(ctx context.Context, image io.ReaderAt, extents []Extent, bar *progress, do func(b []byte, at int64) error) error {
	b := make([]byte, chunk)
	for _, e := range extents {
		for at, end := e.First, e.First+e.Count; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := image.ReadAt(b[:min(chunk, end-at)], at)
			if int64(n) < min(chunk, end-at) {
				return fmt.Errorf("reading the image at byte %d: %w", at, err)
			}
			if err := do(b[:n], at); err != nil {
				return err
			}
			at += int64(n)
			bar.add(int64(n))
		}
	}
	bar.end()
	return nil
}
