// Package virtio drives virtio devices on PCI: finding their registers, agreeing on
// features, queues. What a kind of device does is its own package's.
//
// A device is believed as little as a guest is: what it says is checked where it would
// become an index, a length or a loop's bound. It can still write anywhere by DMA, as
// long as there is no IOMMU.
//
// Reference: Virtual I/O Device (VIRTIO) 1.2, OASIS, sections 2 (facilities), 3
// (initialization), 4.1 (PCI). Devices of before 1.0 that know only the ports are not
// driven; QEMU's "transitional" ones know both.
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
	vendor       = 0x1af4
	firstOld     = 0x1000 // transitional: the subsystem's number says the kind
	lastOld      = 0x103f
	firstNew     = 0x1040
	lastNew      = 0x107f
	capCommon    = 1
	capNotify    = 2
	capDevice    = 4
	mostNotify   = 1 << 20 // bytes that are mapped of it
	mostRegister = 64 << 10
)

// Registers of the common configuration (section 4.1.4.3).
const (
	regDeviceSelect = 0
	regDeviceBits   = 4
	regDriverSelect = 8
	regDriverBits   = 12
	regConfigVector = 16
	regNumQueues    = 18
	regStatus       = 20
	regGeneration   = 21
	regQueueSelect  = 22
	regQueueSize    = 24
	regQueueVector  = 26
	regQueueEnable  = 28
	regQueueNotify  = 30
	regQueueDesc    = 32
	regQueueDriver  = 40
	regQueueDevice  = 48
	commonSize      = 56

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
	common   device.Registers
	config   device.Registers // nil: the device has none
	notify   device.Registers
	notifyBy uint32
	msix     *pci.MSIX
	features uint64
	queues   []*Queue
}

