// Package blkback serves a block.Device to a guest: the backend of Xen's block
// protocol (io/blkif.h, io/ring.h). The guest's pages go to the device as frames, held
// by their grants, so that nothing is copied here.
//
// Sectors in requests, and the node sectors, are of 512 bytes whatever sector-size says:
// that is how Linux' two ends have always read the header.
package blkback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/block"
	"nidus/mm"
)

// Quotas of a device.
const (
	// MaxQueues is how many rings a guest may have.
	MaxQueues = 4
	// maxRingOrder bounds a ring: 8 pages, 256 requests in flight.
	maxRingOrder = 3
	// maxIndirect is the segments of one indirect request, in one page of descriptors.
	maxIndirect = 128
	// maxPersistent bounds the grants that one queue keeps.
	maxPersistent = 1024
	// maxHeld is how many answers the guest is told of at once, while more requests are taken: each time
	// is an interrupt for it.
	maxHeld = 16
	// yieldEvery is after how many requests, a power of two, a queue lets others run.
	yieldEvery = 8
)

// Disk is a backend.Driver for one disk.
type Disk struct {
	Guest  *backend.Guest
	Device block.Device
	CDROM  bool
	// NoDiscard hides that the device can discard.
	NoDiscard bool
	// Persistent offers to keep the guest's grants. Linux copies each request's data
	// then, where it would grant the pages themselves.
	Persistent bool
	// Quota is that of the domain's disks; nil: this one has its own.
	Quota *Quota
	// Linger is how long a queue looks for the next request after large ones before it asks for an event by it: where
	// it costs a guest a lot to send one.
	Linger time.Duration
	// Log gets a line that a person is to see.
	Log func(format string, args ...any)
	// complained: the device's first error was logged.
	complained atomic.Bool
}

var _ backend.Driver = (*Disk)(nil)

// Offer implements backend.Driver.
func (d *Disk) Offer() []backend.Node {
	i := d.Device.Info()
	discard := i.CanDiscard && !d.NoDiscard && !i.ReadOnly
	nodes := []backend.Node{
		backend.Flag("feature-flush-cache", i.CanFlush), backend.Flag("feature-barrier", true),
		backend.Flag("feature-persistent", d.Persistent), backend.Flag("feature-discard", discard),
		backend.Num("feature-max-indirect-segments", maxIndirect),
		backend.Num("max-ring-page-order", maxRingOrder), backend.Num("max-ring-pages", 1<<maxRingOrder),
		backend.Num("multi-queue-max-queues", MaxQueues),
	}
	if discard {
		nodes = append(nodes, backend.Num("discard-granularity", i.DiscardUnit), backend.Num("discard-alignment", 0), backend.Flag("discard-secure", false))
	}
	return nodes
}

// Describe returns the nodes that say what the device is. Linux looks at sectors again
// when the backend writes its state once more; a frontend that doesn't, has the new ones
// when it connects again.
func (d *Disk) Describe() []backend.Node {
	i, flags := d.Device.Info(), 0
	if d.CDROM {
		flags |= vdiskCDROM
	}
	if i.Removable || d.CDROM {
		flags |= vdiskRemovable
	}
	if i.ReadOnly {
		flags |= vdiskReadOnly
	}
	return []backend.Node{
		backend.Num("sectors", i.Sectors), backend.Num("info", flags),
		backend.Num("sector-size", i.SectorSize), backend.Num("physical-sector-size", max(i.PhysicalSize, i.SectorSize)),
	}
}

