// Package e1000 drives Intel's network cards for Gigabit Ethernet of two families, as ports
// of package link: those for PCI and PCI-X (8254x), and the first for PCI Express (8257x),
// with MSI-X (82574), MSI, or neither.
//
// References: PCI/PCI-X Family of Gigabit Ethernet Controllers
// Software Developer's Manual (317453), "8254x manual", and 82574 GbE Controller Family
// Datasheet (317694), "82574".
package e1000

import (
	"nidus/drivers/device"
	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "e1000"

// model is what cards differ in.
type model struct {
	name    string
	express bool // 8257x, which also cut TCP on IPv6
}

// models are the cards with copper ports whose PHY needs no set-up.
var models = map[uint16]model{
	0x100e: {name: "82540EM"}, 0x1015: {name: "82540EM"}, 0x1016: {name: "82540EP"}, 0x1017: {name: "82540EP"}, 0x101e: {name: "82540EP"},
	0x100f: {name: "82545EM"}, 0x1026: {name: "82545GM"},
	0x1010: {name: "82546EB"}, 0x1079: {name: "82546GB"},
	0x105e: {name: "82571EB", express: true}, 0x107d: {name: "82572EI", express: true},
	0x10b9: {name: "82572EI", express: true}, 0x108b: {name: "82573V", express: true},
	0x108c: {name: "82573E", express: true}, 0x109a: {name: "82573L", express: true},
	0x10d3: {name: "82574L", express: true}, 0x10f6: {name: "82574LA", express: true},
	0x150c: {name: "82583V", express: true},
}

// Is tells whether a function is a card that the package drives.
func Is(f *pci.Function) bool {
	_, ok := models[f.Device]
	return ok && f.Vendor == intel.Vendor
}

// chip is an intel.Chip.
type chip struct{ intel.Base }

// Open sets a card up that is to be known as name. log takes a line about what happens to it
// later. The error wraps those of packages ring and pci, or mm.ErrNoMemory.
func Open(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (*ring.Card, error) {
	m := models[f.Device]
	c := &chip{intel.Base{Format: format, Owner: Owner, Model: m.name, Express: m.express, Six: m.express, Host: h, F: f}}
	return c.Open(c, name, log)
}

// Start implements ring.Chip (8254x manual, chapter 14; 82574, chapter 4).
func (c *chip) Start() {
	r := c.Regs
	c.Rings()
	r.Store32(regRDTR, 0)
	r.Store32(regRADV, 0)
	r.Store32(regTIDV, 0)
	txdctl := uint32(txdctlWT | txdctlGRAN)
	if c.Express {
		txdctl |= txdctlMust
	}
	r.Store32(intel.TXDCTL, txdctl)
	r.Store32(regTIPG, tipg)
	c.unmask()
	c.Connect()
	r.Store32(intel.TCTL, intel.TctlEN|intel.TctlPSP|intel.TctlCT|intel.TctlCOLD|intel.TctlRTLC)
	// What a bridge's guests get is not sent to the card's own address.
	r.Store32(intel.RCTL, intel.RctlEN|intel.RctlUPE|intel.RctlMPE|intel.RctlBAM|rctl4096|intel.RctlSECRC)
	c.Posted(0)
}

// unmask has the card send the messages that there are.
func (c *chip) unmask() {
	r := c.Regs
	switch {
	case c.MSIX != nil:
		for i := range uint64(numEITR) {
			r.Store32(regEITR0+4*i, itr)
		}
		// The queues' message takes its causes away itself, and masks them, or not: as
		// Rearm unmasks them, either does.
		r.Store32(regIVAR, ivar)
		r.Store32(regIAM, 0)
		r.Store32(regEIAC, causeRXQ0|causeTXQ0)
		r.Store32(intel.EXT, r.Load32(intel.EXT)&^extIAME|extPBA)
		r.Store32(intel.IMS, causeRXQ0|causeTXQ0|causeOther|intel.CauseLSC)
	case c.MSI:
		r.Store32(regITR, itr)
		r.Store32(intel.IMS, intel.CausesQueues|intel.CauseLSC)
	}
}

// Rearm implements ring.Chip.
func (c *chip) Rearm() {
	if c.MSIX != nil {
		c.Regs.Store32(intel.IMS, causeRXQ0|causeTXQ0)
	}
}

// Other implements intel.Chip. The causes have to be taken away before the next can come: ICR
// clears those that are written as ones.
func (c *chip) Other() { c.Regs.Store32(intel.ICR, causeOther|intel.CauseLSC) }

// Reset implements ring.Chip.
func (c *chip) Reset() error {
	const alone = intel.Tick // 1 us, before its registers are read again
	return c.Restart(func() { c.Regs.Store32(intel.IMC, ^uint32(0)) }, alone)
}