// Open finds the registers and resets the device. The error says what is wrong, and may
// wrap ErrUnusable or the errors of package pci.
func Open(h device.Host, f *pci.Function) (*Device, error) {
	d := &Device{host: h, f: f}
	for id, off := range f.Capabilities() {
		if id != pci.CapVendor {
			continue
		}
		what, bar := f.Read(int(off))>>24, f.Read(int(off)+4)&0xff
		at, n := uint64(f.Read(int(off)+8)), uint64(f.Read(int(off)+12))
		var err error
		switch {
		case what == capCommon && d.common == nil:
			d.common, err = d.window(bar, at, n, commonSize, commonSize)
		case what == capNotify && d.notify == nil:
			d.notifyBy = f.Read(int(off) + 16)
			d.notify, err = d.window(bar, at, n, 2, mostNotify)
		case what == capDevice && d.config == nil:
			d.config, err = d.window(bar, at, n, 4, mostRegister)
		}
		if err != nil {
			return nil, err
		}
	}
	if d.common == nil || d.notify == nil {
		return nil, d.unusable("it has no registers of virtio 1.0")
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

// window maps what a capability describes: at least and at most that many bytes.
func (d *Device) window(bar uint32, at, n, least, most uint64) (device.Registers, error) {
	if bar > 5 {
		return nil, d.unusable("its registers are said to be in base address register %d", bar)
	}
	m, err := d.f.Memory(int(bar))
	if err != nil {
		return nil, err
	}
	if n < least || at&3 != 0 || at > m.Size || n > m.Size-at {
		return nil, d.unusable("%d bytes of registers at %#x are not in its memory of %d", n, at, m.Size)
	}
	return d.host.Map(m.Addr+at, min(n, most))
}

func (d *Device) unusable(format string, args ...any) error {
	return fmt.Errorf("PCI function %v: %s: %w", d.f.Address, fmt.Sprintf(format, args...), ErrUnusable)
}

func (d *Device) status(bit uint8) { d.common.Store8(regStatus, d.common.Load8(regStatus)|bit) }

// Reset takes everything from the device: afterwards it reaches no memory.
func (d *Device) Reset() error {
	// It need not be done at once; no device takes as long as this.
	const tries = 1 << 20
	d.common.Store8(regStatus, 0)
	for range tries {
		switch d.common.Load8(regStatus) {
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
func (d *Device) Dead() bool {
	return d.common.Load8(regStatus)&(statusNeedsReset|statusFailed) != 0
}

// Negotiate takes what the device offers of the features that are wanted, and returns
// that. Version 1 is always among them. drop may take some of them away that need others
// which are not offered; it may be nil.
func (d *Device) Negotiate(want uint64, drop func(uint64) uint64) (uint64, error) {
	var offer uint64
	for i := range uint32(2) {
		d.common.Store32(regDeviceSelect, i)
		offer |= uint64(d.common.Load32(regDeviceBits)) << (32 * i)
	}
	if offer&FeatureVersion1 == 0 {
		return 0, d.unusable("it offers no version 1")
	}
	d.features = offer & (want | FeatureVersion1 | FeatureAccess)
	if drop != nil {
		d.features = drop(d.features)
	}
	for i := range uint32(2) {
		d.common.Store32(regDriverSelect, i)
		d.common.Store32(regDriverBits, uint32(d.features>>(32*i)))
	}
	d.status(statusFeaturesOK)
	if d.common.Load8(regStatus)&statusFeaturesOK == 0 {
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
		was := d.common.Load8(regGeneration)
		read(d.config)
		if d.common.Load8(regGeneration) == was {
			return nil
		}
	}
	return d.unusable("its configuration never stands still")
}

// Vectors is how many different interrupts there are, for queues and OnConfig.
func (d *Device) Vectors() int { return d.msix.Len() }

// NumQueues is how many queues there are.
func (d *Device) NumQueues() int { return int(d.common.Load16(regNumQueues)) }

// OnConfig has handle called when the device's configuration or state changes. It takes
// the first vector.
func (d *Device) OnConfig(handle func()) error {
	if err := d.Vector(0, 0, handle); err != nil {
		return err
	}
	d.common.Store16(regConfigVector, 0)
	if d.common.Load16(regConfigVector) == noVector {
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
	c := d.common
	c.Store16(regQueueSelect, uint16(index))
	has := c.Load16(regQueueSize)
	if has < 2 || has&(has-1) != 0 {
		return nil, d.unusable("its queue %d has %d descriptors", index, has)
	}
	n := min(has, uint16(size), MaxQueue)
	at := uint64(c.Load16(regQueueNotify)) * uint64(d.notifyBy)
	if at&1 != 0 || at+2 > d.notify.Size() {
		return nil, d.unusable("its queue %d is told at %#x, beyond its registers", index, at)
	}
	features := d.features
	if o.Direct {
		features &^= FeatureIndirect
	}
	q, err := newQueue(d.host, n, features, func() { d.notify.Store16(at, uint16(index)) })
	if err != nil {
		return nil, err
	}
	d.queues = append(d.queues, q)
	c.Store16(regQueueSize, n)
	c.Store16(regQueueVector, uint16(o.Vector))
	if c.Load16(regQueueVector) == noVector {
		return nil, d.unusable("it has no interrupt for queue %d", index)
	}
	for i, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		a := d.host.DMA(q.frames[i])
		c.Store32(reg, uint32(a))
		c.Store32(reg+4, uint32(a>>32))
	}
	c.Store16(regQueueEnable, 1)
	return q, nil
}

// Start lets the device work.
func (d *Device) Start() {
	d.f.SetMaster(true)
	d.status(statusDriverOK)
}

// Close resets the device and gives the memory of its queues back. If the device can't
// be reset and is still there, that memory stays its own, and the error says so.
func (d *Device) Close() error {
	err := d.Reset()
	d.f.SetMaster(false)
	if d.msix != nil {
		d.msix.Close()
	}
	if err != nil && d.common.Load8(regStatus) != 0xff {
		return err
	}
	for _, q := range d.queues {
		q.close()
	}
	d.queues = nil
	return nil
}