// Connect implements backend.Driver.
func (d *Disk) Connect(f backend.Frontend, fail func(error)) (backend.Conn, []backend.Node, error) {
	proto, err := f.Text("protocol")
	if err != nil {
		return nil, nil, err
	}
	l := protocols[proto]
	if l == nil {
		return nil, nil, fmt.Errorf("protocol is %q; there are x86_64-abi and x86_32-abi", proto)
	}
	n, err := f.Num("multi-queue-num-queues", 1, 1, MaxQueues)
	if err != nil {
		return nil, nil, err
	}
	order, err := f.Num("ring-page-order", 0, 0, maxRingOrder)
	if err != nil {
		return nil, nil, err
	}
	persistent, err := f.Num("feature-persistent", 0, 0, 1)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{disk: d, info: d.Device.Info(), quota: d.Quota, fail: fail, cancel: cancel}
	if c.quota == nil {
		c.quota = &Quota{}
	}
	for i := range n {
		prefix := ""
		if n > 1 {
			prefix = fmt.Sprintf("queue-%d/", i)
		}
		err := c.queue(f, prefix, 1<<order, l, d.Persistent && persistent != 0)
		if err != nil {
			c.Close()
			return nil, nil, fmt.Errorf("%s%w", prefix, err)
		}
	}
	for _, q := range c.queues {
		c.workers.Go(func() { q.serve(ctx) })
		q.poke() // the guest may have sent before we listened
	}
	return c, d.Describe(), nil
}

// conn is the connection to a frontend.
type conn struct {
	disk    *Disk
	info    block.Info
	quota   *Quota
	fail    func(error)
	cancel  context.CancelFunc
	workers sync.WaitGroup
	queues  []*queue
}

// queue makes a queue of what the guest says below prefix, and adds it. With keep it has
// persistent grants.
func (c *conn) queue(f backend.Frontend, prefix string, pages int, l *layout, keep bool) error {
	q := &queue{conn: c, wake: make(chan struct{}, 1), ring: ring{layout: l, size: l.slots(pages)}}
	q.idle.L, q.fewer.L = &q.mu, &q.mu
	if keep {
		q.kept = make(map[uint32]backend.Grant)
	}
	if err := c.quota.add(int(q.size)); err != nil {
		return err
	}
	c.queues = append(c.queues, q)
	g := c.disk.Guest
	for i := range pages {
		name := fmt.Sprintf("ring-ref%d", i)
		if pages == 1 {
			if s, err := f.Text(prefix + "ring-ref"); err != nil || s != "" {
				name = "ring-ref"
			}
		}
		ref, err := f.Must(prefix + name)
		if err != nil {
			return err
		}
		x, err := g.Acquire(ref, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		q.grants = append(q.grants, x)
		q.pages = append(q.pages, g.Page(x))
	}
	// A ring that was in use goes on where its responses end.
	q.rspProd = q.load(ringRspProd)
	q.cons, q.told = q.rspProd, q.rspProd
	port, err := f.Must(prefix + "event-channel")
	if err != nil {
		return err
	}
	q.serving.Lock() // an event may come at once
	defer q.serving.Unlock()
	q.port, err = g.Bind(port, q.event)
	return err
}

// Close implements backend.Conn: it waits for what is in flight.
func (c *conn) Close() {
	c.cancel()
	c.workers.Wait()
	g := c.disk.Guest
	for _, q := range c.queues {
		q.serving.Lock()
		q.broken = true
		q.serving.Unlock()
		q.drain()
		if q.port != 0 {
			g.Unbind(q.port)
		}
		for _, x := range q.grants {
			g.Release(x)
		}
		for _, x := range q.kept {
			g.Release(x)
		}
		c.quota.remove(int(q.size))
	}
}

// complain logs the device's first error that is no guest's fault.
func (d *Disk) complain(r *block.Request, err error) {
	if !d.complained.Swap(true) {
		d.Log("disk %s of d%d: sector %d: %v; further errors of this disk are not shown", d.Device.Info().Name, d.Guest.ID, r.Sector, err)
	}
}

// statusOf makes the device's error a response's.
func statusOf(err error) int32 {
	switch {
	case err == nil:
		return rspOkay
	case errors.Is(err, block.ErrUnsupported):
		return rspUnsupported
	}
	return rspError
}

// blame tells whether an error is what the guest asked for.
func blame(err error) bool {
	return errors.Is(err, block.ErrRange) || errors.Is(err, block.ErrReadOnly) || errors.Is(err, block.ErrUnsupported)
}

// page is a page of a grant that is held.
func (c *conn) page(x backend.Grant) mm.Page { return c.disk.Guest.Page(x) }
