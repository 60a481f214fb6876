// Package e1000 drives Intel's network cards for Gigabit Ethernet of two families, as ports
// of package link: those for PCI and PCI-X (8254x), and the first for PCI Express (8257x),
// with MSI-X (82574), MSI, or neither.
//
// References: PCI/PCI-X Family of Gigabit Ethernet Controllers
// Software Developer's Manual (317453), "8254x manual", and 82574 GbE Controller Family
// Datasheet (317694), "82574".
package e1000

import (
	"errors"
	"fmt"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "e1000"

// model is what cards differ in.
type model struct {
	name    string
	express bool // 8257x
	six     bool // cuts TCP on IPv6
}

const vendor = 0x8086

// models are the cards with copper ports whose PHY needs no set-up.
var models = map[uint16]model{
	0x100e: {name: "82540EM"}, 0x1015: {name: "82540EM"}, 0x1016: {name: "82540EP"}, 0x1017: {name: "82540EP"}, 0x101e: {name: "82540EP"},
	0x100f: {name: "82545EM"}, 0x1026: {name: "82545GM"},
	0x1010: {name: "82546EB"}, 0x1079: {name: "82546GB"},
	0x105e: {name: "82571EB", express: true, six: true}, 0x107d: {name: "82572EI", express: true, six: true},
	0x10b9: {name: "82572EI", express: true, six: true}, 0x108b: {name: "82573V", express: true, six: true},
	0x108c: {name: "82573E", express: true, six: true}, 0x109a: {name: "82573L", express: true, six: true},
	0x10d3: {name: "82574L", express: true, six: true}, 0x10f6: {name: "82574LA", express: true, six: true},
	0x150c: {name: "82583V", express: true, six: true},
}

// Is tells whether a function is a card that the package drives.
func Is(f *pci.Function) bool {
	_, ok := models[f.Device]
	return ok && f.Vendor == vendor
}

const (
	txSlots = 512
	rxSlots = 256

	// tick is how often the card is asked whether it has done what takes it a moment.
	tick = time.Millisecond
	// ticks is when it has to have done it: far longer than any of the manuals says.
	ticks = 100
)

// chip is a ring.Chip.
type chip struct {
	model
	host device.Host
	f    *pci.Function
	regs device.Registers
	msix *pci.MSIX // nil: it has none
	msi  bool
	card *ring.Card

	tx, rx, headers *ring.Memory
	header          [link.HeadSize]byte
	part            bool // of a frame that came in: its end is still to come
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
	if c.regs, err = ring.Map(c.host, c.f, 0, regsSize); err != nil {
		return err
	}
	if err := c.Reset(); err != nil {
		return err
	}
	info := link.Info{Name: name, MAC: c.address(), MTU: 1500,
		Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: c.six, Gather: link.MaxSegments}}
	for _, m := range []struct {
		to   **ring.Memory
		size int
	}{{&c.tx, txSlots * descSize}, {&c.rx, rxSlots * descSize}, {&c.headers, txSlots * headerRoom}} {
		if *m.to, err = ring.Alloc(c.host, m.size); err != nil {
			return err
		}
	}
	kind := fmt.Sprintf("%s (%s)", Owner, c.name)
	card, err := ring.New(c, ring.Options{Host: c.host, Function: c.f, Info: info, Kind: kind, Send: txSlots, Receive: rxSlots, Log: log})
	if err != nil {
		return err
	}
	c.card = card
	if err := c.interrupts(); err != nil {
		return err
	}
	card.Begin()
	return nil
}

// address is the card's own, which it has read from its EEPROM.
func (c *chip) address() (m link.MAC) {
	low, high := c.regs.Load32(regRAL0), c.regs.Load32(regRAH0)
	if high&rahValid == 0 {
		return m
	}
	for i := range m {
		m[i] = byte((uint64(high)<<32 | uint64(low)) >> (8 * i))
	}
	return m
}

// Start implements ring.Chip (8254x manual, chapter 14; 82574, chapter 4).
func (c *chip) Start() {
	r := c.regs
	for i := range uint64(numMTA) {
		r.Store32(regMTA+4*i, 0)
	}
	r.Store32(regRDBAL, uint32(c.rx.Addr))
	r.Store32(regRDBAH, uint32(c.rx.Addr>>32))
	r.Store32(regRDLEN, rxSlots*descSize)
	r.Store32(regRDH, 0)
	r.Store32(regRDTR, 0)
	r.Store32(regRADV, 0)
	r.Store32(regRXCSUM, rxcsumIP|rxcsumTCP)
	r.Store32(regTDBAL, uint32(c.tx.Addr))
	r.Store32(regTDBAH, uint32(c.tx.Addr>>32))
	r.Store32(regTDLEN, txSlots*descSize)
	r.Store32(regTDH, 0)
	r.Store32(regTDT, 0)
	r.Store32(regTIDV, 0)
	txdctl := uint32(txdctlWT | txdctlGRAN)
	if c.express {
		txdctl |= txdctlMust
	}
	r.Store32(regTXDCTL, txdctl)
	r.Store32(regTIPG, tipg)
	c.unmask()
	ctrl := r.Load32(regCTRL) &^ (ctrlNoMaster | ctrlLRST | ctrlILOS | ctrlForced | ctrlVME | ctrlPhyRST)
	r.Store32(regCTRL, ctrl|ctrlFD|ctrlASDE|ctrlSLU)
	r.Store32(regTCTL, tctlEN|tctlPSP|tctlCT|tctlCOLD|tctlRTLC)
	// What a bridge's guests get is not sent to the card's own address.
	r.Store32(regRCTL, rctlEN|rctlUPE|rctlMPE|rctlBAM|rctl4096|rctlSECRC)
	c.Posted(0)
}

