package partition

import (
	"sync"

	"nidus/drivers/block"
)

// Device is a partition as a block.Device.
type Device struct {
	disk  block.Device
	info  block.Info
	first uint64
	gate  block.Gate
}

// Open makes a device of an entry that Read found on the disk. Closing it leaves the disk
// open.
func Open(disk block.Device, e Entry, name string) *Device {
	d := &Device{disk: disk, info: disk.Info(), first: e.First}
	d.info.Sectors, d.info.Name = e.Sectors, name
	return d
}

// Info implements block.Device.
func (d *Device) Info() block.Info { return d.info }

// moved is a request on its way to the disk.
type moved struct {
	block.Request
	d    *Device
	from *block.Request
}

var pool sync.Pool // of *moved

func newMoved() *moved {
	m, ok := pool.Get().(*moved)
	if !ok {
		m = &moved{}
		m.Done = m.done
	}
	return m
}

func (m *moved) done(_ *block.Request, err error) {
	d, r := m.d, m.from
	m.d, m.from, m.Segments = nil, nil, nil
	pool.Put(m)
	r.Done(r, err)
	d.gate.Leave()
}

// Submit implements block.Device.
func (d *Device) Submit(r *block.Request) {
	if _, ok := d.gate.Admit(&d.info, r); !ok {
		return
	}
	m := newMoved()
	m.d, m.from = d, r
	m.Op, m.Sectors, m.Segments, m.Sector = r.Op, r.Sectors, r.Segments, r.Sector
	if r.Op != block.Flush {
		m.Sector += d.first
	}
	d.disk.Submit(&m.Request)
}

// Close implements block.Device.
func (d *Device) Close() error {
	d.gate.Shut()
	return nil
}
