// Package inteltest has what tests of drivers on package intel share: a model of the device's
// side, written from the manuals, and what a driver has to do with it.
package inteltest

import (
	"sync"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/nic/intel"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

const (
	descSize     = 16
	ctrlNoMaster = 1 << 2
	statusMaster = 1 << 19
)

// Card is a model of a card. It panics where the driver breaks a rule.
type Card struct {
	Family
	Host *devicetest.Host
	PCI  pcitest.Function
	ID   uint16
	// Sent takes a frame that is on the wire.
	Sent func(b []byte)
	// Corrupt may change what is written into a descriptor of what came in.
	Corrupt func(v *uint64)
	// Hold keeps it from sending; Stuck from resetting; Gone has all registers read as ones.
	Hold, Stuck, Gone bool
	NoMAC             bool
	Express           bool // it has to be told not to be the master before a reset

	// Regs are the registers. Family's methods are called with them locked.
	Regs [intel.RegsSize / 4]uint32

	mu    sync.Mutex
	kicks chan struct{}
	ended sync.WaitGroup
	frame []byte // of which the end is still to come
}

// Family is what a family's model has of its own.
type Family interface {
	// Reset sets registers as they are after a reset.
	Reset(c *Card)
	// Store does what writing a register does; false: that is nothing but to keep it.
	Store(c *Card, off uint64, v uint32) bool
	// Load does what reading a register does besides.
	Load(c *Card, off uint64)
	// On tells whether both queues are.
	On(c *Card) bool
	// Interrupt sets causes, which are those of package intel, and sends the messages of those
	// that are not masked.
	Interrupt(c *Card, causes uint32)
	// Descriptor reads one for what is to be sent, and panics if it can't be.
	Descriptor(c *Card, first, second uint64) Descriptor
	// Came is the second word of a descriptor for a frame of n bytes that came in.
	Came(n int, status uint64) uint64
}

// Descriptor is one for what is to be sent.
type Descriptor struct {
	Data    bool // not a context
	Len     int
	End     bool
	Report  bool
	Wrapper Wrapper
	// Whole is what it says of the whole frame.
	Whole int
}

// Function starts the model, and returns it as the driver sees it.
func (c *Card) Function() *pci.Function {
	c.kicks = make(chan struct{}, 1<<16)
	c.PCI.Host, c.PCI.ID, c.PCI.Window, c.PCI.Load, c.PCI.Store = c.Host, uint32(c.ID)<<16|intel.Vendor, 1<<17, c.load, c.store
	c.reset()
	c.ended.Add(1)
	go func() {
		defer c.ended.Done()
		for range c.kicks {
			c.work()
		}
	}()
	return c.PCI.Start()
}

// Close ends it.
func (c *Card) Close() {
	close(c.kicks)
	c.ended.Wait()
	c.Host.Close()
}

// Reg is a register.
func (c *Card) Reg(off uint64) *uint32 { return &c.Regs[off/4] }

func (c *Card) reset() {
	c.Regs = [intel.RegsSize / 4]uint32{}
	*c.Reg(intel.EECD) = intel.EECDAutoRead
	*c.Reg(intel.STATUS) = 1 | statusMaster
	if !c.NoMAC {
		*c.Reg(intel.RAL0), *c.Reg(intel.RAH0) = 0x12005452, 0x5634|intel.RAHValid
	}
	c.frame = nil
	c.Reset(c)
}

func (c *Card) load(off uint64) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Gone {
		return ^uint32(0)
	}
	v := *c.Reg(off)
	if off == intel.ICR {
		*c.Reg(off) = 0
	}
	c.Load(c, off)
	return v
}

