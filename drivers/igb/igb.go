// Package igb drives Intel's network cards for Gigabit Ethernet from the 82575 on (82576,
// 82580, I350, I210, I211), as ports of package link, with one queue for each direction. They
// have descriptors of another form than those before, and the registers about queues and
// messages are others.
//
// References: 82576 Gigabit Ethernet Controller Datasheet (320961), "82576", and Ethernet
// Controller I210 Datasheet (333016), "I210"; for the first one 82575EB Gigabit Ethernet
// Controller Software Developer's Manual.
package igb

import (
	"nidus/drivers/device"
	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "igb"

// model is what cards differ in.
type model struct {
	name  string
	first bool // the 82575: messages of MSI-X are given by other registers; it has one by MSI
	later bool // than the 82576: the PHY's power is managed by a register
}

// models are the cards with copper ports.
var models = map[uint16]model{
	0x10a7: {name: "82575EB", first: true}, 0x10d6: {name: "82575GB", first: true},
	0x10c9: {name: "82576"}, 0x10e8: {name: "82576"}, 0x1526: {name: "82576"}, 0x150a: {name: "82576NS"},
	0x150e: {name: "82580", later: true}, 0x1516: {name: "82580", later: true},
	0x1521: {name: "I350", later: true},
	0x1533: {name: "I210", later: true}, 0x1534: {name: "I210", later: true}, 0x1535: {name: "I210", later: true},
	0x157b: {name: "I210", later: true}, 0x1539: {name: "I211", later: true},
}

// Is tells whether a function is a card that the package drives.
func Is(f *pci.Function) bool {
	_, ok := models[f.Device]
	return ok && f.Vendor == intel.Vendor
}

// chip is an intel.Chip.
type chip struct {
	intel.Base
	later bool
}

// Open sets a card up that is to be known as name. log takes a line about what happens to it
// later. The error wraps those of packages ring and pci, or mm.ErrNoMemory.
func Open(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (*ring.Card, error) {
	m := models[f.Device]
	c := &chip{later: m.later, Base: intel.Base{Format: format, Owner: Owner, Model: m.name,
		Express: true, Six: true, NoMSIX: m.first, Host: h, F: f}}
	return c.Open(c, name, log)
}

// Start implements ring.Chip (82576 and I210, chapter 4).
func (c *chip) Start() {
	r := c.Regs
	// After a reset the first queues are on. They are told about rings while they are off.
	c.queues(0, 0)
	c.Rings()
	r.Store32(regSRRCTL, srrctl)
	c.unmask()
	c.wake()
	c.Connect()
	r.Store32(intel.TCTL, intel.TctlEN|intel.TctlPSP|intel.TctlCT|intel.TctlCOLD|intel.TctlRTLC)
	// What a bridge's guests get is not sent to the card's own address.
	r.Store32(intel.RCTL, intel.RctlEN|intel.RctlUPE|intel.RctlMPE|intel.RctlBAM|intel.RctlSECRC)
	c.queues(rxdctl, txdctl)
	c.Posted(0) // not before the queue is on
}

// queues turns the queues on or off, and waits until they are.
func (c *chip) queues(rx, tx uint32) {
	r := c.Regs
	r.Store32(regRXDCTL, rx)
	r.Store32(intel.TXDCTL, tx)
	c.Within(func() bool {
		return (r.Load32(regRXDCTL)^rx)&dctlEnable == 0 && (r.Load32(intel.TXDCTL)^tx)&dctlEnable == 0
	})
}

// unmask has the card send the messages that there are (82576, section 7.3).
func (c *chip) unmask() {
	r := c.Regs
	switch {
	case c.MSIX != nil:
		r.Store32(regGPIE, gpieNSICR|gpieMulti|gpieEIAME|gpiePBA)
		r.Store32(regEITR0, itr)
		r.Store32(regEITR0+4, itr)
		r.Store32(regIVAR0, ivar0)
		r.Store32(regIVARMisc, ivarMisc)
		// Both messages take their causes away themselves. The queues' is masked, too, until
		// Rearm.
		r.Store32(regEIAC, bitQueues|bitOther)
		r.Store32(regEIAM, bitQueues)
		r.Store32(intel.IMS, intel.CauseLSC)
		r.Store32(regEIMS, bitQueues|bitOther)
	case c.MSI:
		r.Store32(regEITR0, itr)
		r.Store32(intel.IMS, intel.CausesQueues|intel.CauseLSC)
	}
}

// Rearm implements ring.Chip.
func (c *chip) Rearm() {
	if c.MSIX != nil {
		c.Regs.Store32(regEIMS, bitQueues)
	}
}

// Other implements intel.Chip. Reading the causes takes them away.
func (c *chip) Other() { c.Regs.Load32(intel.ICR) }

// Reset implements ring.Chip.
func (c *chip) Reset() error {
	const alone = 10 * intel.Tick // the I210 takes some ms
	return c.Restart(func() {
		c.Regs.Store32(intel.IMC, ^uint32(0))
		c.Regs.Store32(regEIMC, ^uint32(0))
	}, alone)
}
