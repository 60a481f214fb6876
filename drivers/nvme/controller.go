// Package nvme drives NVMe controllers on PCI: each of their namespaces is a disk. Data
// goes between the device and the frames of a request; what is copied, describer tells.
//
// A device is believed as little as a guest is: what it says is checked where it would
// become an index, a length or a loop's bound. It can still write anywhere by DMA, as long
// as there is no IOMMU.
//
// Reference: NVM Express 1.4, whose section and figure numbers are given.
package nvme

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/drivers/pci"
	"nidus/mm"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "nvme"

// class is mass storage, NVM, NVMe's I/O controller (section 2.1.5).
const class = 0x010802

// Is tells whether a function is an NVMe controller.
func Is(f *pci.Function) bool { return f.Class() == class }

const (
	// mostQueues: each has a thread that waits for its interrupt.
	mostQueues = 8
	// mostNamespaces bounds what one controller may offer.
	mostNamespaces = 32
	// mostRegisters is the bytes that are mapped of the registers.
	mostRegisters = 64 << 10
)

// limits are how long things may take.
type limits struct {
	tick    time.Duration // between two looks at the device
	admin   time.Duration // of an admin command
	command uint64        // ticks until a command is aborted
	abort   uint64        // ticks that it may take from then on
}

var usual = limits{tick: time.Second, admin: 10 * time.Second, command: 30, abort: 5}

// Controller is one device.
type Controller struct {
	host    device.Host
	f       *pci.Function
	log     func(format string, args ...any)
	name    string
	limits  limits
	regs    device.Registers
	version uint32
	msix    *pci.MSIX
	ready   time.Duration // the most that it takes to become ready
	stride  uint64        // between two doorbells
	depth   uint16        // the largest queue

	admin  admin
	queues []*ioQueue
	disks  []*Disk
	open   atomic.Int32 // disks that aren't closed

	// What identify says.
	model       string
	sgl         bool // SGLs are taken
	cache, trim bool
	mostBytes   int

	keeper keeper
	ticks  atomic.Uint64
}

// Open sets a controller up and returns its disks, of which there is one at least. log
// takes a line about what happens later, and about namespaces that can't be used. The
// error may wrap ErrUnusable, ErrTimeout, or those of package pci.
func Open(h device.Host, f *pci.Function, log func(format string, args ...any)) ([]*Disk, error) {
	return open(h, f, log, usual)
}

func open(h device.Host, f *pci.Function, log func(format string, args ...any), l limits) ([]*Disk, error) {
	c := &Controller{host: h, f: f, log: log, limits: l, name: fmt.Sprintf("NVMe at %v", f.Address)}
	c.admin.c = c
	c.keeper = keeper{broken: make(chan error, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := c.setup(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), c.end())
	}
	c.open.Store(int32(len(c.disks)))
	go c.keeper.run(c)
	return c.disks, nil
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnusable)
}

func (c *Controller) setup() error {
	if err := c.capabilities(); err != nil {
		return err
	}
	var err error
	if c.msix, err = c.f.MSIX(c.host); err != nil {
		return err
	}
	if c.msix.Len() < 2 {
		return unusable("it has one interrupt, and needs two")
	}
	if c.admin.page, err = c.host.Alloc(0, mm.ZoneAny); err != nil {
		return err
	}
	if err := c.admin.r.allocate(c.host, c.depth); err != nil {
		return err
	}
	c.admin.r.place(c.regs, c.stride, 0)
	if err := c.vector(0, c.admin.interrupt); err != nil {
		return err
	}
	if err := c.enable(); err != nil {
		return err
	}
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.findNamespaces(); err != nil {
		return err
	}
	return c.makeQueues()
}

// capabilities maps the registers and reads what the controller can (section 3.1.1).
func (c *Controller) capabilities() error {
	bar, err := c.f.Memory(0)
	if err != nil {
		return err
	}
	if bar.Size < doorbells+4096 {
		return unusable("it has %d bytes of registers", bar.Size)
	}
	if c.regs, err = c.host.Map(bar.Addr, min(bar.Size, mostRegisters)); err != nil {
		return err
	}
	if c.version = c.regs.Load32(regVS); c.version == dead {
		return unusable("it does not answer")
	}
	v := uint64(c.regs.Load32(regCap)) | uint64(c.regs.Load32(regCap+4))<<32
	c.ready = time.Duration(max(v>>capTimeout&0xff, 1)*stepTimeout) * time.Millisecond
	c.stride = 4 << (v >> capStride & 0xf)
	c.depth = min(uint16(min(v&0xffff+1, maxDepth)), maxDepth)
	switch {
	case v>>capSets&1 == 0:
		return unusable("it does not know the NVM command set")
	case v>>capLeast&0xf != 0:
		return unusable("its pages have %d bytes at least, and must have %d", mm.PageSize<<(v>>capLeast&0xf), mm.PageSize)
	case c.depth < 2:
		return unusable("its queues have %d entries", c.depth)
	case doorbells+4*c.stride > c.regs.Size():
		return unusable("its doorbells are %d bytes apart", c.stride)
	}
	return nil
}

// gone tells whether the device is not there any more: its version never changes. What
// is not there reads as ones, and in QEMU as zeroes.
func (c *Controller) gone() bool { return c.regs.Load32(regVS) != c.version }

// vector has handle called for an entry of the MSI-X table.
func (c *Controller) vector(entry int, handle func()) error {
	m, err := c.host.Interrupt(max(entry-1, 0), handle)
	if err != nil {
		return err
	}
	c.msix.Set(entry, m)
	return nil
}

