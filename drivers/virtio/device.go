// Package virtio drives virtio devices on PCI: finding their registers, agreeing on
// features, queues. What a kind of device does is its own package's.
//
// A device is believed as little as a guest is: what it says is checked where it would
// become an index, a length or a loop's bound. It can still write anywhere by DMA, as
// long as there is no IOMMU.
//
// Reference: Virtual I/O Device (VIRTIO) 1.2, OASIS, sections 2 (facilities), 3
// (initialization), 4.1 (PCI). Devices of before 1.0 are reached by ports (4.1.4.8);
// QEMU's "transitional" ones know both ways, and the newer one is taken.
package virtio

import (
	"errors"
	"fmt"
	"runtime"

	"nidus/drivers/device"
	"nidus/drivers/pci"
)

// Features of every kind of device (section 6).
const (
	FeatureIndirect   = 1 << 28
	FeatureEventIndex = 1 << 29
	FeatureVersion1   = 1 << 32
	FeatureAccess     = 1 << 33 // addresses are those of the bus, which are the same here
)

// Kind is what a device is (section 5).
type Kind uint16

// The kinds that are driven.
const (
	KindNet   Kind = 1
	KindBlock Kind = 2
)

const (
	vendor   = 0x1af4
	firstOld = 0x1000 // transitional: the subsystem's number says the kind
	lastOld  = 0x103f
	firstNew = 0x1040
	lastNew  = 0x107f
	noVector = 0xffff
)

// Bits of the status (section 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128
)

// ErrUnusable says that a device lacks what this driver needs.
var ErrUnusable = errors.New("virtio device that can't be used")

// KindOf tells what kind of virtio device a function is; ok is false if it is none.
func KindOf(f *pci.Function) (k Kind, ok bool) {
	switch {
	case f.Vendor != vendor:
		return 0, false
	case f.Device >= firstNew && f.Device <= lastNew:
		return Kind(f.Device - firstNew), true
	case f.Device >= firstOld && f.Device <= lastOld:
		_, id := f.Subsystem()
		return Kind(id), true
	}
	return 0, false
}

// Device is one device.
type Device struct {
	host     device.Host
	f        *pci.Function
	regs     transport
	config   device.Registers // nil: the device has none
	msix     *pci.MSIX
	features uint64
	queues   []*Queue
	changed  func() // OnConfig's
	watcher  watcher
}

// transport is how a device's registers are reached.
type transport interface {
	status() uint8
	setStatus(v uint8)
	// offer are the features that there are, take says which are used; it is false if the
	// device refuses them.
	offer() uint64
	take(f uint64) bool
	generation() uint8
	// configVector says which message tells of changes; false: none can.
	configVector(v uint16) bool
	numQueues() int
	// queueSize is how many descriptors a queue has, and whether it can be told to have less.
	queueSize(index int) (n uint16, fewer bool)
	// notifier returns what tells the device of a queue.
	notifier(index int) (func(), error)
	// enable says where a queue is; false: it has no interrupt.
	enable(index int, vector uint16, q *Queue) bool
	// whole tells that a queue is in one piece, of a fixed layout.
	whole() bool
}

// Open finds the registers and resets the device. The error says what is wrong, and may
// wrap ErrUnusable or the errors of package pci.
func Open(h device.Host, f *pci.Function) (*Device, error) {
	d := &Device{host: h, f: f}
	if err := d.findModern(); err != nil {
		return nil, err
	}
	if d.regs == nil {
		if err := d.findLegacy(); err != nil {
			return nil, err
		}
	}
	if err := d.Reset(); err != nil {
		return nil, err
	}
	d.status(statusAcknowledge)
	d.status(statusDriver)
	var err error
	if d.msix, err = f.MSIX(h); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Device) unusable(format string, args ...any) error {
	return fmt.Errorf("PCI function %v: %s: %w", d.f.Address, fmt.Sprintf(format, args...), ErrUnusable)
}

func (d *Device) status(bit uint8) { d.regs.setStatus(d.regs.status() | bit) }

// Reset takes everything from the device: afterwards it reaches no memory.
func (d *Device) Reset() error {
	// It need not be done at once; no device takes as long as this.
	const tries = 1 << 20
	d.regs.setStatus(0)
	for range tries {
		switch d.regs.status() {
		case 0:
			return nil
		case 0xff:
			return d.unusable("it does not answer")
		}
		runtime.Gosched()
	}
	d.f.SetMaster(false)
	return d.unusable("it is not reset")
}

// Dead tells whether the device is not there any more, or says that it does not work.
func (d *Device) Dead() bool { return d.watcher.works() && d.dead() }

// dead is Dead, of a device that was started. What is not there reads as ones, and in QEMU
// as zeroes.
func (d *Device) dead() bool {
	s := d.regs.status()
	return s&(statusNeedsReset|statusFailed) != 0 || s&statusDriverOK == 0
}

