package ring

import (
	"sync/atomic"

	"nidus/drivers/link"
	"nidus/drivers/nic"
)

// transmitter is the ring of frames that are sent, a nic.Queue.
type transmitter struct {
	nic.Sender
	chip   Chip
	flying []flight // by a frame's first slot
	oldest int      // slot of the first frame that the card has
	next   int      // slot that is free
	used   int
	done   atomic.Uint64 // frames that the card was done with
	busy   atomic.Bool   // it has some
	kicked int           // next, at the last Kick
}

// flight is a frame that the card has.
type flight struct {
	f     *link.Frame
	slots int
}

// Start implements nic.Queue.
func (t *transmitter) Start(f *link.Frame) nic.Started {
	// A card takes a ring whose ends meet for an empty one: one slot stays free.
	if len(t.flying)-t.used <= MostSlots {
		return nic.Full
	}
	n := t.chip.Put(t.next, f)
	if n == 0 {
		return nic.Refused
	}
	t.flying[t.next] = flight{f, n}
	t.next = (t.next + n) % len(t.flying)
	t.used += n
	t.busy.Store(true)
	return nic.Taken
}

// Kick implements nic.Queue.
func (t *transmitter) Kick() {
	if t.kicked != t.next {
		t.kicked = t.next
		t.chip.Kick(t.next)
	}
}

// Next implements nic.Queue.
func (t *transmitter) Next() (*link.Frame, error) {
	if t.used == 0 {
		return nil, nil
	}
	s := t.flying[t.oldest]
	if !t.chip.Sent((t.oldest + s.slots - 1) % len(t.flying)) {
		return nil, nil
	}
	t.flying[t.oldest] = flight{}
	t.oldest = (t.oldest + s.slots) % len(t.flying)
	t.used -= s.slots
	t.busy.Store(t.used > 0)
	t.done.Add(1)
	return s.f, nil
}

// Rearm implements nic.Queue: each frame that is done has an interrupt.
func (t *transmitter) Rearm() bool { return true }

// clear returns what is in flight, which Abandon is to be given, and begins with slot 0 again.
// Preconditions: Stop, and the card was reset or is no master any more.
func (t *transmitter) clear() (left []*link.Frame) {
	for _, s := range t.flying {
		if s.f != nil {
			left = append(left, s.f)
		}
	}
	clear(t.flying)
	t.oldest, t.next, t.used, t.kicked = 0, 0, 0, 0
	t.busy.Store(false)
	return left
}
