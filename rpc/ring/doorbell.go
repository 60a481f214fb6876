package ring

import "sync/atomic"

// A Doorbell is how the two sides of a region wake each other: an event channel, an
// interrupt, a call inside one image (Bells). Without one both sides poll.
//
// A bell is a hint: it may come late, twice or for nothing, and a peer may ring without
// end, so Ring and the functions that answer must not block.
type Doorbell interface {
	// Ring tells the other side that something in a slot changed.
	Ring(slot int)
	// Answer sets what is called when the other side has rung for a slot. A function set
	// before is forgotten. stop undoes this call unless another Answer came since.
	Answer(slot int, wake func()) (stop func())
}

// Answers keeps a Doorbell's answers: embed it, and call Wake for each bell that comes.
// The zero value answers no slot.
type Answers struct {
	wake [maxSlots]atomic.Pointer[func()]
}

// Answer implements Doorbell.
func (a *Answers) Answer(slot int, wake func()) (stop func()) {
	p := &a.wake[slot]
	p.Store(&wake)
	return func() { p.CompareAndSwap(&wake, nil) }
}

// Wake calls the answer of a slot, if it has one. Any number is allowed, as it may
// come from the peer.
func (a *Answers) Wake(slot int) {
	if slot < 0 || slot >= len(a.wake) {
		return
	}
	if f := a.wake[slot].Load(); f != nil {
		(*f)()
	}
}

// WakeAll is for a bell that does not say which slot it is for.
func (a *Answers) WakeAll() {
	for i := range a.wake {
		a.Wake(i)
	}
}

// Bells returns the doorbells of a region whose two sides are in one Go program.
func Bells() (host, client Doorbell) {
	h, c := new(bell), new(bell)
	h.other, c.other = c, h
	return h, c
}

type bell struct {
	Answers
	other *bell
}

func (b *bell) Ring(slot int) { b.other.Wake(slot) }
