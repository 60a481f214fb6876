// Package ram is a disk in the host's memory: empty at first, or with the bytes of an
// image below, which it never changes. What is written is kept page by page, in frames
// that are taken from the host when they are first written, and is lost with the disk.
package ram

import (
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
	"nidus/mm"
)

// Limits of a request.
const (
	maxSegments = 256
	maxBytes    = 1 << 20
)

const sectorSize = 1 << block.SectorShift

// Config is what a disk is made of.
type Config struct {
	// Memory is where its frames come from.
	Memory mm.FrameMemory
	// Base is what the disk holds at first, rounded up to whole sectors with zeros. It
	// is never written, and must not change.
	Base []byte
	// Bytes is the disk's size if that is more than Base's.
	Bytes      uint64
	SectorSize uint32 // 512 if 0
	ReadOnly   bool
	Name       string
	// Promises are to have the memory that the disk may take; nil: whatever is left when
	// it is written.
	Promises *Promises
}

// Disk is such a disk. It implements block.Device; a request is done when Submit
// returns.
type Disk struct {
	info block.Info
	mem  mm.FrameMemory
	base []byte

	// mu is held for reading by what reads and writes, for writing by what frees frames.
	mu     sync.RWMutex
	closed bool
	pages  []atomic.Uint64 // 1 + the frame, or 0: as Base has it; none if read-only
	grow   sync.Mutex      // who adds a frame to pages
	used   atomic.Int64    // frames
	// promises are those for all pages that have no frame; nil: none.
	promises *Promises
}

var _ block.Device = (*Disk)(nil)

// New makes a disk. An error says what is wrong with its size, or wraps mm.ErrNoMemory.
func New(c Config) (*Disk, error) {
	if c.SectorSize == 0 {
		c.SectorSize = sectorSize
	}
	if s := c.SectorSize; s < sectorSize || s > mm.PageSize || s&(s-1) != 0 {
		return nil, fmt.Errorf("disk %s: sectors of %d bytes: there are 512 to %d", c.Name, s, mm.PageSize)
	}
	size := max(c.Bytes, uint64(len(c.Base)))
	unit := uint64(c.SectorSize)
	const most = 1 << 46
	if size == 0 || size > most {
		return nil, fmt.Errorf("disk %s: %d bytes: a disk has 1 to %d", c.Name, size, uint64(most))
	}
	size = (size + unit - 1) &^ (unit - 1)
	pages := (size + mm.PageSize - 1) >> mm.PageShift
	if c.ReadOnly { // none is ever written
		c.Promises, pages = nil, 0
	}
	if c.Promises != nil {
		if err := c.Promises.promise(pages << mm.PageShift); err != nil {
			return nil, fmt.Errorf("disk %s: %w", c.Name, err)
		}
	}
	return &Disk{
		info: block.Info{
			Sectors: size >> block.SectorShift, SectorSize: c.SectorSize, PhysicalSize: mm.PageSize, ReadOnly: c.ReadOnly,
			CanDiscard: !c.ReadOnly, DiscardUnit: mm.PageSize, MaxSegments: maxSegments, MaxBytes: maxBytes, Name: c.Name,
			Prompt: true,
		},
		mem: c.Memory, base: c.Base, pages: make([]atomic.Uint64, pages), promises: c.Promises,
	}, nil
}

// Info implements block.Device.
func (d *Disk) Info() block.Info { return d.info }

// Used returns how many frames of memory the disk has taken.
func (d *Disk) Used() int64 { return d.used.Load() }

// Submit implements block.Device.
func (d *Disk) Submit(r *block.Request) { r.Done(r, d.do(r)) }

func (d *Disk) do(r *block.Request) error {
	if _, err := d.info.Check(r); err != nil {
		return err
	}
	if r.Op == block.Discard {
		return d.discard(r.Sector<<block.SectorShift, r.Sectors<<block.SectorShift)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return block.ErrGone
	}
	at := r.Sector << block.SectorShift
	for _, s := range r.Segments {
		pg := d.mem.Page(s.Frame)
		for off, left := int(s.Off), int(s.Len); left > 0; {
			n := min(left, mm.PageSize-int(at&mm.PageMask))
			if r.Op == block.Read {
				d.read(at, pg, off, n)
			} else if err := d.write(at, pg, off, n); err != nil {
				return err
			}
			at, off, left = at+uint64(n), off+n, left-n
		}
	}
	return nil
}

// read copies n bytes at place at, which are in one page, to dst.
func (d *Disk) read(at uint64, dst mm.Page, off, n int) {
	if i := at >> mm.PageShift; i < uint64(len(d.pages)) {
		if m := d.pages[i].Load(); m != 0 {
			dst.Copy(off, d.mem.Page(mm.MFN(m-1)), int(at&mm.PageMask), n)
			return
		}
	}
	d.readBase(at, dst, off, n)
}

// readBase copies n bytes of the image at place at, and zeros beyond its end.
func (d *Disk) readBase(at uint64, dst mm.Page, off, n int) {
	have := 0
	if at < uint64(len(d.base)) {
		have = min(n, len(d.base)-int(at))
		dst.Write(off, d.base[at:at+uint64(have)])
	}
	if have < n {
		dst.Zero(off+have, n-have)
	}
}

func (d *Disk) write(at uint64, src mm.Page, off, n int) error {
	m := d.pages[at>>mm.PageShift].Load()
	if m == 0 {
		var err error
		if m, err = d.add(at>>mm.PageShift, src, n); err != nil {
			return err
		}
	}
	d.mem.Page(mm.MFN(m-1)).Copy(int(at&mm.PageMask), src, off, n)
	return nil
}

// add gives page i a frame of its own, with what the disk has there, or with all of src
// if n, the bytes that are to be written, is a page. Nobody sees what the frame had.
func (d *Disk) add(i uint64, src mm.Page, n int) (uint64, error) {
	d.grow.Lock()
	defer d.grow.Unlock()
	if m := d.pages[i].Load(); m != 0 {
		return m, nil
	}
	f, ok := d.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	if !ok {
		return 0, block.ErrNoSpace
	}
	if pg := d.mem.Page(f); n == mm.PageSize {
		pg.Copy(0, src, 0, n)
	} else {
		d.readBase(i<<mm.PageShift, pg, 0, mm.PageSize)
	}
	d.used.Add(1)
	if d.promises != nil {
		d.promises.kept(mm.PageSize)
	}
	d.pages[i].Store(uint64(f) + 1)
	return uint64(f) + 1, nil
}

// discard frees whole pages, which are as at first then.
func (d *Disk) discard(at, n uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return block.ErrGone
	}
	d.free((at+mm.PageSize-1)>>mm.PageShift, (at+n)>>mm.PageShift)
	return nil
}

// free frees pages [from, to). The lock is held.
func (d *Disk) free(from, to uint64) {
	for i := from; i < to; i++ {
		if m := d.pages[i].Swap(0); m != 0 {
			d.mem.FreeFrames(mm.MFN(m-1), 0)
			d.used.Add(-1)
			if d.promises != nil {
				d.promises.again(mm.PageSize)
			}
		}
	}
}

// Close implements block.Device: all that was written is gone.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.free(0, uint64(len(d.pages)))
	if d.promises != nil {
		d.promises.kept(uint64(len(d.pages)) << mm.PageShift)
	}
	return nil
}
