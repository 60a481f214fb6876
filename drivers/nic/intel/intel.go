// Package intel is what the families of Intel's network cards for Gigabit Ethernet have in
// common, and package ring doesn't know: registers, a reset, interrupts, and how a frame
// becomes descriptors. Drivers of families (packages e1000, igb) add their own.
//
// References: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
// (317453), "8254x manual"; 82574 GbE Controller Family Datasheet (317694), "82574"; 82576
// Gigabit Ethernet Controller Datasheet (320961), "82576"; I210 Datasheet (333016), "I210".
package intel

import (
	"errors"
	"fmt"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
)

// Vendor is in all functions' identification.
const Vendor = 0x8086

const (
	txSlots = 512
	// RxSlots is how many buffers a card has for what comes in.
	RxSlots = 256

	// Tick is how often the card is asked whether it has done what takes it a moment.
	Tick = time.Millisecond
	// ticks is when it has to have done it: far longer than any of the manuals says.
	ticks = 100
)

// Messages of a card with MSI-X.
const (
	MessageQueues = 0
	MessageOther  = 1
	numMessages   = 2
)

// Chip is a family's driver. It has a Base, which does what of ring.Chip is the same in all.
type Chip interface {
	ring.Chip
	// Other takes away the causes of the message that is not the queues'.
	Other()
}

// Base is what the Chips of all families have.
type Base struct {
	Format
	Owner   pci.Owner
	Model   string // for the log and for errors
	Express bool
	Six     bool // cuts TCP on IPv6
	NoMSIX  bool // messages by MSI, whatever there is

	Host device.Host
	F    *pci.Function
	Regs device.Registers
	MSIX *pci.MSIX // nil: it has none, or they aren't used
	MSI  bool
	Card *ring.Card

	tx, rx, headers *ring.Memory
	header          [link.HeadSize]byte
	part            bool // of a frame that came in: its end is still to come
}

// Open sets a card up that is to be known as name. log takes a line about what happens to it
// later. The error wraps those of packages ring and pci, or mm.ErrNoMemory.
func (b *Base) Open(c Chip, name string, log func(format string, args ...any)) (*ring.Card, error) {
	if err := b.open(c, name, log); err != nil {
		err = fmt.Errorf("PCI function %v, %s: %w", b.F.Address, b.Model, err)
		if b.Card != nil {
			return nil, errors.Join(err, b.Card.Close())
		}
		b.Free()
		return nil, err
	}
	return b.Card, nil
}

func (b *Base) open(c Chip, name string, log func(format string, args ...any)) error {
	var err error
	if b.Regs, err = ring.Map(b.Host, b.F, 0, RegsSize); err != nil {
		return err
	}
	if err := c.Reset(); err != nil {
		return err
	}
	info := link.Info{Name: name, MAC: b.address(), MTU: 1500,
		Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: b.Six, Gather: link.MaxSegments}}
	for _, m := range []struct {
		to   **ring.Memory
		size int
	}{{&b.tx, txSlots * descSize}, {&b.rx, RxSlots * descSize}, {&b.headers, txSlots * headerRoom}} {
		if *m.to, err = ring.Alloc(b.Host, m.size); err != nil {
			return err
		}
	}
	kind := fmt.Sprintf("%s (%s)", b.Owner, b.Model)
	card, err := ring.New(c, ring.Options{Host: b.Host, Function: b.F, Info: info, Kind: kind, Send: txSlots, Receive: RxSlots, Log: log})
	if err != nil {
		return err
	}
	b.Card = card
	if err := b.interrupts(c); err != nil {
		return err
	}
	card.Begin()
	return nil
}

// address is the card's own, which it has read from its EEPROM.
func (b *Base) address() (m link.MAC) {
	low, high := b.Regs.Load32(RAL0), b.Regs.Load32(RAH0)
	if high&RAHValid == 0 {
		return m
	}
	for i := range m {
		m[i] = byte((uint64(high)<<32 | uint64(low)) >> (8 * i))
	}
	return m
}

