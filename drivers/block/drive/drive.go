// Package drive is a drive whose disc can be changed while somebody uses it, such as a
// CD's. It is read-only.
package drive

import (
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
)

// Limits of a request, whatever disc is in: who uses the drive asks for them once.
const (
	maxSegments = 64
	maxBytes    = 256 << 10
)

// Drive is such a drive. It implements block.Device; an empty one has no sectors.
type Drive struct {
	name string

	mu     sync.Mutex // of Change and Close
	closed bool
	disc   atomic.Pointer[block.Device] // nil: none
}

var _ block.Device = (*Drive)(nil)

// New makes an empty drive.
func New(name string) *Drive { return &Drive{name: name} }

// Info implements block.Device. Sectors changes with the disc, Name too.
func (d *Drive) Info() block.Info {
	i := block.Info{SectorSize: 1 << block.SectorShift, PhysicalSize: 1 << block.SectorShift, Name: d.name}
	if disc := d.disc.Load(); disc != nil {
		i = (*disc).Info()
	}
	i.ReadOnly, i.Removable, i.CanFlush, i.CanDiscard = true, true, false, false
	i.MaxSegments, i.MaxBytes = maxSegments, maxBytes
	return i
}

// Submit implements block.Device. What is on its way when the disc is changed is done, or
// gets block.ErrGone.
func (d *Drive) Submit(r *block.Request) {
	i := d.Info()
	_, err := i.Check(r)
	disc := d.disc.Load()
	switch {
	case err != nil:
		r.Done(r, err)
	case disc == nil:
		r.Done(r, block.ErrGone)
	default:
		(*disc).Submit(r)
	}
}

// Change puts a disc into the drive, or nil for none, and closes the one that was there.
// The disc is the drive's then. An error says why it doesn't fit, or that the drive is
// closed, and leaves all as it was.
func (d *Drive) Change(disc block.Device) error {
	var p *block.Device
	if disc != nil {
		switch i := disc.Info(); {
		case i.SectorSize != 1<<block.SectorShift:
			return fmt.Errorf("%s has sectors of %d bytes; what is put into a drive has 512", i.Name, i.SectorSize)
		case i.MaxSegments < maxSegments || i.MaxBytes < maxBytes:
			return fmt.Errorf("%s takes %d segments and %d bytes at once; what is put into a drive takes %d and %d", i.Name, i.MaxSegments, i.MaxBytes, maxSegments, maxBytes)
		}
		p = &disc
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return block.ErrGone
	}
	return d.swap(p)
}

func (d *Drive) swap(p *block.Device) error {
	if old := d.disc.Swap(p); old != nil {
		return (*old).Close()
	}
	return nil
}

// Close implements block.Device.
func (d *Drive) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.swap(nil)
}
