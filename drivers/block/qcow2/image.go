// Package qcow2 is a disk that is kept in QEMU's image format on another one, by QEMU's
// specification docs/interop/qcow2.txt: versions 2 and 3, read and written, with backing
// files, compressed clusters (read), internal snapshots (left alone) and discard.
//
// Data goes to and from its cluster without a copy. Of the image's own tables a bounded
// part is kept in memory; changes reach the file when the guest flushes, in such an order
// that the image is sound whenever the host ends: at worst clusters are counted that
// nothing points to. Clusters are allocated as far as the file goes, and where that is a
// block.Grower it is asked to go on.
//
// Nothing in an image is believed. A place beyond the file, a table that is none and such
// are errors of the requests that meet them; no size in a header is memory.
package qcow2

import (
	"errors"
	"fmt"
	"sync"

	"nidus/drivers/block"
	"nidus/mm"
)

const (
	bufFrames = 16
	bufBytes  = bufFrames * mm.PageSize
	// maxFreed bounds what waits for its count to go down.
	maxFreed = 4096
	// headBytes are read for the header and what follows it.
	headBytes = 64 << 10
	// Of a request.
	maxSegments = 256
	maxBytes    = 1 << 20
)

// Config is what an image is opened with.
type Config struct {
	// Device holds the image; it is the image's, and closed with it, also if Open fails.
	Device block.Device
	Memory mm.FrameMemory
	// ReadOnly leaves the image as it is.
	ReadOnly bool
	Name     string
	// Log gets what a person is to know of the image; may be nil.
	Log func(format string, args ...any)
	// Backing opens the file below, read-only, by the name and format that the image
	// says. Images may be below each other; Backing says when it is enough.
	Backing func(name, format string) (block.Device, error)
}

// Image is such a disk. It implements block.Device.
type Image struct {
	h        header
	info     block.Info
	dev      block.Device
	mem      mm.FrameMemory
	below    block.Device // nil: none
	clusters uint64       // of the file
	gate     block.Gate
	leave    func(*block.Request, error)
	settled  func(*block.Request, error)
	written  func(*block.Request, error) // settled for who leaves later
	log      func(format string, args ...any)

	mu    sync.Mutex // of all that follows
	meta  meta
	next  uint64   // below it no cluster is free
	full  bool     // nor behind it, and the file can't grow
	freed []uint64 // clusters to count down after the next sync
	// warned: the log has that a cluster's count is wrong.
	warned bool
	buf    []mm.MFN // for copies
	last   unpacked

	// growing is how many requests that have new clusters are on their way: their data is
	// to be in the file before a table says so.
	growMu  sync.Mutex
	grown   sync.Cond
	growing int
}

var _ block.Device = (*Image)(nil)

