// Package ioapic drives an I/O APIC: which vector of which CPU an input raises,
// and masking it while a level-triggered line is served.
//
// Reference: Intel 82093AA I/O APIC data sheet (290566), sections 3.1 and 3.2.
package ioapic

// Size of the registers' window in bytes.
const Size = 0x20

// Registers is a window of registers of 32 bits, by their offset in bytes.
type Registers interface {
	Load(off uint32) uint32
	Store(off, v uint32)
}

// Registers in memory, and those that they lead to.
const (
	selectReg = 0x00 // IOREGSEL
	window    = 0x10 // IOWIN

	version     = 0x01 // IOAPICVER
	redirection = 0x10 // IOREDTBL: two registers for each input
)

// Bits of the low half of a redirection entry.
const (
	entryLow    = 1 << 13
	entryLevel  = 1 << 15
	entryMasked = 1 << 16
)

// Chip is one I/O APIC. It is not safe for concurrent use: two registers make an
// access.
type Chip struct{ Registers }

// Line says where an input's interrupt goes and how the line is driven.
type Line struct {
	Vector uint8
	APICID uint8 // physical destination
	Low    bool  // active low
	Level  bool  // level-triggered
}

func (c *Chip) read(reg uint32) uint32 {
	c.Store(selectReg, reg)
	return c.Load(window)
}

func (c *Chip) write(reg, v uint32) {
	c.Store(selectReg, reg)
	c.Store(window, v)
}

// Pins is the number of inputs.
func (c *Chip) Pins() uint32 { return c.read(version)>>16&0xff + 1 }

// Route wires an input; interrupts may come from then on. It is false if the chip
// has no such input.
func (c *Chip) Route(pin uint32, l Line) bool {
	if pin >= c.Pins() {
		return false
	}
	v := uint32(l.Vector)
	if l.Low {
		v |= entryLow
	}
	if l.Level {
		v |= entryLevel
	}
	lo, hi := redirection+2*pin, redirection+2*pin+1
	c.write(lo, v|entryMasked) // not a moment with one half of each
	c.write(hi, uint32(l.APICID)<<24)
	c.write(lo, v)
	return true
}

// Mask holds an input's interrupts back; of a level-triggered one that is still
// asserted, Unmask raises another. Preconditions: Route.
func (c *Chip) Mask(pin uint32) { c.write(redirection+2*pin, c.read(redirection+2*pin)|entryMasked) }

// Unmask ends Mask.
func (c *Chip) Unmask(pin uint32) {
	c.write(redirection+2*pin, c.read(redirection+2*pin)&^entryMasked)
}
