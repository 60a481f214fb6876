package ahci

import (
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
)

// maxSegments is what a table has room for, and more than backends send at once.
const maxSegments = 128

// Disk is a SATA disk, as a block.Device.
type Disk struct {
	p      *port
	id     identity
	shift  uint8 // of the sectors of 512 bytes in one of the disk's
	depth  int   // slots that are used
	queues bool  // reads and writes are queued
	fua    bool  // writes past the cache are known
	info   block.Info

	closed atomic.Bool
	once   sync.Once
	flying sync.WaitGroup // requests
}

// Port is the number of the disk's port in its controller.
func (d *Disk) Port() int { return d.p.index }

// Info implements block.Device.
func (d *Disk) Info() block.Info { return d.info }

// Submit implements block.Device.
func (d *Disk) Submit(r *block.Request) {
	if _, err := d.info.Check(r); err != nil {
		r.Done(r, err)
		return
	}
	d.p.submit(flight{r: r, flush: r.Op == block.Flush})
}

// Close implements block.Device. The disk writes its cache.
func (d *Disk) Close() error {
	d.closed.Store(true)
	d.p.refuse()
	d.flying.Wait()
	var err error
	d.once.Do(func() { err = d.p.close() })
	return err
}
