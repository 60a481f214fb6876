// Package nvmetest is a model of an NVMe controller on PCI, for tests of the driver. It is
// written from the specification (NVM Express 1.4), beside the driver; it does commands in
// any order, panics where the driver breaks a rule, and can lie.
package nvmetest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

// Namespace is a medium: what is written, and what a power cut would leave.
type Namespace struct {
	Shift     uint8 // a block has 1<<Shift bytes
	Now, Safe []byte
	Trimmed   []int // how often each block was discarded
	Metadata  uint16
	Protected bool
	Grain     uint16 // blocks that are discarded together; 0: it does not say
	Gone      bool   // not active
}

// NewNamespace makes a medium of so many blocks.
func NewNamespace(blocks int, shift uint8) *Namespace {
	return &Namespace{Shift: shift, Now: make([]byte, blocks<<shift), Safe: make([]byte, blocks<<shift), Trimmed: make([]int, blocks)}
}

// Command is what the driver asks for.
type Command struct {
	Queue uint16
	Op    uint8
	ID    uint16
	NSID  uint32
	SGL   bool
	Data  [2]uint64
	Words [3]uint32 // 10 to 12
}

// Device is the model. Set what it is before Function.
type Device struct {
	Host       *devicetest.Host
	Namespaces []*Namespace // the first has number 1
	SGL        bool
	Cache      bool // volatile, for writing
	Discard    bool
	MostPages  uint8  // of a command, as a power of two; 0: no bound
	Queues     uint16 // pairs for I/O
	Vectors    int
	Depth      uint32
	Stride     uint32 // of doorbells, as a power of two of 4 bytes
	Version    uint32
	Sets       uint64 // of commands; 1 if 0
	LeastPage  uint64

	// Status is a command's status, type<<8|code; nil: all is well.
	Status func(c Command) uint16
	// Corrupt may change a completion's identifier and phase; nil: nothing.
	Corrupt func(queue uint16, id *uint16, phase *bool)
	// Hold tells of commands that are not done, unless they are aborted.
	Hold func(c Command) bool
	// Stuck keeps it from becoming ready, or not ready, as it was.
	Stuck bool
	// Dead is what all registers read as; nil: it is there.
	Dead *uint32
	// Fatal says that the controller does not work any more, until a reset.
	Fatal bool

	mu     sync.Mutex
	pci    pcitest.Function
	rnd    *rand.Rand
	cc     uint32
	status uint32
	aqa    uint32
	asq    [2]uint32
	acq    [2]uint32
	sqs    map[uint16]*submission
	cqs    map[uint16]*completion
	held   []Command
	bells  chan uint16
	ended  sync.WaitGroup

	// Seen counts what was done, by opcode: of admin commands, and of I/O.
	Seen [2][256]int
	// Resets counts how often the controller was enabled.
	Resets int
	// Down tells that it was shut down.
	Down bool
	// Scattered counts commands with SGLs.
	Scattered int
}

const (
	window   = 0x4000
	doorbell = 0x1000
)

// Function starts the model and returns its PCI function.
func (d *Device) Function() *pci.Function {
	d.rnd = rand.New(rand.NewPCG(1, 2))
	d.bells = make(chan uint16, 4096)
	d.clear()
	d.pci = pcitest.Function{Host: d.Host, ID: 0x00101b36, Class: 0x010802, Window: window, Vectors: d.Vectors, Load: d.load, Store: d.store}
	d.ended.Add(1)
	go d.work()
	return d.pci.Start()
}

// Close ends the model.
func (d *Device) Close() {
	close(d.bells)
	d.ended.Wait()
	d.Host.Close()
}

// Set changes the model, or looks at it, while it works.
func (d *Device) Set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *Device) clear() {
	d.sqs, d.cqs, d.held = map[uint16]*submission{}, map[uint16]*completion{}, nil
}

func (d *Device) load(off uint64) uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead != nil {
		return *d.Dead
	}
	switch off {
	case 0x00:
		const timeout = 1 // 500 ms
		return d.Depth - 1 | 1<<16 | timeout<<24
	case 0x04:
		sets := d.Sets
		if sets == 0 {
			sets = 1
		}
		return d.Stride | uint32(sets<<5) | uint32(d.LeastPage<<16)
	case 0x08:
		return d.Version
	case 0x14:
		return d.cc
	case 0x1c:
		s := d.status
		if d.Fatal {
			s |= 2
		}
		return s
	case 0x24:
		return d.aqa
	}
	panic(fmt.Sprintf("nvmetest: the register at %#x is read", off))
}

func (d *Device) store(off uint64, v uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead != nil {
		return
	}
	switch off {
	case 0x14:
		d.control(v)
	case 0x24:
		d.aqa = v
	case 0x28, 0x2c:
		d.asq[off>>2&1] = v // 0x28 is even, 0x2c is odd
	case 0x30, 0x34:
		d.acq[off>>2&1] = v
	default:
		if off < doorbell {
			panic(fmt.Sprintf("nvmetest: the register at %#x is written", off))
		}
		n := (off - doorbell) / (4 << d.Stride)
		if (off-doorbell)%(4<<d.Stride) != 0 {
			panic("nvmetest: between two doorbells")
		}
		d.ring(uint16(n/2), n%2 == 1, v)
	}
}

// control is a write of CC.
func (d *Device) control(v uint32) {
	was := d.cc
	d.cc = v
	if v>>14&3 == 1 && d.status&1 != 0 {
		for _, n := range d.Namespaces {
			copy(n.Safe, n.Now)
		}
		d.Down = true
		d.status |= 2 << 2
	}
	if d.Stuck {
		return
	}
	switch {
	case v&1 != 0 && was&1 == 0:
		if v>>16&0xf != 6 || v>>20&0xf != 4 || v>>4&0x3ff != 0 {
			panic(fmt.Sprintf("nvmetest: enabled with CC %#x", v))
		}
		d.status = 1
		d.Resets++
		d.sqs[0] = &submission{base: uint64(d.asq[0]) | uint64(d.asq[1])<<32, size: d.aqa&0xfff + 1}
		d.cqs[0] = &completion{base: uint64(d.acq[0]) | uint64(d.acq[1])<<32, size: d.aqa>>16&0xfff + 1, phase: true}
	case v&1 == 0:
		d.status, d.Fatal = 0, false
		d.clear()
	}
}
