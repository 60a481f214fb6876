// Package extent makes a disk of pieces of another one, such as those that a file has in
// its file system: a request goes to the pieces without a copy, and without a look at
// that file system.
package extent

import (
	"fmt"
	"sort"

	"nidus/drivers/block"
	"nidus/mm"
)

// Extent is a piece, in sectors of 512 bytes.
type Extent struct {
	First   uint64 // in the disk that is made
	Disk    uint64 // in the other one
	Sectors uint64
}

// Config is what a disk is made of.
type Config struct {
	// Disk holds the pieces. It stays open when the disk that is made is closed.
	Disk block.Device
	// Extents are in order and don't overlap. What is between them reads as zeros.
	Extents  []Extent
	Sectors  uint64 // of the disk
	ReadOnly bool
	Name     string
	// Memory is that of requests.
	Memory mm.DirectMap
}

// Device is such a disk. It implements block.Device.
type Device struct {
	c    Config
	info block.Info
	gate block.Gate
	done func(*block.Request, error)
}

var _ block.Device = (*Device)(nil)

// New checks the pieces and makes a disk of them. A disk that is to be written may have no
// holes: there is nothing to fill them with.
func New(c Config) (*Device, error) {
	d := &Device{c: c, info: c.Disk.Info()}
	d.done = func(*block.Request, error) { d.gate.Leave() }
	i := &d.info
	unit := uint64(i.SectorSize)>>block.SectorShift - 1
	c.Sectors &^= unit
	if c.Sectors == 0 {
		return nil, fmt.Errorf("%s has less than a sector of %d bytes", c.Name, i.SectorSize)
	}
	c.ReadOnly = c.ReadOnly || i.ReadOnly
	end := uint64(0)
	for _, e := range c.Extents {
		switch {
		case e.Sectors == 0 || e.First < end || e.Sectors > 1<<50 || e.First > 1<<50:
			return nil, fmt.Errorf("%s: its piece of %d sectors at %d is not behind the one that ends at %d", c.Name, e.Sectors, e.First, end)
		case (e.First|e.Disk|e.Sectors)&unit != 0:
			return nil, fmt.Errorf("%s: its piece at sector %d begins or ends within a sector of the disk's %d bytes", c.Name, e.First, i.SectorSize)
		case e.Disk >= i.Sectors || e.Sectors > i.Sectors-e.Disk:
			return nil, fmt.Errorf("%s: its piece at sector %d, %d sectors from %d on, is not on the disk of %d", c.Name, e.First, e.Sectors, e.Disk, i.Sectors)
		case e.First > end && end < c.Sectors && !c.ReadOnly:
			return nil, holes(c.Name, end)
		}
		end = e.First + e.Sectors
	}
	if end < c.Sectors && !c.ReadOnly {
		return nil, holes(c.Name, end)
	}
	d.c = c
	i.Sectors, i.Name, i.ReadOnly, i.CanDiscard = c.Sectors, c.Name, c.ReadOnly, false
	return d, nil
}

func holes(name string, at uint64) error {
	return fmt.Errorf("%s has holes, the first at byte %d, or is shorter on its disk, so it can't be written here: fill it (cp --sparse=never), or make it r", name, at<<block.SectorShift)
}

// Info implements block.Device.
func (d *Device) Info() block.Info { return d.info }

// Submit implements block.Device.
func (d *Device) Submit(r *block.Request) {
	bytes, ok := d.gate.Admit(&d.info, r)
	if !ok {
		return
	}
	s := block.NewSplit(r, d.done)
	if r.Op == block.Flush {
		s.Send(d.c.Disk, block.Flush, 0, 0)
	} else {
		d.split(s, r.Op, r.Sector, bytes>>block.SectorShift)
	}
	s.End(nil)
}

func (d *Device) split(s *block.Split, op block.Op, at, left uint64) {
	all := d.c.Extents
	for i := sort.Search(len(all), func(i int) bool { return all[i].First+all[i].Sectors > at }); left > 0; i++ {
		hole := left
		if i < len(all) && all[i].First < at+left {
			hole = max(all[i].First, at) - at
		}
		if hole > 0 { // of one that is only read
			s.Zero(d.c.Memory, hole)
			at, left = at+hole, left-hole
		}
		if left > 0 {
			skip := at - all[i].First
			n := min(left, all[i].Sectors-skip)
			s.Send(d.c.Disk, op, all[i].Disk+skip, n)
			at, left = at+n, left-n
		}
	}
}

// Close implements block.Device.
func (d *Device) Close() error {
	d.gate.Shut()
	return nil
}