// Open opens an image. The error says what is wrong with it, or can't be had.
func Open(c Config) (_ *Image, err error) {
	d := &Image{dev: c.Device, mem: c.Memory, log: c.Log}
	if d.log == nil {
		d.log = func(string, ...any) {}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", c.Name, err), d.shut())
		}
	}()
	i := c.Device.Info()
	c.ReadOnly = c.ReadOnly || i.ReadOnly
	end := i.Sectors << block.SectorShift
	if i.MaxBytes < bufBytes || i.MaxSegments < bufFrames {
		return nil, fmt.Errorf("its disk takes %d bytes and %d segments at once; %d and %d are needed", i.MaxBytes, i.MaxSegments, bufBytes, bufFrames)
	}
	for range bufFrames {
		f, ok := c.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			return nil, mm.ErrNoMemory
		}
		d.buf = append(d.buf, f)
	}
	d.info.SectorSize = i.SectorSize
	first := make([]byte, min(end, headBytes))
	if err := d.readBytes(first, 0); err != nil {
		return nil, err
	}
	if d.h, err = parseHeader(first, end, c.ReadOnly); err != nil {
		return nil, err
	}
	if uint64(i.SectorSize) > d.h.cluster() {
		return nil, fmt.Errorf("its clusters of %d bytes are less than its disk's sectors of %d", d.h.cluster(), i.SectorSize)
	}
	d.clusters = end >> d.h.bits
	d.meta = meta{dev: c.Device, mem: c.Memory, unit: min(mm.PageSize, d.h.cluster()), pages: map[uint64]*page{}}
	d.grown.L = &d.growMu
	d.leave = func(*block.Request, error) { d.gate.Leave() }
	d.settled = func(*block.Request, error) { d.grow(-1); d.gate.Leave() }
	d.written = func(*block.Request, error) { d.grow(-1) }
	d.info = block.Info{
		Sectors: (d.h.size + 511) >> block.SectorShift, SectorSize: i.SectorSize, PhysicalSize: max(i.PhysicalSize, mm.PageSize), ReadOnly: c.ReadOnly,
		CanFlush: !c.ReadOnly, CanDiscard: !c.ReadOnly, DiscardUnit: uint32(d.h.cluster()), Name: c.Name,
		MaxSegments: min(i.MaxSegments, maxSegments), MaxBytes: min(i.MaxBytes, maxBytes),
	}
	d.info.Sectors &^= uint64(i.SectorSize)>>block.SectorShift - 1
	if d.h.backing != "" {
		if d.below, err = c.Backing(d.h.backing, d.h.format); err != nil {
			return nil, fmt.Errorf("its backing file %q: %w", d.h.backing, err)
		}
		b := d.below.Info()
		if b.MaxBytes < bufBytes || b.MaxSegments < bufFrames {
			return nil, fmt.Errorf("its backing file %q takes too little at once", d.h.backing)
		}
		if b.SectorSize > i.SectorSize {
			return nil, fmt.Errorf("its backing file %q has sectors of %d bytes, and it has %d", d.h.backing, b.SectorSize, i.SectorSize)
		}
		d.info.MaxSegments, d.info.MaxBytes = min(d.info.MaxSegments, b.MaxSegments), min(d.info.MaxBytes, b.MaxBytes)
	}
	if d.h.autoclear && !c.ReadOnly {
		return d, d.clearAuto()
	}
	return d, nil
}

// clearAuto says that what an autoclear feature keeps, such as bitmaps, is not kept up.
func (d *Image) clearAuto() error {
	if err := d.meta.store(level1, autoclearAt, make([]byte, 8)); err != nil {
		return err
	}
	return d.meta.sync()
}

// segments are n bytes of the buffer.
func (d *Image) segments(n uint64) (all []block.Segment) {
	for i := 0; n > 0; i++ {
		k := min(n, mm.PageSize)
		all = append(all, block.Segment{Frame: d.buf[i], Len: uint16(k)})
		n -= k
	}
	return all
}

// Info implements block.Device.
func (d *Image) Info() block.Info { return d.info }

func (d *Image) grow(n int) {
	d.growMu.Lock()
	defer d.growMu.Unlock()
	if d.growing += n; d.growing == 0 {
		d.grown.Broadcast()
	}
}

// Submit implements block.Device. It waits for the image's tables, and for writes that
// need new clusters with something of what was there.
func (d *Image) Submit(r *block.Request) {
	bytes, ok := d.gate.Admit(&d.info, r)
	if !ok {
		return
	}
	switch sectors := bytes >> block.SectorShift; r.Op {
	case block.Read:
		s := block.NewSplit(r, d.leave)
		s.End(d.read(s, r.Sector, sectors))
	case block.Write:
		if err := d.write(r, sectors, d.settled); err != nil {
			d.gate.Leave()
			r.Done(r, err)
		}
	case block.WriteFUA:
		err := d.writeFUA(r, sectors)
		d.gate.Leave()
		r.Done(r, err)
	default:
		var err error
		if r.Op == block.Flush {
			err = d.sync()
		} else {
			err = d.discard(r.Sector, r.Sectors)
		}
		d.gate.Leave()
		r.Done(r, err)
	}
}

