// Package volume makes disks of the files of a partition. The file system is read when a
// file is opened; from then on requests go to where the file is, and to the medium when
// they are flushed, without the file system. Of that only room is written that a file gets
// when its disk is to be longer (Grow), or a hole of it is written: files don't move, and none
// is made.
package volume

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"nidus/drivers/block"
	"nidus/drivers/block/extent"
	"nidus/drivers/block/sector"
	"nidus/drivers/device"
	"nidus/drivers/fs"
)

// ErrInUse says that a file has a writer, or is to have one while it is read.
var ErrInUse = errors.New("in use")

// Volume is such a partition. It is open, and nobody else's to write, while a file of it is.
type Volume struct {
	name string
	mem  device.Memory
	open func(readOnly bool) (block.Device, error)

	mu     sync.Mutex
	dev    block.Device // nil: it is not open
	sys    fs.System
	users  int
	opened map[*file]bool
}

// New makes a volume of a partition that open opens; name is for people.
func New(name string, mem device.Memory, open func(readOnly bool) (block.Device, error)) *Volume {
	return &Volume{name: name, mem: mem, open: open, opened: map[*file]bool{}}
}

// Name is what people call it.
func (v *Volume) Name() string { return v.name }

// file is one that is a disk.
type file struct {
	block.Device // sectors or pieced
	v            *Volume
	pieced       *extent.Device
	sectors      *sector.Device // nil: the disk's sectors have 512 bytes
	readOnly     bool
	end          uint64 // of the file when it was opened, in bytes
	once         sync.Once

	// v.mu is held for these.
	found  fs.File
	pieces []fs.Extent // by their place on the disk, which tells files apart
	fixed  error       // why it can't grow, or nil
}

// Open makes a disk of a file: what is written has one user. The error wraps fs.ErrNotExist
// or ErrInUse.
func (v *Volume) Open(path string, readOnly bool) (block.Device, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, err := v.find(path, readOnly)
	if err != nil {
		return nil, err
	}
	f, err := v.disk(path, found, readOnly)
	if err != nil {
		v.release()
		return nil, err
	}
	v.opened[f] = true
	return f, nil
}