func (c *Card) store(off uint64, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Gone {
		return
	}
	r := c.Reg(off)
	switch off {
	case intel.CTRL:
		switch {
		case v&intel.CtrlRST == 0:
			*r = v
			if v&ctrlNoMaster != 0 {
				*c.Reg(intel.STATUS) &^= statusMaster
			}
			if v&intel.CtrlSLU != 0 {
				*c.Reg(intel.STATUS) |= intel.StatusLU
			}
		case c.Stuck:
			*r = v
		case c.Express && *c.Reg(intel.STATUS)&statusMaster != 0:
			panic("a reset while it is the bus' master")
		default:
			c.reset()
		}
	case intel.STATUS:
	case intel.ICR:
		*r &^= v
	case intel.IMS:
		*r |= v
		c.Interrupt(c, 0)
	case intel.IMC:
		*c.Reg(intel.IMS) &^= v
	case intel.TDT:
		*r = v
		c.kicks <- struct{}{}
	default:
		if !c.Store(c, off, v) {
			*r = v
		}
	}
}

// memory does something with n bytes at an address.
func (c *Card) memory(addr uint64, n int, do func(b []byte)) {
	for n > 0 {
		p, off := c.Host.At(addr)
		k := min(n, 4096-off)
		do(p.Bytes(off, k))
		addr, n = addr+uint64(k), n-k
	}
}

// next moves a head on by one, and returns the address of the descriptor that it was at.
func (c *Card) next(base, length, head uint64) uint64 {
	r := c.Reg(head)
	at := uint64(*c.Reg(base)) | uint64(*c.Reg(base + 4))<<32
	at += uint64(*r) * descSize
	*r = (*r + 1) % (*c.Reg(length) / descSize)
	return at
}

// work sends what there is.
func (c *Card) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.Hold && !c.Gone && c.On(c) && c.PCI.Master() && *c.Reg(intel.TCTL)&intel.TctlEN != 0 && *c.Reg(intel.TDH) != *c.Reg(intel.TDT) {
		p, off := c.Host.At(c.next(intel.TDBAL, intel.TDLEN, intel.TDH))
		first, second := p.Load64(off), p.Load64(off+8)
		if second&intel.TxExtends == 0 {
			panic("a legacy descriptor")
		}
		d := c.Descriptor(c, first, second)
		if !d.Data {
			continue
		}
		c.memory(first, d.Len, func(b []byte) { c.frame = append(c.frame, b...) })
		if !d.End {
			continue
		}
		d.Wrapper.check(c.frame, d.Whole)
		d.Wrapper.wire(c.frame, c.Sent)
		c.frame = nil
		if d.Report {
			p.Store64(off+8, second|intel.TxDD)
			c.Interrupt(c, intel.CauseTXDW)
		}
	}
}

// Input has a frame come in. It is false if there is no buffer for it.
func (c *Card) Input(b []byte, status uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *c.Reg(intel.RCTL)&intel.RctlEN == 0 || c.Gone || !c.On(c) || !c.PCI.Master() || *c.Reg(intel.RDH) == *c.Reg(intel.RDT) {
		return false
	}
	p, off := c.Host.At(c.next(intel.RDBAL, intel.RDLEN, intel.RDH))
	if p.Load64(off+8) != 0 {
		panic("a buffer whose descriptor says that something came")
	}
	v := c.Came(len(b), status)
	if c.Corrupt != nil {
		c.Corrupt(&v)
	}
	at := b
	c.memory(p.Load64(off), len(b), func(m []byte) { at = at[copy(m, at):] })
	p.Store64(off+8, v)
	c.Interrupt(c, intel.CauseRXT)
	return true
}

// Scribble writes anything into all descriptors, and says that frames came and were sent.
func (c *Card) Scribble(anything func() uint64) {
	c.Set(func() {
		for base, length := range map[uint64]uint64{intel.RDBAL: intel.RDLEN, intel.TDBAL: intel.TDLEN} {
			p, off := c.Host.At(uint64(*c.Reg(base)) | uint64(*c.Reg(base + 4))<<32)
			for i := off; i < min(int(*c.Reg(length)), 4096); i += 8 {
				p.Store64(i, anything())
			}
		}
		c.Interrupt(c, intel.CauseRXT|intel.CauseTXDW)
	})
}

// Link turns the link on or off.
func (c *Card) Link(up bool) {
	c.Set(func() {
		*c.Reg(intel.STATUS) &^= intel.StatusLU
		if up {
			*c.Reg(intel.STATUS) |= intel.StatusLU
		}
		c.Interrupt(c, intel.CauseLSC)
	})
}

// Set changes the model.
func (c *Card) Set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