// Legacy tells whether the device is one of before 1.0, or was found as such.
func (d *Device) Legacy() bool { return d.features&FeatureVersion1 == 0 }

// Negotiate takes what the device offers of the features that are wanted, and returns
// that. Version 1 is always among them, but of devices of before it. drop may take some
// of them away that need others which are not offered; it may be nil.
func (d *Device) Negotiate(want uint64, drop func(uint64) uint64) (uint64, error) {
	offer := d.regs.offer()
	if !d.regs.whole() && offer&FeatureVersion1 == 0 {
		return 0, d.unusable("it offers no version 1")
	}
	d.features = offer & (want | FeatureVersion1 | FeatureAccess)
	if drop != nil {
		d.features = drop(d.features)
	}
	if !d.regs.take(d.features) {
		return 0, d.unusable("it refuses the features %#x out of %#x", d.features, offer)
	}
	return d.features, nil
}

// ErrNoConfig says that a device's own registers can't be read.
var ErrNoConfig = fmt.Errorf("no configuration: %w", ErrUnusable)

// Config has read look at the device's own registers, again if they changed meanwhile.
// There are at least size bytes of them.
func (d *Device) Config(size uint64, read func(device.Registers)) error {
	if d.config == nil || d.config.Size() < size {
		return ErrNoConfig
	}
	const tries = 100
	for range tries {
		was := d.regs.generation()
		read(d.config)
		if d.regs.generation() == was {
			return nil
		}
	}
	return d.unusable("its configuration never stands still")
}

// Vectors is how many different interrupts there are, for queues and OnConfig.
func (d *Device) Vectors() int { return d.msix.Len() }

// NumQueues is how many queues there are.
func (d *Device) NumQueues() int { return d.regs.numQueues() }

// OnConfig has handle called when the device's configuration or state changes, or the
// device goes. It takes the first vector.
func (d *Device) OnConfig(handle func()) error {
	d.changed = handle
	if err := d.Vector(0, 0, handle); err != nil {
		return err
	}
	if !d.regs.configVector(0) {
		return d.unusable("it has no interrupt for changes")
	}
	return nil
}

// Vector has handle called for the interrupts of a vector below Vectors. hint is that of
// device.Host.Interrupt.
func (d *Device) Vector(entry, hint int, handle func()) error {
	if entry >= d.msix.Len() {
		return d.unusable("it has %d interrupts, and needs %d", d.msix.Len(), entry+1)
	}
	m, err := d.host.Interrupt(hint, handle)
	if err != nil {
		return err
	}
	d.msix.Set(entry, m)
	return nil
}

// Queue sets queue number index up, with at most size descriptors, a power of two, and
// vector index+1. handle is called when the device is done with something.
func (d *Device) Queue(index, size int, handle func()) (*Queue, error) {
	if err := d.Vector(index+1, index, handle); err != nil {
		return nil, err
	}
	return d.QueueOn(QueueOptions{Index: index, Size: size, Vector: index + 1})
}

// QueueOptions are what QueueOn makes a queue of.
type QueueOptions struct {
	Index  int
	Size   int  // descriptors at most, a power of two
	Vector int  // that tells when the device is done with something; it has a handler
	Direct bool // no indirect descriptors: for chains of one buffer
}

// QueueOn sets a queue up whose vector is shared with others.
func (d *Device) QueueOn(o QueueOptions) (*Queue, error) {
	index, size := o.Index, o.Size
	if index >= d.NumQueues() {
		return nil, d.unusable("it has no queue %d", index)
	}
	has, fewer := d.regs.queueSize(index)
	if has < 2 || has&(has-1) != 0 || !fewer && has > MaxQueue {
		return nil, d.unusable("its queue %d has %d descriptors", index, has)
	}
	n := has
	if fewer {
		n = min(has, uint16(size), MaxQueue)
	}
	notify, err := d.regs.notifier(index)
	if err != nil {
		return nil, err
	}
	features := d.features
	if o.Direct {
		features &^= FeatureIndirect
	}
	q, err := newQueue(d.host, n, features, d.regs.whole(), notify)
	if err != nil {
		return nil, err
	}
	d.queues = append(d.queues, q)
	if !d.regs.enable(index, uint16(o.Vector), q) {
		return nil, d.unusable("it has no interrupt for queue %d", index)
	}
	return q, nil
}

// Start lets the device work.
func (d *Device) Start() {
	d.f.SetMaster(true)
	d.status(statusDriverOK)
	d.watcher.begin(d.dead, func() {
		if d.changed != nil {
			d.changed()
		}
	})
}

// Close resets the device and gives the memory of its queues back. If the device can't
// be reset and is still there, that memory stays its own, and the error says so.
func (d *Device) Close() error {
	d.watcher.end()
	err := d.Reset()
	d.f.SetMaster(false)
	if d.msix != nil {
		d.msix.Close()
	}
	if err != nil && d.regs.status() != 0xff {
		return err
	}
	for _, q := range d.queues {
		q.close()
	}
	d.queues = nil
	return nil
}