// interrupts has the card tell what it does: by two messages, by one, or not at all, as
// nothing here knows where its line ends.
func (c *chip) interrupts() error {
	msix, err := c.f.MSIX(c.host)
	if err == nil {
		if c.msix = msix; msix.Len() < numMessages {
			return fmt.Errorf("it has %d messages, and needs %d: %w", msix.Len(), numMessages, ring.ErrUnusable)
		}
		for i, handle := range []func(){messageQueues: c.card.Interrupt, messageOther: c.other} {
			m, err := c.host.Interrupt(i, handle)
			if err != nil {
				return err
			}
			msix.Set(i, m)
		}
		return nil
	}
	if !errors.Is(err, pci.ErrNoMessages) {
		return err
	}
	if _, c.msi = c.f.Capability(pci.CapMSI); !c.msi {
		go c.card.Poll()
		return nil
	}
	m, err := c.host.Interrupt(0, c.all)
	if err != nil {
		return err
	}
	return c.f.SetMSI(m)
}

// unmask has the card send the messages that there are.
func (c *chip) unmask() {
	r := c.regs
	switch {
	case c.msix != nil:
		for i := range uint64(numMessages) {
			r.Store32(regEITR0+4*i, itr)
		}
		// The queues' message takes its causes away itself, and masks them, or not: as
		// Rearm unmasks them, either does.
		r.Store32(regIVAR, ivar)
		r.Store32(regIAM, 0)
		r.Store32(regEIAC, causeRXQ0|causeTXQ0)
		r.Store32(regEXT, r.Load32(regEXT)&^extIAME|extPBA)
		r.Store32(regIMS, causeRXQ0|causeTXQ0|causeOther|causeLSC)
	case c.msi:
		r.Store32(regITR, itr)
		r.Store32(regIMS, causesQueues|causeLSC)
	}
}

// Rearm implements ring.Chip.
func (c *chip) Rearm() {
	if c.msix != nil {
		c.regs.Store32(regIMS, causeRXQ0|causeTXQ0)
	}
}

// all handles the one message. Reading the causes takes them away.
func (c *chip) all() {
	causes := c.regs.Load32(regICR)
	if causes&causeLSC != 0 {
		c.card.Look()
	}
	c.card.Interrupt()
}

// other handles the message of what is not the queues'. Its causes have to be taken away
// before the next can come: ICR clears those that are written as ones.
func (c *chip) other() {
	c.regs.Store32(regICR, causeOther|causeLSC)
	c.card.Look()
}

// Link implements ring.Chip.
func (c *chip) Link() bool { return c.regs.Load32(regSTATUS)&statusLU != 0 }

// Absent implements ring.Chip.
func (c *chip) Absent() bool { return c.regs.Load32(regSTATUS) == ^uint32(0) }

// Reset implements ring.Chip (8254x manual, chapter 14; 82574, chapter 4).
func (c *chip) Reset() error {
	r := c.regs
	r.Store32(regIMC, ^uint32(0))
	r.Store32(regRCTL, 0)
	r.Store32(regTCTL, tctlPSP)
	if c.express {
		r.Store32(regCTRL, r.Load32(regCTRL)|ctrlNoMaster)
		// If it does not end what is under way, the reset does.
		c.within(func() bool { return r.Load32(regSTATUS)&statusMaster == 0 })
	} else {
		time.Sleep(10 * tick) // until what is under way has ended
	}
	r.Store32(regCTRL, r.Load32(regCTRL)|ctrlRST)
	time.Sleep(tick) // 1 us, before its registers are read again
	done := func() bool {
		return r.Load32(regCTRL)&ctrlRST == 0 && (!c.express || r.Load32(regEECD)&eecdAutoRead != 0)
	}
	switch ok := c.within(done); {
	case c.Absent():
		return fmt.Errorf("it does not answer: %w", ring.ErrUnusable)
	case !ok:
		return fmt.Errorf("it is not reset: %w", ring.ErrUnusable)
	}
	if !c.express {
		time.Sleep(10 * tick) // it reads its EEPROM
	}
	r.Store32(regIMC, ^uint32(0))
	r.Load32(regICR)
	return nil
}

// within waits until is says so, or it is too late.
func (c *chip) within(is func() bool) bool {
	for range ticks {
		if is() {
			return true
		}
		time.Sleep(tick)
	}
	return is()
}

// Free implements ring.Chip.
func (c *chip) Free() {
	// After the reset: QEMU ends with an assertion of its own if a message is due when they
	// are turned off.
	if c.msix != nil {
		c.msix.Close()
	}
	for _, m := range []*ring.Memory{c.tx, c.rx, c.headers} {
		m.Free()
	}
}
