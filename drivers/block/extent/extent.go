// Package extent makes a disk of pieces of another one, such as those that a file has in
// its file system: a request goes to the pieces without a copy, and without a look at
// that file system.
package extent

import (
	"fmt"
	"sort"
	"sync/atomic"

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
	// Fill gives the disk pieces, by Set, for at least the first of so many sectors of a hole
	// that are to be written, and zeros for what else is in them. Several may call it at once,
	// and the hole may have been filled meanwhile. nil: holes are only read.
	Fill func(first, sectors uint64) error
}

// Device is such a disk. It implements block.Device.
type Device struct {
	c    Config
	now  atomic.Pointer[table]
	gate block.Gate
	done func(*block.Request, error)
}

// table is what the disk is at some time; none changes.
type table struct {
	info    block.Info
	extents []Extent
}

var _ block.Device = (*Device)(nil)

// New checks the pieces and makes a disk of them. A disk that is to be written may have
// holes only if there is a Fill.
func New(c Config) (*Device, error) {
	d := &Device{c: c}
	d.done = func(*block.Request, error) { d.gate.Leave() }
	return d, d.Set(c.Extents, c.Sectors)
}

// Set gives the disk its pieces anew: it may have more of them and be longer, and what it had
// is where it was. Requests may be under way, another Set not.
func (d *Device) Set(extents []Extent, sectors uint64) error {
	c, i := &d.c, d.c.Disk.Info()
	unit := uint64(i.SectorSize)>>block.SectorShift - 1
	sectors &^= unit
	if sectors == 0 {
		return fmt.Errorf("%s has less than a sector of %d bytes", c.Name, i.SectorSize)
	}
	i.Sectors, i.Name, i.ReadOnly, i.CanDiscard = sectors, c.Name, c.ReadOnly || i.ReadOnly, false
	hole := func(end uint64) error {
		i.Prompt = i.Prompt && c.Fill == nil
		if i.ReadOnly || c.Fill != nil {
			return nil
		}
		return fmt.Errorf("%s has holes, the first at byte %d, or is shorter on its disk, so it can't be written here: fill it (cp --sparse=never), or make it r", c.Name, end<<block.SectorShift)
	}
	end, most := uint64(0), c.Disk.Info().Sectors
	for _, e := range extents {
		switch {
		case e.Sectors == 0 || e.First < end || e.Sectors > 1<<50 || e.First > 1<<50:
			return fmt.Errorf("%s: its piece of %d sectors at %d is not behind the one that ends at %d", c.Name, e.Sectors, e.First, end)
		case (e.First|e.Disk|e.Sectors)&unit != 0:
			return fmt.Errorf("%s: its piece at sector %d begins or ends within a sector of the disk's %d bytes", c.Name, e.First, i.SectorSize)
		case e.Disk >= most || e.Sectors > most-e.Disk:
			return fmt.Errorf("%s: its piece at sector %d, %d sectors from %d on, is not on the disk of %d", c.Name, e.First, e.Sectors, e.Disk, most)
		case e.First > end && end < sectors:
			if err := hole(end); err != nil {
				return err
			}
		}
		end = e.First + e.Sectors
	}
	if end < sectors {
		if err := hole(end); err != nil {
			return err
		}
	}
	d.now.Store(&table{i, extents})
	return nil
}

// Info implements block.Device.
func (d *Device) Info() block.Info { return d.now.Load().info }

// Submit implements block.Device. A write to a hole waits for Fill.
func (d *Device) Submit(r *block.Request) {
	t := d.now.Load()
	bytes, ok := d.gate.Admit(&t.info, r)
	if !ok {
		return
	}
	s := block.NewSplit(r, d.done)
	if r.Op == block.Flush {
		s.Send(d.c.Disk, block.Flush, 0, 0)
		s.End(nil)
		return
	}
	s.End(d.split(s, t.extents, r.Op, r.Sector, bytes>>block.SectorShift))
}

// split sends the pieces of a request for left sectors at one.
func (d *Device) split(s *block.Split, all []Extent, op block.Op, at, left uint64) error {
	find := func() int {
		return sort.Search(len(all), func(i int) bool { return all[i].First+all[i].Sectors > at })
	}
	for i := find(); left > 0; {
		hole := left
		if i < len(all) && all[i].First < at+left {
			hole = max(all[i].First, at) - at
		}
		if hole > 0 && op != block.Read {
			if err := d.c.Fill(at, hole); err != nil {
				return err
			}
			all = d.now.Load().extents
			if i = find(); i == len(all) || all[i].First > at {
				return fmt.Errorf("%s: its hole at sector %d was not filled", d.c.Name, at)
			}
			continue
		}
		if hole > 0 {
			s.Zero(d.c.Memory, hole)
			at, left = at+hole, left-hole
		}
		if left > 0 {
			skip := at - all[i].First
			n := min(left, all[i].Sectors-skip)
			s.Send(d.c.Disk, op, all[i].Disk+skip, n)
			at, left, i = at+n, left-n, i+1
		}
	}
	return nil
}

// Close implements block.Device.
func (d *Device) Close() error {
	d.gate.Shut()
	return nil
}