// until waits until some bits of the status have a value.
func (c *Controller) until(mask, value uint32, what string) error {
	end := time.Now().Add(c.ready)
	for {
		s := c.regs.Load32(regCSTS)
		switch {
		case c.gone():
			return unusable("it is not there any more")
		case s&mask == value:
			return nil
		case value != 0 && s&cstsFatal != 0:
			return unusable("it reports a fatal error while it %s", what)
		case time.Now().After(end):
			return fmt.Errorf("it %s for more than %v: %w", what, c.ready, ErrTimeout)
		}
		time.Sleep(time.Millisecond) // there is no interrupt for this
	}
}

// disable stops the controller: afterwards it reaches no memory and its queues are gone.
// Preconditions: I/O queues don't work.
func (c *Controller) disable() error {
	c.admin.halt()
	c.regs.Store32(regCC, c.regs.Load32(regCC)&^(ccEnable|ccShutMask))
	return c.until(cstsReady, 0, "stops")
}

// enable starts the controller, with empty admin queues (section 7.6.1).
func (c *Controller) enable() error {
	if err := c.disable(); err != nil {
		return err
	}
	c.admin.set(true)
	c.f.SetMaster(true)
	n := uint32(c.admin.r.depth - 1)
	c.regs.Store32(regAQA, n|n<<16)
	for i, reg := range []uint64{regASQ, regACQ} {
		a := c.host.DMA(c.admin.r.frames[i])
		c.regs.Store32(reg, uint32(a))
		c.regs.Store32(reg+4, uint32(a>>32))
	}
	c.regs.Store32(regCC, ccQueues)
	c.regs.Store32(regCC, ccQueues|ccEnable)
	return c.until(cstsReady, cstsReady, "starts")
}

// Fields of what identifies a controller (figure 247 of 1.4).
const (
	idModel  = 24 // 40 characters
	idMost   = 77 // a power of two of pages
	idNumber = 516
	idKnows  = 520
	idCache  = 525
	idSGL    = 536

	knowsDataset = 1 << 2
)

func (c *Controller) identify() error {
	p, err := c.admin.identify(identifyController, 0)
	if err != nil {
		return err
	}
	model := make([]byte, 40)
	p.Read(idModel, model)
	c.model = block.Printable(model)
	c.cache = p.Load8(idCache)&1 != 0
	c.trim = p.Load32(idKnows)&knowsDataset != 0
	sgl := p.Load32(idSGL) & 3
	c.sgl = sgl == 1 || sgl == 2
	c.mostBytes = maxSegments * mm.PageSize
	if most := p.Load8(idMost); most != 0 && most < 16 {
		c.mostBytes = min(c.mostBytes, mm.PageSize<<most)
	}
	return nil
}

// findNamespaces makes the disks.
func (c *Controller) findNamespaces() error {
	var ids []uint32
	if c.version >= version11 {
		p, err := c.admin.identify(identifyList, 0)
		if err != nil {
			return err
		}
		for i := range mostNamespaces {
			if n := p.Load32(i * 4); n != 0 {
				ids = append(ids, n)
			}
		}
	} else {
		p, err := c.admin.identify(identifyController, 0)
		if err != nil {
			return err
		}
		for i := range min(p.Load32(idNumber), mostNamespaces) {
			ids = append(ids, i+1)
		}
	}
	for _, id := range ids {
		d, err := c.namespace(id)
		if errors.Is(err, ErrUnusable) {
			c.log("%s: %v", c.name, err)
			continue
		}
		if err != nil {
			return err
		}
		c.disks = append(c.disks, d)
	}
	if len(c.disks) == 0 {
		return unusable("it has no namespace that can be used")
	}
	return nil
}

// makeQueues makes a queue pair for each CPU, as far as they go.
func (c *Controller) makeQueues() error {
	most := (c.regs.Size() - doorbells) / (2 * c.stride)
	n := min(mostQueues, c.host.CPUs(), c.msix.Len()-1, int(most)-1)
	if n < 1 {
		return unusable("its doorbells, %d bytes apart, are beyond its registers", c.stride)
	}
	n, err := c.askQueues(n)
	if err != nil {
		return err
	}
	for i := range n {
		q := &ioQueue{c: c, index: uint16(i + 1)}
		q.room.L = &q.mu
		c.queues = append(c.queues, q)
		if err := q.allocate(c.depth); err != nil {
			return err
		}
		q.r.place(c.regs, c.stride, q.index)
		if err := c.vector(i+1, q.interrupt); err != nil {
			return err
		}
	}
	return c.startQueues()
}

// askQueues asks for n queue pairs and returns how many there are (section 5.21.1.7).
func (c *Controller) askQueues(n int) (int, error) {
	most := uint32(n - 1)
	got, err := c.admin.do(&command{op: adminSetFeatures, words: [3]uint32{featQueues, most | most<<16}})
	if err != nil {
		return 0, err
	}
	return min(n, int(got&0xffff)+1, int(got>>16)+1), nil
}

// startQueues has the device make the queues, which then work.
func (c *Controller) startQueues() error {
	for _, q := range c.queues {
		q.mu.Lock()
		q.r.reset()
		q.mu.Unlock()
		if err := c.admin.create(q); err != nil {
			return err
		}
	}
	for _, q := range c.queues {
		q.set(working)
	}
	return nil
}
