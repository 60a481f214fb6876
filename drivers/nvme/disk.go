package nvme

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
	"nidus/mm"
)

// Disk is a namespace, as a block.Device.
type Disk struct {
	c     *Controller
	nsid  uint32
	shift uint8 // of the sectors of 512 bytes in a block
	info  block.Info
	desc  describer

	closed atomic.Bool
	once   sync.Once
	flying sync.WaitGroup // requests
}

// Fields of what identifies a namespace (figure 249 of 1.4).
const (
	nsSize     = 0 // 64 bits: blocks
	nsFeatures = 24
	nsFormats  = 25
	nsFormat   = 26
	nsGrain    = 68 // 16 bits: blocks less one that are discarded together
	nsFlags    = 99
	nsTable    = 128

	nsHasGrain  = 1 << 4 // of nsFeatures
	nsProtected = 1      // of nsFlags
)

// namespace makes a disk of what the device says of it. The error wraps ErrUnusable.
func (c *Controller) namespace(nsid uint32) (*Disk, error) {
	bad := func(format string, args ...any) (*Disk, error) {
		return nil, fmt.Errorf("namespace %d %s: %w", nsid, fmt.Sprintf(format, args...), ErrUnusable)
	}
	p, err := c.admin.identify(identifyNamespace, nsid)
	if err != nil {
		return nil, fmt.Errorf("namespace %d: %w", nsid, err)
	}
	id := make([]byte, 512)
	p.Read(0, id)
	le := binary.LittleEndian
	blocks, format := le.Uint64(id[nsSize:]), id[nsFormat]&0xf
	if blocks == 0 {
		return bad("is not active")
	}
	if format > id[nsFormats] {
		return bad("has format %d of %d", format, id[nsFormats]+1)
	}
	entry := id[nsTable+4*int(format):]
	metadata, shift := le.Uint16(entry), entry[2]
	if metadata != 0 {
		return bad("has %d bytes of metadata with each block; format it without", metadata)
	}
	if shift < block.SectorShift || shift > mm.PageShift {
		return bad("has blocks of 2^%d bytes; those of 512 to 4096 can be used", shift)
	}
	size := uint32(1) << shift
	if blocks > 1<<63>>shift {
		return bad("has %d blocks of %d bytes, which can't be", blocks, size)
	}
	grain := uint32(1)
	if id[nsFeatures]&nsHasGrain != 0 {
		grain += uint32(le.Uint16(id[nsGrain:]))
	}
	d := &Disk{c: c, nsid: nsid, shift: shift - block.SectorShift, desc: describer{c.host, c.sgl, size}}
	readOnly := id[nsFlags]&nsProtected != 0
	d.info = block.Info{
		Sectors: blocks << d.shift, SectorSize: size, PhysicalSize: size, ReadOnly: readOnly,
		CanFlush: c.cache, CanDiscard: c.trim && !readOnly, DiscardUnit: grain << shift,
		MaxSegments: maxSegments, MaxBytes: min(maxSegments*mm.PageSize, c.mostBytes), Prompt: true,
		Name: fmt.Sprintf("NVMe %s at %v, namespace %d", c.model, c.f.Address, nsid),
	}
	return d, nil
}

// Namespace is the disk's number in its controller.
func (d *Disk) Namespace() uint32 { return d.nsid }

// Info implements block.Device.
func (d *Disk) Info() block.Info { return d.info }

// Submit implements block.Device.
func (d *Disk) Submit(r *block.Request) {
	if _, err := d.info.Check(r); err != nil {
		r.Done(r, err)
		return
	}
	qs := d.c.queues
	qs[uint(d.c.host.CPU())%uint(len(qs))].submit(d, r)
}

// Close implements block.Device. The controller is shut down with its last disk.
func (d *Disk) Close() error {
	d.closed.Store(true)
	for _, q := range d.c.queues {
		q.refuse()
	}
	d.flying.Wait()
	var err error
	d.once.Do(func() {
		if d.c.open.Add(-1) == 0 {
			err = d.c.close()
		}
	})
	return err
}
