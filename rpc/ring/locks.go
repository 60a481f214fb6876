package ring

// Locks are one lock for each slot, shared by the clients of a region, that the operating
// system takes from a program that ends, however it ends. A client holds its slot's lock
// for as long as it has the slot, so that the next one to dial finds the slots of those
// that were killed, and need not wait until the host misses their heartbeats.
type Locks interface {
	// TryLock takes a slot's lock, unless somebody else has it or it can't be told.
	// It does not wait. A Locks is one connection's: to it, its own locks are free.
	TryLock(slot int) (unlock func(), ok bool)
}

// reap tells the host of each client that is dead: its claim says that it holds the
// slot's lock, which is free. The host ends the connection within the pause between two
// of its looks, milliseconds, and offers the slot anew.
func (d *dialer) reap(h header) {
	if d.opts.Locks == nil {
		return
	}
	for i := range h.slots {
		if _, left := d.left(h.slot(i)); !left {
			continue
		}
		unlock, ok := d.opts.Locks.TryLock(i)
		if !ok {
			continue
		}
		if epoch, left := d.left(h.slot(i)); left { // still, now that nobody can claim it
			d.mem.word(h.slot(i) + offDead).Store(tagged(epoch, 0))
		}
		unlock()
	}
}

// left says whether the slot there is claimed by a client that says it holds the lock,
// and has not closed. One that closed in order is the host's, which may not have read
// its last bytes yet.
func (d *dialer) left(at int) (epoch uint32, left bool) {
	word := func(off int) uint64 { return d.mem.word(at + off).Load() }
	epoch = epochOf(word(offOffer))
	if epoch == 0 || word(offClaim) != tagged(epoch, lockedClaim) {
		return 0, false
	}
	for _, off := range []int{offClientTail, offClientHead} {
		if w := word(off); epochOf(w) != epoch || w&closedBit == 0 {
			return epoch, true
		}
	}
	return epoch, false
}