// interrupts has the card tell what it does: by two messages, by one, or not at all, as
// nothing here knows where its line ends.
func (b *Base) interrupts(c Chip) error {
	msix, err := (*pci.MSIX)(nil), pci.ErrNoMessages
	if !b.NoMSIX {
		msix, err = b.F.MSIX(b.Host)
	}
	if err == nil {
		if b.MSIX = msix; msix.Len() < numMessages {
			return fmt.Errorf("it has %d messages, and needs %d: %w", msix.Len(), numMessages, ring.ErrUnusable)
		}
		other := func() {
			c.Other()
			b.Card.Look()
		}
		for i, handle := range []func(){MessageQueues: b.Card.Interrupt, MessageOther: other} {
			m, err := b.Host.Interrupt(i, handle)
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
	if _, b.MSI = b.F.Capability(pci.CapMSI); !b.MSI {
		go b.Card.Poll()
		return nil
	}
	m, err := b.Host.Interrupt(0, b.all)
	if err != nil {
		return err
	}
	return b.F.SetMSI(m)
}

// all handles the one message. Reading the causes takes them away.
func (b *Base) all() {
	causes := b.Regs.Load32(ICR)
	if causes&CauseLSC != 0 {
		b.Card.Look()
	}
	b.Card.Interrupt()
}

// Rings tells the card where its rings are, and takes what it remembers of others to filter
// away.
func (b *Base) Rings() {
	r := b.Regs
	for i := range uint64(numMTA) {
		r.Store32(MTA+4*i, 0)
	}
	r.Store32(RDBAL, uint32(b.rx.Addr))
	r.Store32(RDBAH, uint32(b.rx.Addr>>32))
	r.Store32(RDLEN, RxSlots*descSize)
	r.Store32(RDH, 0)
	r.Store32(RXCSUM, rxcsumIP|rxcsumTCP)
	r.Store32(TDBAL, uint32(b.tx.Addr))
	r.Store32(TDBAH, uint32(b.tx.Addr>>32))
	r.Store32(TDLEN, txSlots*descSize)
	r.Store32(TDH, 0)
	r.Store32(TDT, 0)
}

// Connect has the card look for a link, in what way it finds.
func (b *Base) Connect() {
	ctrl := b.Regs.Load32(CTRL) &^ (ctrlNoMaster | ctrlLRST | ctrlILOS | ctrlForced | ctrlVME | ctrlPhyRST)
	b.Regs.Store32(CTRL, ctrl|ctrlFD|ctrlASDE|CtrlSLU)
}

// Link implements ring.Chip.
func (b *Base) Link() bool { return b.Regs.Load32(STATUS)&StatusLU != 0 }

// Absent implements ring.Chip.
func (b *Base) Absent() bool { return b.Regs.Load32(STATUS) == ^uint32(0) }

// Restart resets the card, which is left alone for a while then: mask masks all interrupts
// (8254x manual, chapter 14; 82574, 82576 and I210, chapter 4).
func (b *Base) Restart(mask func(), alone time.Duration) error {
	r := b.Regs
	mask()
	r.Store32(RCTL, 0)
	r.Store32(TCTL, TctlPSP)
	if b.Express {
		r.Store32(CTRL, r.Load32(CTRL)|ctrlNoMaster)
		// If it does not end what is under way, the reset does.
		b.Within(func() bool { return r.Load32(STATUS)&statusMaster == 0 })
	} else {
		time.Sleep(10 * Tick) // until what is under way has ended
	}
	r.Store32(CTRL, r.Load32(CTRL)|CtrlRST)
	time.Sleep(alone)
	ok := b.Within(func() bool {
		return r.Load32(CTRL)&CtrlRST == 0 && (!b.Express || r.Load32(EECD)&EECDAutoRead != 0)
	})
	switch {
	case b.Absent():
		return fmt.Errorf("it does not answer: %w", ring.ErrUnusable)
	case !ok:
		return fmt.Errorf("it is not reset: %w", ring.ErrUnusable)
	}
	if !b.Express {
		time.Sleep(10 * Tick) // it reads its EEPROM
	}
	mask()
	r.Load32(ICR)
	return nil
}

// Within waits until is says so, or it is too late.
func (b *Base) Within(is func() bool) bool {
	for range ticks {
		if is() {
			return true
		}
		time.Sleep(Tick)
	}
	return is()
}

// Free implements ring.Chip.
func (b *Base) Free() {
	// After the reset: QEMU ends with an assertion of its own if a message is due when they
	// are turned off.
	if b.MSIX != nil {
		b.MSIX.Close()
	}
	for _, m := range []*ring.Memory{b.tx, b.rx, b.headers} {
		m.Free()
	}
}