// pieces cuts a request at the clusters.
func (d *Image) pieces(sector, sectors uint64, do func(cluster, skip, n uint64) error) error {
	per := d.h.cluster() >> block.SectorShift
	for sectors > 0 {
		skip := sector & (per - 1)
		n := min(sectors, per-skip)
		if err := do(sector/per, skip, n); err != nil {
			return err
		}
		sector, sectors = sector+n, sectors-n
	}
	return nil
}

// run is what is to be read at once: sectors that follow each other on a device.
type run struct {
	dev       block.Device // nil: zeros
	at, count uint64
}

// read sends pieces of a request, which may be of several clusters each.
func (d *Image) read(s *block.Split, sector, sectors uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var r run
	send := func() {
		switch {
		case r.count == 0:
		case r.dev == nil:
			s.Zero(d.mem, r.count)
		default:
			s.Send(r.dev, block.Read, r.at, r.count)
		}
		r = run{}
	}
	add := func(dev block.Device, at, n uint64) {
		if r.count == 0 || dev != r.dev || dev != nil && r.at+r.count != at {
			send()
			r.dev, r.at = dev, at
		}
		r.count += n
	}
	err := d.pieces(sector, sectors, func(cluster, skip, n uint64) error {
		m, err := d.lookup(cluster)
		if err != nil {
			return err
		}
		switch m.state {
		case plain: // the last cluster may be there in part
			at := m.at>>block.SectorShift + skip
			k := inside(d.dev, at, n)
			add(d.dev, at, k)
			if n > k {
				add(nil, 0, n-k)
			}
		case packed:
			send()
			b, err := d.unpack(m.entry)
			if err != nil {
				return err
			}
			s.Fill(d.mem, b[skip<<block.SectorShift:][:n<<block.SectorShift])
		case below:
			at := cluster<<(d.h.bits-block.SectorShift) + skip
			k := inside(d.below, at, n)
			if k > 0 {
				add(d.below, at, k)
			}
			if n > k {
				add(nil, 0, n-k)
			}
		default:
			add(nil, 0, n)
		}
		return nil
	})
	send()
	return err
}

// inside is how many of n sectors a device has, which may be nil.
func inside(dev block.Device, at, n uint64) uint64 {
	if dev == nil {
		return 0
	}
	end := dev.Info().Sectors
	return min(n, max(end, at)-at)
}

// writeFUA writes what a request has, and brings it to the medium.
func (d *Image) writeFUA(r *block.Request, sectors uint64) error {
	end := make(chan error, 1)
	plain := block.Request{Op: block.Write, Sector: r.Sector, Segments: r.Segments, Done: func(_ *block.Request, err error) { end <- err }}
	err := d.write(&plain, sectors, d.written)
	if err == nil {
		err = <-end
	}
	if err != nil {
		return err
	}
	return d.sync()
}

// write sends pieces of a request; where there is no cluster to write to it makes one. The
// request's Done gets what comes of it, and settled before; after an error neither does.
func (d *Image) write(r *block.Request, sectors uint64, settled func(*block.Request, error)) error {
	d.mu.Lock()
	if d.meta.changed > maxPages/4 || len(d.freed) > maxFreed || d.full && len(d.freed) > 0 {
		if err := d.syncLocked(); err != nil {
			d.mu.Unlock()
			return err
		}
	}
	d.grow(1)
	s := block.NewSplit(r, settled)
	var w run
	send := func() {
		if w.count > 0 {
			s.Send(d.dev, block.Write, w.at, w.count)
		}
		w = run{}
	}
	err := d.pieces(r.Sector, sectors, func(cluster, skip, n uint64) error {
		m, err := d.lookup(cluster)
		if err != nil {
			return err
		}
		// One that is at the file's end, and there in part, goes elsewhere, too.
		if !m.own || inside(d.dev, m.at>>block.SectorShift+skip, n) < n {
			if m.at, err = d.fresh(cluster, m, skip, n); err != nil {
				return err
			}
		}
		at := m.at>>block.SectorShift + skip
		if w.count == 0 || w.at+w.count != at {
			send()
			w.at = at
		}
		w.count += n
		return nil
	})
	send()
	d.mu.Unlock()
	s.End(err)
	return nil
}

