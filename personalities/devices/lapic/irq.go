package lapic

import "math/bits"

// firstVector is the lowest one an APIC takes; below are exceptions (10.5.2).
const firstVector = 16

// Post makes an edge-triggered interrupt of vector pending, from anywhere and
// at any time: event-channel upcalls, posted timers. It waits in IRR while the
// APIC is disabled by software. Post doesn't kick the vcpu; it tells whether
// the bit is new, so that somebody should.
func (a *APIC) Post(vector uint8) (fresh bool) {
	if vector < firstVector {
		a.errors.Or(errReceiveIllegal)
		return false
	}
	a.tmr[vector/32].And(^(uint32(1) << (vector % 32)))
	return a.setIRR(vector)
}

// PostLevel is Post for a level-triggered interrupt: its EOI is reported.
func (a *APIC) PostLevel(vector uint8) (fresh bool) {
	if vector < firstVector {
		a.errors.Or(errReceiveIllegal)
		return false
	}
	a.tmr[vector/32].Or(1 << (vector % 32))
	return a.setIRR(vector)
}

func (a *APIC) setIRR(vector uint8) (fresh bool) {
	bit := uint32(1) << (vector % 32)
	return a.irr[vector/32].Or(bit)&bit == 0
}

// highestIRR and highestISR return the highest vector set, or -1.
func (a *APIC) highestIRR() int {
	for i := len(a.irr) - 1; i >= 0; i-- {
		if w := a.irr[i].Load(); w != 0 {
			return i*32 + bits.Len32(w) - 1
		}
	}
	return -1
}

func (a *APIC) highestISR() int {
	for i := len(a.isr) - 1; i >= 0; i-- {
		if w := a.isr[i]; w != 0 {
			return i*32 + bits.Len32(w) - 1
		}
	}
	return -1
}

// ppr is the processor priority (10.8.3.1).
func (a *APIC) ppr() uint32 {
	isrv := a.highestISR()
	if isrv < 0 || uint32(isrv)&0xf0 <= a.tpr&0xf0 {
		return a.tpr
	}
	return uint32(isrv) & 0xf0
}

// PendingVector returns the interrupt to inject next: the highest of IRR, if
// its class is above the processor's priority.
func (a *APIC) PendingVector() (vector uint8, ok bool) {
	if !a.HardwareEnabled() || !a.softwareEnabled() {
		return 0, false
	}
	v := a.highestIRR()
	if v < 0 || uint32(v)&0xf0 <= a.ppr()&0xf0 {
		return 0, false
	}
	return uint8(v), true
}

// HasPending tells whether PendingVector has one.
func (a *APIC) HasPending() bool {
	_, ok := a.PendingVector()
	return ok
}

// Ack takes vector as injected: it moves from IRR to ISR. Only a vector that
// PendingVector just returned may be acknowledged; another one is refused.
func (a *APIC) Ack(vector uint8) (ok bool) {
	bit := uint32(1) << (vector % 32)
	if vector < firstVector || a.irr[vector/32].And(^bit)&bit == 0 {
		return false
	}
	a.isr[vector/32] |= bit
	return true
}

// eoi ends the interrupt in service with the highest priority (10.8.5).
func (a *APIC) eoi() {
	v := a.highestISR()
	if v < 0 {
		return
	}
	bit := uint32(1) << (v % 32)
	a.isr[v/32] &^= bit
	if a.tmr[v/32].Load()&bit != 0 {
		a.bus.vcpus.EOI(a.index, uint8(v))
	}
}

// CR8 is the task priority as MOV from CR8 sees it (10.8.6.1).
func (a *APIC) CR8() uint8 { return uint8(a.tpr >> 4) }

// SetCR8 writes the task priority as MOV to CR8 does; bits above 3 are the
// caller's to refuse.
func (a *APIC) SetCR8(v uint8) { a.tpr = uint32(v&0xf) << 4 }

// SpuriousVector is the SVR's.
func (a *APIC) SpuriousVector() uint8 { return uint8(a.svr) }

// raiseLVT delivers a local interrupt, unless its entry is masked.
func (a *APIC) raiseLVT(n int) {
	e := a.lvt[n]
	if e&lvtMasked != 0 || !a.HardwareEnabled() || !a.softwareEnabled() {
		return
	}
	mode := DeliveryMode(e >> 8 & 7)
	if n == lvtTimer || n == lvtError {
		mode = Fixed
	}
	switch mode {
	case Fixed:
		if e&lvtVector < firstVector {
			// Straight to the errors: an illegal vector in the
			// error entry itself must not come here again.
			a.errors.Or(errReceiveIllegal)
			return
		}
		a.Post(uint8(e))
		a.bus.vcpus.Kick(a.index)
	case NMI:
		a.bus.vcpus.NMI(a.index)
	}
}

// RaiseLINT is an edge on pin 0 or 1. ExtINT says that the entry wants the
// 8259's vector, which the caller then injects itself.
func (a *APIC) RaiseLINT(pin int) (extINT bool) {
	n := lvtLINT0 + pin&1
	if e := a.lvt[n]; e&lvtMasked == 0 && DeliveryMode(e>>8&7) == ExtINT {
		return a.HardwareEnabled()
	}
	a.raiseLVT(n)
	return false
}
