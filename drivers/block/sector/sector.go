// Package sector makes disks with sectors of 512 bytes of ones with larger sectors, for
// files that were written for such: images of disks, and of CDs.
//
// What is whole sectors of the disk goes there as it is. A read that is not reads what is
// around it, too, into memory that nobody looks at. A write that is not reads the sectors at
// its ends and writes them whole, alone among the writes.
package sector

import (
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/mm"
)

// Device is such a disk. It implements block.Device.
type Device struct {
	under block.Device
	mem   device.Memory
	now   atomic.Pointer[block.Info] // none changes
	size  uint32                     // of the disk's sectors, in bytes
	unit  uint64                     // the same in sectors of 512 bytes

	gate   block.Gate
	leave  func(*block.Request, error)
	wrote  func(*block.Request, error)
	writes sync.RWMutex // written to alone by a write that reads before
	// rest takes what is read and not asked for. The ends are for the one write that needs
	// the sectors at its ends.
	rest mm.MFN
	ends [2]mm.MFN
	once sync.Once
}

// New makes a disk of the first sectors, of 512 bytes, of another one, which is closed with
// it. The error wraps mm.ErrNoMemory, or says that the disk is too small; the other one is
// the caller's then.
func New(under block.Device, mem device.Memory, sectors uint64) (*Device, error) {
	d := &Device{under: under, mem: mem}
	info := under.Info()
	i := &info
	i.Prompt = false // a write may read first
	if sectors > i.Sectors {
		return nil, fmt.Errorf("%s has %d sectors of 512 bytes, not %d", i.Name, i.Sectors, sectors)
	}
	d.size, d.unit = i.SectorSize, uint64(i.SectorSize)>>block.SectorShift
	i.PhysicalSize = max(i.PhysicalSize, i.SectorSize)
	i.Sectors, i.SectorSize = sectors, 1<<block.SectorShift
	i.MaxSegments, i.MaxBytes = i.MaxSegments-2, i.MaxBytes-2*int(d.size)
	if i.MaxSegments < 1 || i.MaxBytes < int(d.size) {
		return nil, fmt.Errorf("%s takes too little at once", i.Name)
	}
	d.now.Store(i)
	d.leave = func(*block.Request, error) { d.gate.Leave() }
	d.wrote = func(*block.Request, error) {
		d.writes.RUnlock()
		d.gate.Leave()
	}
	for _, f := range []*mm.MFN{&d.rest, &d.ends[0], &d.ends[1]} {
		m, err := mem.Alloc(0, mm.ZoneAny)
		if err != nil {
			d.free()
			return nil, err
		}
		*f = m
	}
	return d, nil
}

func (d *Device) free() {
	for _, m := range append(d.ends[:], d.rest) {
		if m != 0 {
			d.mem.Free(m, 0)
		}
	}
}

// Info implements block.Device.
func (d *Device) Info() block.Info { return *d.now.Load() }

// Resize makes the disk another number of sectors long, which the other one has to have.
// Requests may be under way.
func (d *Device) Resize(sectors uint64) {
	i := *d.now.Load()
	i.Sectors = sectors
	d.now.Store(&i)
}

// Submit implements block.Device.
func (d *Device) Submit(r *block.Request) {
	bytes, ok := d.gate.Admit(d.now.Load(), r)
	if !ok {
		return
	}
	n := bytes >> block.SectorShift
	switch r.Op {
	case block.Flush:
		d.send(r, 0, 0, d.leave)
	case block.Discard: // of the sectors that are whole
		first := (r.Sector + d.unit - 1) &^ (d.unit - 1)
		if end := (r.Sector + r.Sectors) &^ (d.unit - 1); first < end {
			d.writes.RLock()
			d.send(r, first, end-first, d.wrote)
			return
		}
		d.gate.Leave()
		r.Done(r, nil)
	case block.Read:
		if (r.Sector|n)&(d.unit-1) == 0 {
			d.send(r, r.Sector, n, d.leave)
			return
		}
		p := d.widen(r, n, [2]mm.MFN{d.rest, d.rest})
		p.Done = func(_ *block.Request, err error) {
			d.gate.Leave()
			r.Done(r, err)
		}
		d.under.Submit(&p)
	default:
		if (r.Sector|n)&(d.unit-1) == 0 {
			d.writes.RLock()
			d.send(r, r.Sector, n, d.wrote)
			return
		}
		go func() {
			err := d.modify(r, n)
			d.gate.Leave()
			r.Done(r, err)
		}()
	}
}

// send passes a request on, of as many sectors from one on; then is called when it is done.
func (d *Device) send(r *block.Request, first, sectors uint64, then func(*block.Request, error)) {
	s := block.NewSplit(r, then)
	s.Send(d.under, r.Op, first, sectors)
	s.End(nil)
}

// widen makes a request of r's n sectors whole sectors of the disk: what is before comes from
// the begin of one frame, what is behind from the end of another.
func (d *Device) widen(r *block.Request, n uint64, ends [2]mm.MFN) block.Request {
	before := r.Sector & (d.unit - 1)
	behind := -(r.Sector + n) & (d.unit - 1)
	p := block.Request{Op: r.Op, Sector: r.Sector - before, Segments: make([]block.Segment, 0, len(r.Segments)+2)}
	if before > 0 {
		p.Segments = append(p.Segments, block.Segment{Frame: ends[0], Len: uint16(before << block.SectorShift)})
	}
	p.Segments = append(p.Segments, r.Segments...)
	if behind > 0 {
		len := uint16(behind << block.SectorShift)
		p.Segments = append(p.Segments, block.Segment{Frame: ends[1], Off: uint16(d.size) - len, Len: len})
	}
	return p
}

// modify writes r's n sectors, with the rest of the disk's sectors at its ends.
func (d *Device) modify(r *block.Request, n uint64) error {
	d.writes.Lock()
	defer d.writes.Unlock()
	p := d.widen(r, n, d.ends)
	first, last := p.Sector, (r.Sector+n-1)&^(d.unit-1)
	for i, at := range []uint64{first, last} {
		whole := block.Request{Op: block.Read, Sector: at, Segments: []block.Segment{{Frame: d.ends[i], Len: uint16(d.size)}}}
		if err := block.Do(d.under, &whole); err != nil {
			return err
		}
	}
	return block.Do(d.under, &p)
}

// Close implements block.Device.
func (d *Device) Close() (err error) {
	d.gate.Shut()
	d.once.Do(func() {
		err = d.under.Close()
		d.free()
	})
	return err
}
