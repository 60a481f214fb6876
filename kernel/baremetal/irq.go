//go:build tamago

package baremetal

import (
	"sync/atomic"
	_ "unsafe" // linkname

	"nidus/drivers/ioapic"
)

// Interrupts of devices. Each vector is a count and a futex; who serves it waits
// there, as a thread. A level-triggered line stays asserted until then, so its
// input is masked before the EOI, and unmasked by who has served it, in WaitIRQ.

var (
	// irqs counts the interrupts of each vector: the word that WaitIRQ waits on.
	irqs [256]uint32

	irqlock  uint32 // of what follows; interrupts are off
	ioapics  [16]mmio
	nioapics int
	irqLines [256]irqLine
)

// mmio is a mapped window of a device's registers: its address.
type mmio uint64

// Load implements ioapic.Registers.
func (r *mmio) Load(off uint32) uint32 { return ld32(uint64(*r) + uint64(off)) }

// Store implements ioapic.Registers.
func (r *mmio) Store(off, v uint32) { st32(uint64(*r)+uint64(off), v) }

// irqLine is what a vector is wired to. It has no pointer: see docs/runtime-seam.md.
type irqLine struct {
	chip   int // index into ioapics
	pin    uint32
	level  bool
	masked bool
}

// mask holds the line's interrupts back, or no longer. Preconditions: irqlock.
func (l *irqLine) mask(on bool) {
	chip := ioapic.Chip{Registers: &ioapics[l.chip]}
	l.masked = on
	if on {
		chip.Mask(l.pin)
	} else {
		chip.Unmask(l.pin)
	}
}

// RouteIRQ wires an input of the I/O APIC at physical address pa. It is false if that
// has no such input, or there is no room for its registers.
func RouteIRQ(pa uint64, pin uint32, l ioapic.Line) bool {
	base := MapMMIO(pa, ioapic.Size)
	return base != 0 && call(callRouteIRQ, base, uint64(pin), wordOf(l), 0) != 0
}

// wordOf packs a line into an argument of a call, lineOf takes it out.
func wordOf(l ioapic.Line) uint64 {
	w := uint64(l.Vector) | uint64(l.APICID)<<8
	if l.Low {
		w |= 1 << 16
	}
	if l.Level {
		w |= 1 << 17
	}
	return w
}

func lineOf(w uint64) ioapic.Line {
	return ioapic.Line{Vector: uint8(w), APICID: uint8(w >> 8), Low: w>>16&1 != 0, Level: w>>17&1 != 0}
}

func routeIRQ(base uint64, pin uint32, l ioapic.Line) (ok bool) {
	lock(&irqlock)
	i := 0
	for i < nioapics && ioapics[i] != mmio(base) {
		i++
	}
	if i < len(ioapics) {
		ioapics[i] = mmio(base)
		nioapics = max(nioapics, i+1)
		chip := ioapic.Chip{Registers: &ioapics[i]}
		irqLines[l.Vector] = irqLine{chip: i, pin: pin, level: l.Level}
		ok = chip.Route(pin, l)
	}
	unlock(&irqlock)
	return ok
}

// deviceInterrupt takes an interrupt in.
func deviceInterrupt(v uint64) {
	lock(&irqlock)
	irqs[v]++
	if l := &irqLines[v]; l.level {
		l.mask(true)
	}
	unlock(&irqlock)
	apicWrite(apicEOI, 0)
	lock(&klock)
	futexWake(addr(&irqs[v]), MaxThreads)
	unlockAndKick()
}

// served unmasks a level-triggered line whose interrupts up to the count seen have
// been served; not if there is a later one.
func served(v, seen uint64) {
	lock(&irqlock)
	if l := &irqLines[v&0xff]; l.masked && irqs[v&0xff] == uint32(seen) {
		l.mask(false)
	}
	unlock(&irqlock)
}

// WaitIRQ says that the interrupts of vector v up to the count seen are served,
// blocks until the count is another, and returns that. Counts begin at 0.
func WaitIRQ(v uint8, seen uint32) uint32 {
	if irqLines[v].level {
		call(callServed, uint64(v), uint64(seen), 0, 0)
	}
	p := &irqs[v]
	for atomic.LoadUint32(p) == seen {
		futexBlock(p, seen)
	}
	return atomic.LoadUint32(p)
}

// futexBlock waits while *p is v, or less long. The overlay has it.
//
//go:linkname futexBlock runtime.nidusFutexBlock
func futexBlock(p *uint32, v uint32)

// IRQCount is how many interrupts of vector v there were.
func IRQCount(v uint8) uint32 { return atomic.LoadUint32(&irqs[v]) }
