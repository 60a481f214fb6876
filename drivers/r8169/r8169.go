// Package r8169 drives Realtek's network cards for Gigabit Ethernet, as ports of package
// link: those for PCI (RTL8169, RTL8110), and those for PCI Express (RTL8168, RTL8111) as
// far as they are like them.
//
// Reference: RTL8169 datasheet, revision 1.21, whose names the registers have. There is none in
// public of the later PCI Express cards, so what only they have isn't used.
package r8169

import (
	"errors"
	"fmt"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
	"nidus/mm"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "r8169"

// Registers, by their offsets.
const (
	regIDR    = 0x00 // 6 bytes
	regMAR    = 0x08 // 8 bytes
	regTNPDS  = 0x20 // 8 bytes, as RDSAR
	regCR     = 0x37 // 8 bits
	regTPPoll = 0x38 // 8 bits
	regIMR    = 0x3c // 16 bits
	regISR    = 0x3e // 16 bits
	regTCR    = 0x40
	regRCR    = 0x44
	reg9346CR = 0x50 // 8 bits
	regPHY    = 0x6c // 8 bits
	regRMS    = 0xda // 16 bits
	regCPCR   = 0xe0 // C+CR, 16 bits
	regRDSAR  = 0xe4
	regMTPS   = 0xec // 8 bits

	regsSize = 0x100
)

const (
	crRST = 1 << 4
	crRE  = 1 << 3
	crTE  = 1 << 2

	pollNPQ = 1 << 6

	// Interrupts: what comes in, or has no room; what was sent; the link.
	isrROK, isrRER, isrTOK, isrTER, isrRDU, isrLink, isrFOVW, isrTDU = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7

	causes = isrROK | isrRER | isrTOK | isrTER | isrRDU | isrLink | isrFOVW

	tcrBurst = 7 << 8  // of any length
	tcrGap   = 3 << 24 // as IEEE 802.3 has it
	rcrAll   = 1<<0 | 1<<1 | 1<<2 | 1<<3
	rcrBurst = 7 << 8
	rcrWhole = 7 << 13 // a frame is written when all of it is there

	unlock = 3 << 6 // of 9346CR
	lock   = 0

	phyLink = 1 << 1

	cpMulRW = 1 << 3
	cpDAC   = 1 << 4 // addresses of 64 bits on PCI
	cpSums  = 1 << 5

	mtps = 0x3f // in units of 128 bytes: more than any frame

	fcs = 4
)

const (
	txSlots = 512
	rxSlots = 256

	// tick is how often the card is asked whether it was reset, ticks when it has to be:
	// far longer than the manual's 10 ms.
	tick  = time.Millisecond
	ticks = 100
)

// model is what cards differ in.
type model struct {
	name string
	bar  int // of the registers, in memory
	pci  bool
}

const vendor = 0x10ec

var models = map[uint16]model{
	0x8167: {"RTL8110SC", 1, true},
	0x8169: {"RTL8169", 1, true},
	0x8168: {"RTL8168", 2, false},
}

// Is tells whether a function is a card that the package drives.
func Is(f *pci.Function) bool {
	_, ok := models[f.Device]
	return ok && f.Vendor == vendor
}

// chip is a ring.Chip.
type chip struct {
	model
	host device.Host
	f    *pci.Function
	regs device.Registers
	card *ring.Card
	mask uint16 // interrupts that are wanted
	// longest is how many bytes a frame has at most, with its FCS.
	longest int

	tx, rx *ring.Memory
	zeros  *ring.Memory // that short frames are filled up with
	part   bool         // of a frame that came in: its end is still to come
}

// Open sets a card up that is to be known as name. log takes a line about what happens to it
// later. The error wraps those of packages ring and pci, or mm.ErrNoMemory.
func Open(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (*ring.Card, error) {
	c := &chip{model: models[f.Device], host: h, f: f}
	if err := c.open(name, log); err != nil {
		err = fmt.Errorf("PCI function %v, %s: %w", f.Address, c.name, err)
		if c.card != nil {
			return nil, errors.Join(err, c.card.Close())
		}
		c.Free()
		return nil, err
	}
	return c.card, nil
}

func (c *chip) open(name string, log func(format string, args ...any)) error {
	var err error
	if c.regs, err = ring.Map(c.host, c.f, c.bar, regsSize); err != nil {
		return err
	}
	if err := c.Reset(); err != nil {
		return err
	}
	// What it can do to checksums is for IPv4 alone: those who send do them.
	info := link.Info{Name: name, MTU: 1500, Take: link.Offloads{Gather: link.MaxSegments}}
	for i := range info.MAC {
		info.MAC[i] = c.regs.Load8(regIDR + uint64(i))
	}
	for _, m := range []struct {
		to   **ring.Memory
		size int
	}{{&c.tx, txSlots * descSize}, {&c.rx, rxSlots * descSize}, {&c.zeros, mm.PageSize}} {
		if *m.to, err = ring.Alloc(c.host, m.size); err != nil {
			return err
		}
	}
	kind := fmt.Sprintf("%s (%s)", Owner, c.name)
	card, err := ring.New(c, ring.Options{Host: c.host, Function: c.f, Info: info, Kind: kind, Send: txSlots, Receive: rxSlots, Log: log})
	if err != nil {
		return err
	}
	c.card, c.longest = card, nic.Longest(&info)+fcs
	if err := c.interrupts(); err != nil {
		return err
	}
	card.Begin()
	return nil
}

// Start implements ring.Chip.
func (c *chip) Start() {
	r := c.regs
	// What was the card's before a reset is not again.
	for i := range txSlots {
		c.tx.Store64(i*descSize, end(i, txSlots))
	}
	r.Store8(reg9346CR, unlock)
	// This register comes first.
	cp := r.Load16(regCPCR)&^(cpMulRW|cpDAC) | cpSums
	if c.pci {
		cp |= cpMulRW | cpDAC
	}
	r.Store16(regCPCR, cp)
	r.Store16(regRMS, uint16(c.longest))
	r.Store8(regMTPS, mtps)
	for at, m := range map[uint64]*ring.Memory{regTNPDS: c.tx, regRDSAR: c.rx} {
		r.Store32(at+4, uint32(m.Addr>>32))
		r.Store32(at, uint32(m.Addr))
	}
	// What a bridge's guests get is not sent to the card's own address.
	r.Store32(regMAR, ^uint32(0))
	r.Store32(regMAR+4, ^uint32(0))
	// The next two take nothing before these are on.
	r.Store8(regCR, crRE|crTE)
	r.Store32(regTCR, tcrBurst|tcrGap)
	r.Store32(regRCR, rcrAll|rcrBurst|rcrWhole)
	r.Store8(reg9346CR, lock)
	c.Rearm()
}

// interrupts has the card tell what it does by a message. Without one it is polled, as
// nothing here knows where its line ends.
func (c *chip) interrupts() error {
	if _, ok := c.f.Capability(pci.CapMSI); !ok {
		go c.card.Poll()
		return nil
	}
	m, err := c.host.Interrupt(0, c.interrupt)
	if err != nil {
		return err
	}
	if err := c.f.SetMSI(m); err != nil {
		return err
	}
	c.mask = causes
	return nil
}

// interrupt handles the message. The card sends one when there is a cause after there was
// none: so it has none until Rearm.
func (c *chip) interrupt() {
	c.regs.Store16(regIMR, 0)
	what := c.regs.Load16(regISR)
	c.regs.Store16(regISR, what)
	if what&isrLink != 0 {
		c.card.Look()
	}
	c.card.Interrupt()
}

// Rearm implements ring.Chip.
func (c *chip) Rearm() {
	if c.mask != 0 {
		c.regs.Store16(regIMR, c.mask)
	}
}

// Link implements ring.Chip.
func (c *chip) Link() bool { return c.regs.Load8(regPHY)&phyLink != 0 }

// Absent implements ring.Chip: the card's address is not this one.
func (c *chip) Absent() bool {
	return c.regs.Load32(regIDR) == ^uint32(0) && c.regs.Load32(regTCR) == ^uint32(0)
}

// Reset implements ring.Chip.
func (c *chip) Reset() error {
	r := c.regs
	r.Store16(regIMR, 0)
	r.Store8(regCR, crRST)
	for range ticks {
		time.Sleep(tick)
		if c.Absent() {
			return fmt.Errorf("it does not answer: %w", ring.ErrUnusable)
		}
		if r.Load8(regCR)&crRST == 0 {
			r.Store16(regIMR, 0)
			r.Store16(regISR, ^uint16(0))
			return nil
		}
	}
	return fmt.Errorf("it is not reset: %w", ring.ErrUnusable)
}

// Free implements ring.Chip.
func (c *chip) Free() {
	for _, m := range []*ring.Memory{c.tx, c.rx, c.zeros} {
		m.Free()
	}
}
