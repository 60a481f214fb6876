package virtio

import (
	"encoding/binary"

	"nidus/drivers/device"
	"nidus/mm"
)

// Registers of devices of before 1.0, in the ports of the first base address register
// (section 4.1.4.8). The device's own follow: MSI-X is always used here.
const (
	oldDeviceBits   = 0
	oldDriverBits   = 4
	oldQueueFrame   = 8
	oldQueueSize    = 12
	oldQueueSelect  = 14
	oldQueueNotify  = 16
	oldStatus       = 18
	oldConfigVector = 20
	oldQueueVector  = 22
	oldConfig       = 24

	// mostOldQueues bounds how many queues are looked for: they are not counted.
	mostOldQueues = 64
	// mostOldConfig is more than any device has of its own.
	mostOldConfig = 64
)

// legacy is the transport of before virtio 1.0. Values are little endian, as the processor's.
type legacy struct {
	d     *Device
	ports device.Registers
}

// findLegacy finds the ports.
func (d *Device) findLegacy() error {
	b, err := d.f.Ports(0)
	if err != nil {
		return d.unusable("it has no registers of virtio 1.0, and %v", err)
	}
	if b.Size < oldConfig {
		return d.unusable("it has no registers of virtio 1.0, and %d ports only", b.Size)
	}
	ports, err := d.host.Ports(uint16(b.Addr), uint16(b.Size))
	if err != nil {
		return err
	}
	d.regs = &legacy{d, ports}
	d.config = &oldRegisters{ports: ports}
	return nil
}

func (l *legacy) status() uint8      { return l.ports.Load8(oldStatus) }
func (l *legacy) setStatus(v uint8)  { l.ports.Store8(oldStatus, v) }
func (l *legacy) offer() uint64      { return uint64(l.ports.Load32(oldDeviceBits)) }
func (l *legacy) take(f uint64) bool { l.ports.Store32(oldDriverBits, uint32(f)); return true }
func (l *legacy) whole() bool        { return true }

// generation has the next reads be those of one moment.
func (l *legacy) generation() uint8 { l.d.config.(*oldRegisters).look(); return 0 }

func (l *legacy) configVector(v uint16) bool {
	l.ports.Store16(oldConfigVector, v)
	return l.ports.Load16(oldConfigVector) != noVector
}

func (l *legacy) numQueues() (n int) {
	for n < mostOldQueues {
		if size, _ := l.queueSize(n); size == 0 {
			break
		}
		n++
	}
	return n
}

func (l *legacy) queueSize(index int) (n uint16, fewer bool) {
	l.ports.Store16(oldQueueSelect, uint16(index))
	return l.ports.Load16(oldQueueSize), false
}

func (l *legacy) notifier(index int) (func(), error) {
	return func() { l.ports.Store16(oldQueueNotify, uint16(index)) }, nil
}

func (l *legacy) enable(index int, vector uint16, q *Queue) bool {
	at := l.d.host.DMA(q.rings[0]) >> mm.PageShift
	if at>>32 != 0 {
		return false
	}
	l.ports.Store16(oldQueueSelect, uint16(index))
	l.ports.Store16(oldQueueVector, vector)
	if l.ports.Load16(oldQueueVector) == noVector {
		return false
	}
	l.ports.Store32(oldQueueFrame, uint32(at))
	return true
}

// oldRegisters are the device's own registers, as they were when they were looked at: they
// have no number that says whether they changed meanwhile, so they are read until they
// are the same twice (section 2.5.3.1, note on the legacy interface).
type oldRegisters struct {
	device.Registers // whose stores nobody uses
	ports            device.Registers
	is               [mostOldConfig]byte
}

func (r *oldRegisters) look() {
	const tries = 100
	read := func() (b [mostOldConfig]byte) {
		for i := range r.Size() {
			b[i] = r.ports.Load8(oldConfig + i)
		}
		return b
	}
	r.is = read()
	for range tries {
		again := read()
		if again == r.is {
			return
		}
		r.is = again
	}
}

func (r *oldRegisters) Size() uint64           { return min(r.ports.Size()-oldConfig, mostOldConfig) }
func (r *oldRegisters) Load8(o uint64) uint8   { return r.is[o] }
func (r *oldRegisters) Load16(o uint64) uint16 { return binary.LittleEndian.Uint16(r.is[o:]) }
func (r *oldRegisters) Load32(o uint64) uint32 { return binary.LittleEndian.Uint32(r.is[o:]) }
