package virtio

import (
	"nidus/drivers/device"
	"nidus/drivers/pci"
)

// Kinds of capabilities (section 4.1.4).
const (
	capCommon = 1
	capNotify = 2
	capDevice = 4

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
)

// modern is the transport since virtio 1.0.
type modern struct {
	d        *Device
	common   device.Registers
	notify   device.Registers
	notifyBy uint32
}

// findModern finds the registers that the capabilities describe, if there are any.
func (d *Device) findModern() error {
	m := &modern{d: d}
	for id, off := range d.f.Capabilities() {
		if id != pci.CapVendor {
			continue
		}
		what, bar := d.f.Read(int(off))>>24, d.f.Read(int(off)+4)&0xff
		at, n := uint64(d.f.Read(int(off)+8)), uint64(d.f.Read(int(off)+12))
		var err error
		switch {
		case what == capCommon && m.common == nil:
			m.common, err = d.window(bar, at, n, commonSize, commonSize)
		case what == capNotify && m.notify == nil:
			m.notifyBy = d.f.Read(int(off) + 16)
			m.notify, err = d.window(bar, at, n, 2, mostNotify)
		case what == capDevice && d.config == nil:
			d.config, err = d.window(bar, at, n, 4, mostRegister)
		}
		if err != nil {
			return err
		}
	}
	if m.common != nil && m.notify != nil {
		d.regs = m
	}
	return nil
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

func (m *modern) status() uint8     { return m.common.Load8(regStatus) }
func (m *modern) setStatus(v uint8) { m.common.Store8(regStatus, v) }
func (m *modern) generation() uint8 { return m.common.Load8(regGeneration) }
func (m *modern) numQueues() int    { return int(m.common.Load16(regNumQueues)) }
func (m *modern) whole() bool       { return false }

func (m *modern) offer() (f uint64) {
	for i := range uint32(2) {
		m.common.Store32(regDeviceSelect, i)
		f |= uint64(m.common.Load32(regDeviceBits)) << (32 * i)
	}
	return f
}

func (m *modern) take(f uint64) bool {
	for i := range uint32(2) {
		m.common.Store32(regDriverSelect, i)
		m.common.Store32(regDriverBits, uint32(f>>(32*i)))
	}
	m.setStatus(m.status() | statusFeaturesOK)
	return m.status()&statusFeaturesOK != 0
}

func (m *modern) configVector(v uint16) bool {
	m.common.Store16(regConfigVector, v)
	return m.common.Load16(regConfigVector) != noVector
}

func (m *modern) queueSize(index int) (n uint16, fewer bool) {
	m.common.Store16(regQueueSelect, uint16(index))
	return m.common.Load16(regQueueSize), true
}

func (m *modern) notifier(index int) (func(), error) {
	m.common.Store16(regQueueSelect, uint16(index))
	at := uint64(m.common.Load16(regQueueNotify)) * uint64(m.notifyBy)
	if at&1 != 0 || at+2 > m.notify.Size() {
		return nil, m.d.unusable("its queue %d is told at %#x, beyond its registers", index, at)
	}
	return func() { m.notify.Store16(at, uint16(index)) }, nil
}

func (m *modern) enable(index int, vector uint16, q *Queue) bool {
	c := m.common
	c.Store16(regQueueSelect, uint16(index))
	c.Store16(regQueueSize, q.size)
	c.Store16(regQueueVector, vector)
	if c.Load16(regQueueVector) == noVector {
		return false
	}
	for i, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		a := m.d.host.DMA(q.rings[i])
		c.Store32(reg, uint32(a))
		c.Store32(reg+4, uint32(a>>32))
	}
	c.Store16(regQueueEnable, 1)
	return true
}
