// Package virtioblk drives virtio's block devices (virtio 1.2, section 5.2). Data goes
// between the device and the frames of a request; nothing is copied.
package virtioblk

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
	"nidus/mm"
)

// Features (section 5.2.3).
const (
	featSegMax    = 1 << 2
	featReadOnly  = 1 << 5
	featBlockSize = 1 << 6
	featFlush     = 1 << 9
	featTopology  = 1 << 10
	featQueues    = 1 << 12
	featDiscard   = 1 << 13

	wanted = virtio.FeatureIndirect | virtio.FeatureEventIndex | featSegMax | featReadOnly | featBlockSize |
		featFlush | featTopology | featQueues | featDiscard
)

// The configuration (section 5.2.4).
const (
	cfgCapacity   = 0
	cfgSegMax     = 12
	cfgBlockSize  = 20
	cfgPhysical   = 24 // a power of two of blocks
	cfgQueues     = 34
	cfgDiscardMax = 36 // sectors
	cfgDiscardSeg = 40
	cfgDiscardBy  = 44 // sectors
	cfgSize       = 48
)

const (
	// depth is the requests in flight of each queue.
	depth = 64
	// maxSegments: with the header and the status, a frame of indirect descriptors.
	maxSegments = virtio.MaxBuffers - 2
	// mostQueues: each has a thread that waits for its interrupt.
	mostQueues = 8
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "virtio-blk"

// Disk is a block.Device.
type Disk struct {
	dev    *virtio.Device
	host   device.Host
	info   block.Info
	at     pci.Address
	log    func(format string, args ...any)
	queues []*queue
	// discard is the most sectors that the device takes at once.
	discard uint64

	gone   atomic.Bool
	once   sync.Once
	closed sync.Once
	resets error
}

// Open sets a disk up. log takes a line about what happens to it later. The error wraps
// those of packages virtio and pci.
func Open(h device.Host, f *pci.Function, log func(format string, args ...any)) (*Disk, error) {
	dev, err := virtio.Open(h, f)
	if err != nil {
		return nil, err
	}
	d := &Disk{dev: dev, host: h, at: f.Address, log: log}
	if err := d.setup(); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *Disk) setup() error {
	got, err := d.dev.Negotiate(wanted, nil)
	if err != nil {
		return err
	}
	queues, err := d.configure(got)
	if err != nil {
		return err
	}
	if err := d.dev.OnConfig(d.changed); err != nil {
		return err
	}
	for i := range max(1, min(queues, mostQueues, d.host.CPUs(), d.dev.NumQueues(), d.dev.Vectors()-1)) {
		q := &queue{d: d}
		q.room.L = &q.mu
		d.queues = append(d.queues, q)
		q.mu.Lock() // its interrupt may come before it is complete
		err := q.setup(i)
		q.mu.Unlock()
		if err != nil {
			return err
		}
	}
	// What a chain has room for, without indirect descriptors too.
	d.info.MaxSegments = min(d.info.MaxSegments, d.queues[0].q.MostBuffers()-2)
	if d.info.MaxSegments < 1 {
		return fmt.Errorf("PCI function %v: its queue is too short: %w", d.at, virtio.ErrUnusable)
	}
	d.info.MaxBytes = d.info.MaxSegments * mm.PageSize
	d.dev.Start()
	return nil
}

// configure reads what the disk is.
func (d *Disk) configure(got uint64) (queues int, err error) {
	var sectors uint64
	var segs, size, physical, disMax, disSeg, disBy uint32
	queues = 1
	if err := d.dev.Config(8, func(r device.Registers) {
		sectors = uint64(r.Load32(cfgCapacity)) | uint64(r.Load32(cfgCapacity+4))<<32
	}); err != nil {
		return 0, err
	}
	read := func(feature uint64, size uint64, f func(r device.Registers)) {
		if got&feature != 0 && err == nil {
			err = d.dev.Config(size, f)
		}
	}
	segs, size = maxSegments, 1<<block.SectorShift
	read(featSegMax, cfgSegMax+4, func(r device.Registers) { segs = r.Load32(cfgSegMax) })
	read(featBlockSize, cfgBlockSize+4, func(r device.Registers) { size = r.Load32(cfgBlockSize) })
	read(featTopology, cfgPhysical+4, func(r device.Registers) { physical = uint32(r.Load8(cfgPhysical)) })
	read(featQueues, cfgQueues+2, func(r device.Registers) { queues = int(r.Load16(cfgQueues)) })
	read(featDiscard, cfgSize, func(r device.Registers) {
		disMax, disSeg, disBy = r.Load32(cfgDiscardMax), r.Load32(cfgDiscardSeg), r.Load32(cfgDiscardBy)
	})
	if err != nil {
		return 0, err
	}
	if size < 512 || size > mm.PageSize || size&(size-1) != 0 {
		return 0, fmt.Errorf("PCI function %v: its sectors have %d bytes: %w", d.at, size, virtio.ErrUnusable)
	}
	if physical > 16 {
		physical = 0
	}
	unit := uint64(size)>>block.SectorShift - 1
	d.discard = uint64(disMax) &^ unit
	d.info = block.Info{
		Sectors: sectors &^ unit, SectorSize: size, PhysicalSize: size << physical,
		Prompt: true, ReadOnly: got&featReadOnly != 0, CanFlush: got&featFlush != 0,
		CanDiscard:  got&featDiscard != 0 && got&featReadOnly == 0 && d.discard > 0 && disSeg > 0 && disBy < 1<<22,
		DiscardUnit: max(disBy<<block.SectorShift, size),
		MaxSegments: int(min(max(segs, 1), maxSegments)), Name: fmt.Sprintf("virtio-blk at %v", d.at),
	}
	return queues, nil
}

// changed looks what has become of the device.
func (d *Disk) changed() {
	if d.dev.Dead() {
		d.Lose(errors.New("it says that it does not work any more, or does not answer"))
		return
	}
	var sectors uint64
	if err := d.dev.Config(8, func(r device.Registers) {
		sectors = uint64(r.Load32(cfgCapacity)) | uint64(r.Load32(cfgCapacity+4))<<32
	}); err == nil && sectors&^(uint64(d.info.SectorSize)>>block.SectorShift-1) != d.info.Sectors {
		d.log("%s: it has %d sectors now; the %d of before are used until the host starts again", d.info.Name, sectors, d.info.Sectors)
	}
}

// Lose gives the device up: what is in flight ends, and what comes.
func (d *Disk) Lose(why error) {
	d.once.Do(func() {
		d.gone.Store(true)
		d.log("%s: %v; it is not used any more", d.info.Name, why)
		// A device that was reset has let go of the requests' frames. One that can't be
		// is no master of the bus any more; only its queues' memory isn't used again.
		if err := d.stop(); err != nil {
			d.log("%s: %v", d.info.Name, err)
		}
		for _, q := range d.queues {
			q.abandon()
		}
	})
}

// stop resets the device.
func (d *Disk) stop() error {
	d.closed.Do(func() {
		for _, q := range d.queues {
			q.mu.Lock()
			q.shut = true
			q.room.Broadcast()
			q.mu.Unlock()
		}
		if d.resets = d.dev.Close(); d.resets == nil {
			for _, q := range d.queues {
				if !q.slots.IsZero() {
					d.host.Free(q.frame, 0)
				}
			}
		}
	})
	return d.resets
}

// Info implements block.Device.
func (d *Disk) Info() block.Info { return d.info }

// Submit implements block.Device.
func (d *Disk) Submit(r *block.Request) {
	if _, err := d.info.Check(r); err != nil {
		r.Done(r, err)
		return
	}
	d.queues[uint(d.host.CPU())%uint(len(d.queues))].submit(r)
}

// Close implements block.Device.
func (d *Disk) Close() error {
	d.gone.Store(true)
	for _, q := range d.queues {
		q.drain()
	}
	return d.stop()
}
