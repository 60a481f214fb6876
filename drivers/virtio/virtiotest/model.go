// Package virtiotest is a model of a virtio device on PCI, for tests of drivers. It is
// written from the specification, beside the driver, and does requests in any order.
package virtiotest

import (
	"math/rand/v2"
	"sync"

	"nidus/drivers/device"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
)

// Device is the model. Set what it is before Function.
type Device struct {
	Host     *devicetest.Host
	ID       uint16 // of the PCI function
	Features uint64 // offered, beside version 1
	Config   []byte // the device's own registers
	Queues   int
	Size     uint16 // of each queue
	Vectors  int
	Legacy   bool // of before 1.0: by ports, with a queue in one piece
	// Serve does a request and returns the bytes it wrote.
	Serve func(queue int, bufs []virtio.Buffer) uint32
	// Corrupt may change what is said to be done; nil: nothing.
	Corrupt func(id, written *uint32)
	// Hold keeps requests back until Kick, when true.
	Hold bool
	// Gone is what all registers read as, byte by byte; nil: the device is there.
	Gone *byte
	// Waits tells which queues' chains are kept for Input; nil: none.
	Waits func(queue int) bool

	mu     sync.Mutex
	rnd    *rand.Rand
	regs   [64]uint32
	common [64]byte
	queues []queue
	table  []byte // MSI-X
	got    uint64 // features
	kicks  chan int
	ended  sync.WaitGroup
	Kicks  int // notifications
}

// Where registers are: one window of memory.
const (
	base     = 0xfe000000
	window   = 0x10000
	atCommon = 0
	atNotify = 0x1000
	atConfig = 0x2000
	atTable  = 0x3000
	notifyBy = 4
	portBase = 0xc000
	numPorts = 128
)

// Function starts the model and returns its PCI function.
func (d *Device) Function() *pci.Function {
	d.rnd = rand.New(rand.NewPCG(1, 2))
	d.regs[0] = 0x1af4 | uint32(d.ID)<<16
	d.regs[1] = 1 << 20 // there are capabilities
	d.regs[0x34/4] = 0x80
	d.regs[0x80/4] = pci.CapMSIX | uint32(d.Vectors-1)<<16
	if d.Legacy {
		d.regs[4], d.regs[5] = portBase|1, base
		d.regs[0x84/4] = atTable | 1
	} else {
		d.describe()
	}
	d.table = make([]byte, d.Vectors*16)
	d.Host.Window = func(addr, n uint64) (device.Registers, error) { return &registers{d, addr - base, n}, nil }
	d.Host.PortWindow = func(first, n uint16) (device.Registers, error) {
		return &oldRegisters{registers{d, uint64(first - portBase), uint64(n)}}, nil
	}
	d.kicks = make(chan int, 1024)
	d.reset()
	d.ended.Add(1)
	go d.work()
	for f := range pci.Functions(config{d}) {
		return f
	}
	panic("virtiotest: no function")
}

// describe makes the capabilities that say where the registers are.
func (d *Device) describe() {
	d.regs[4] = base | 4
	d.regs[0x34/4] = 0x40
	capability := func(at, next uint8, kind uint32, off, n uint32) {
		d.regs[at/4] = pci.CapVendor | uint32(next)<<8 | 16<<16 | kind<<24
		d.regs[at/4+1], d.regs[at/4+2], d.regs[at/4+3] = 0, off, n
	}
	capability(0x40, 0x50, 1, atCommon, 56)
	capability(0x50, 0x64, 2, atNotify, uint32(d.Queues*notifyBy))
	d.regs[0x60/4] = notifyBy
	capability(0x64, 0x80, 4, atConfig, uint32(len(d.Config)))
	d.regs[0x84/4] = atTable
}

// Close ends the model.
func (d *Device) Close() {
	close(d.kicks)
	d.ended.Wait()
	d.Host.Close()
}

func (d *Device) reset() {
	d.common = [64]byte{}
	d.queues = make([]queue, d.Queues)
	for i := range d.queues {
		d.queues[i].size = d.Size
		d.queues[i].vector = 0xffff
	}
}

// config is the configuration space of the one function.
type config struct{ d *Device }

func (c config) Read(a pci.Address, off uint8) uint32 {
	if a != (pci.Address{}) {
		return 0xffffffff
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.d.regs[off/4]
}

func (c config) Write(a pci.Address, off uint8, v uint32) {
	if a != (pci.Address{}) {
		return
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	switch r := &c.d.regs[off/4]; off {
	case 0x04:
		*r = *r&^0xffff | v&0xffff
	case 0x10:
		if *r = v&^uint32(window-1) | 4; c.d.Legacy {
			*r = v&^(numPorts-1) | 1
		}
	case 0x14:
		if *r = v; c.d.Legacy {
			*r = v &^ uint32(window-1)
		}
	case 0x80:
		*r = *r&^(3<<30) | v&(3<<30)
	}
}

// work does what the driver tells of.
func (d *Device) work() {
	defer d.ended.Done()
	for i := range d.kicks {
		d.mu.Lock()
		if i < len(d.queues) && !d.Hold && d.Gone == nil && (d.Waits == nil || !d.Waits(i)) {
			d.run(i)
		}
		d.mu.Unlock()
	}
}

// Kick looks at a queue as if the driver had told of it.
func (d *Device) Kick(i int) { d.kicks <- i }

// Set changes the model while it works.
func (d *Device) Set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// Changed says that the configuration changed: f does that.
func (d *Device) Changed(f func(status *uint8)) {
	d.mu.Lock()
	f(&d.common[20])
	d.common[21]++
	d.interrupt(uint16(d.common[16]) | uint16(d.common[17])<<8)
	d.mu.Unlock()
}

// interrupt sends a message, if it is not masked. Preconditions: mu.
func (d *Device) interrupt(vector uint16) {
	if int(vector) >= d.Vectors || d.regs[0x80/4]>>31 == 0 || d.regs[1]&4 == 0 {
		return
	}
	e := d.table[int(vector)*16:]
	if e[12]&1 == 0 {
		d.Host.Send(device.Message{Addr: uint64(get(e, 4)), Data: get(e[8:], 4)})
	}
}

func get(b []byte, n int) (v uint32) {
	for i := n - 1; i >= 0; i-- {
		v = v<<8 | uint32(b[i])
	}
	return v
}

func set(b []byte, n int, v uint32) {
	for i := range n {
		b[i] = byte(v >> (8 * i))
	}
}