// disk makes a disk of what was found. v.mu is held.
func (v *Volume) disk(path string, found fs.File, readOnly bool) (_ *file, err error) {
	name := v.name + ":" + path
	f := &file{v: v, found: found, readOnly: readOnly || v.dev.Info().ReadOnly}
	if f.readOnly && !readOnly {
		return nil, fmt.Errorf("%s can't be written, as its disk can't or is read by others; write r", name)
	}
	f.setPieces()
	for o := range v.opened {
		if !(o.readOnly && f.readOnly) && share(o.pieces, f.pieces) {
			return nil, fmt.Errorf("%s is a disk of another domain already: %w", name, ErrInUse)
		}
	}
	if !f.readOnly {
		if err := f.prepare(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	f.end = uint64(f.found.Size)
	c := extent.Config{Disk: v.dev, ReadOnly: readOnly, Name: name, Memory: v.mem}
	if _, ok := v.sys.(fs.Filler); ok && !f.readOnly && f.fixed == nil {
		c.Fill = f.fill
	}
	if c.Extents, c.Sectors, err = f.extents(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.pieced, err = extent.New(c); err != nil {
		if f.fixed != nil && !f.readOnly {
			err = fmt.Errorf("%w (%w)", err, f.fixed)
		}
		return nil, err
	}
	f.Device = f.pieced
	if v.dev.Info().SectorSize > 1<<block.SectorShift {
		// What is in the file was written for sectors of 512 bytes.
		if f.sectors, err = sector.New(f.pieced, v.mem, f.length()); err != nil {
			return nil, err
		}
		f.Device = f.sectors
	}
	return f, nil
}

// length is the file's, in sectors of 512 bytes.
func (f *file) length() uint64 {
	return uint64(f.found.Size+1<<block.SectorShift-1) >> block.SectorShift
}

// extents are where the file is, in sectors, and how many of the disk's it has.
func (f *file) extents() (all []extent.Extent, sectors uint64, err error) {
	const shift = block.SectorShift
	unit := int64(f.v.dev.Info().SectorSize)
	up := func(n int64) uint64 { return uint64((n + unit - 1) &^ (unit - 1) >> shift) }
	all = make([]extent.Extent, 0, len(f.found.Extents))
	for _, e := range f.found.Extents {
		if (e.File|e.Disk)%unit != 0 {
			return nil, 0, fmt.Errorf("its piece at byte %d is at byte %d of the disk, which is no whole sector", e.File, e.Disk)
		}
		// What ends in a sector has all of it: clusters and blocks are sectors.
		all = append(all, extent.Extent{First: uint64(e.File) >> shift, Disk: uint64(e.Disk) >> shift, Sectors: up(e.Len)})
	}
	return all, up(f.found.Size), nil
}

// setPieces sorts where the file is by the places on the disk, none in another one.
func (f *file) setPieces() {
	all := slices.Clone(f.found.Extents)
	slices.SortFunc(all, func(a, b fs.Extent) int { return cmp.Compare(a.Disk, b.Disk) })
	f.pieces = all[:0]
	for _, e := range all {
		if n := len(f.pieces); n > 0 && e.Disk <= f.pieces[n-1].Disk+f.pieces[n-1].Len {
			l := &f.pieces[n-1]
			l.Len = max(l.Len, e.Disk+e.Len-l.Disk)
		} else {
			f.pieces = append(f.pieces, e)
		}
	}
}

// share tells whether two files, whose pieces are sorted, have any of the disk together: they
// are the same, or the file system is damaged.
func share(a, b []fs.Extent) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Disk+a[0].Len <= b[0].Disk:
			a = a[1:]
		case b[0].Disk+b[0].Len <= a[0].Disk:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}

// Tail is how many bytes of the last sector are the file's, 0 for all. What is written behind
// them is not read again, and is not there for those who read the file.
func (f *file) Tail() int { return int(f.end % (1 << block.SectorShift)) }

// Submit implements block.Device. Behind the file's end its last sector is zeros, whatever
// the medium has there.
func (f *file) Submit(r *block.Request) {
	const size = 1 << block.SectorShift
	tail, n := f.Tail(), uint64(0)
	for _, s := range r.Segments {
		n += uint64(s.Len)
	}
	if tail == 0 || r.Op != block.Read || r.Sector<<block.SectorShift+n <= f.end {
		f.Device.Submit(r)
		return
	}
	f.Device.Submit(&block.Request{Op: r.Op, Sector: r.Sector, Segments: r.Segments, Done: func(_ *block.Request, err error) {
		if err == nil {
			last := r.Segments[len(r.Segments)-1]
			f.v.mem.Page(last.Frame).Zero(int(last.Off)+int(last.Len)-size+tail, size-tail)
		}
		r.Done(r, err)
	}})
}

// Close implements block.Device.
func (f *file) Close() error {
	err := f.Device.Close()
	f.once.Do(func() {
		f.v.mu.Lock()
		defer f.v.mu.Unlock()
		delete(f.v.opened, f)
		err = errors.Join(err, f.v.release())
	})
	return err
}

// Read reads a whole file of at most most bytes. The error wraps fs.ErrNotExist if there
// is none.
func (v *Volume) Read(path string, most int64) ([]byte, error) {
	v.mu.Lock()
	f, err := v.find(path, true)
	dev := v.dev
	v.mu.Unlock() // who wants a file to grow does not wait for all that is read
	if err != nil {
		return nil, err
	}
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.release()
	}()
	if f.Size > most {
		return nil, fmt.Errorf("%s:%s has %d bytes; there may be %d", v.name, path, f.Size, most)
	}
	b := make([]byte, f.Size)
	if _, err := io.ReadFull(f.Reader(block.ReaderAt(dev, v.mem)), b); err != nil {
		return nil, fmt.Errorf("%s:%s: %w", v.name, path, err)
	}
	return b, nil
}

// find finds a file, and counts a user of the volume unless that fails. v.mu is held.
func (v *Volume) find(path string, readOnly bool) (fs.File, error) {
	if v.dev == nil {
		dev, err := v.open(false)
		if err != nil && readOnly { // maybe others read it
			dev, err = v.open(true)
		}
		if err != nil {
			return fs.File{}, fmt.Errorf("%s: %w", v.name, err)
		}
		v.dev = dev
		var r io.ReaderAt = block.ReaderAt(dev, v.mem)
		if !dev.Info().ReadOnly {
			r = block.Edit(dev, v.mem)
		}
		if v.sys, err = fs.Open(r, int64(dev.Info().Sectors)<<block.SectorShift); err != nil {
			return fs.File{}, errors.Join(fmt.Errorf("%s: %w", v.name, err), v.close())
		}
	}
	v.users++
	f, err := v.sys.Find(path)
	if err != nil {
		err = errors.Join(fmt.Errorf("%s (%s): %w", v.name, v.sys.Kind(), err), v.release())
	}
	return f, err
}

// release counts a user less. v.mu is held.
func (v *Volume) release() error {
	if v.users--; v.users > 0 {
		return nil
	}
	return v.close()
}

func (v *Volume) close() (err error) {
	dev := v.dev
	if g, ok := v.sys.(fs.Grower); ok {
		err = g.Finish()
	}
	v.dev, v.sys = nil, nil
	return errors.Join(err, dev.Close())
}