// fresh gives a cluster of the disk one of the file, with all that it has outside of n
// sectors after skip.
func (d *Image) fresh(cluster uint64, m mapped, skip, n uint64) (uint64, error) {
	where, err := d.writable(cluster)
	if err != nil {
		return 0, err
	}
	at, err := d.alloc()
	if err != nil {
		return 0, err
	}
	d.meta.drop(at, d.h.cluster())
	per := d.h.cluster() >> block.SectorShift
	for _, part := range [][2]uint64{{0, skip}, {skip + n, per}} {
		if err := d.keep(cluster, m, at, part[0], part[1]); err != nil {
			d.unref(at, d.h.cluster())
			return 0, err
		}
	}
	if err := d.meta.setEntry(level2, where, at|copied); err != nil {
		return 0, err
	}
	d.release(m)
	return at, nil
}

// keep copies the sectors [from, to) of a cluster of the disk to its new place.
func (d *Image) keep(cluster uint64, m mapped, at, from, to uint64) error {
	start := cluster << (d.h.bits - block.SectorShift)
	for from < to {
		n := min(to-from, bufBytes>>block.SectorShift)
		segs := d.segments(n << block.SectorShift)
		r := block.Request{Op: block.Read, Segments: segs}
		var dev block.Device
		got := uint64(0) // sectors of them
		switch m.state {
		case plain:
			dev, r.Sector, got = d.dev, m.at>>block.SectorShift+from, inside(d.dev, m.at>>block.SectorShift+from, n)
		case below:
			dev, r.Sector, got = d.below, start+from, inside(d.below, start+from, n)
		case packed:
			b, err := d.unpack(m.entry)
			if err != nil {
				return err
			}
			b = b[from<<block.SectorShift:]
			for _, g := range segs {
				d.mem.Page(g.Frame).Write(0, b[:g.Len])
				b = b[g.Len:]
			}
			got = n
		}
		if got < n {
			for _, g := range segs {
				d.mem.Page(g.Frame).Zero(0, int(g.Len))
			}
		}
		if dev != nil && got > 0 {
			r.Segments = d.segments(got << block.SectorShift)
			if err := block.Do(dev, &r); err != nil {
				return err
			}
		}
		if err := transfer(d.dev, block.Write, at+from<<block.SectorShift, segs...); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// sync brings all that is done to the medium.
func (d *Image) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncLocked()
}

// syncLocked is sync with the lock held. Nobody who waits for it has new clusters on
// their way.
func (d *Image) syncLocked() error {
	d.growMu.Lock()
	for d.growing > 0 {
		d.grown.Wait()
	}
	d.growMu.Unlock()
	if err := d.meta.sync(); err != nil {
		return err
	}
	if len(d.freed) > 0 {
		d.full = false
	}
	return d.reclaim()
}

// Close implements block.Device.
func (d *Image) Close() error {
	d.gate.Shut()
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for range 2 { // the second time for what the first one let go of
		if err == nil && !d.info.ReadOnly {
			err = d.syncLocked()
		}
	}
	return errors.Join(err, d.shut())
}

// shut gives back what the image has.
func (d *Image) shut() error {
	d.meta.close()
	for _, f := range d.buf {
		d.mem.FreeFrames(f, 0)
	}
	d.buf = nil
	err := d.dev.Close()
	if d.below != nil {
		err = errors.Join(err, d.below.Close())
	}
	return err
}
