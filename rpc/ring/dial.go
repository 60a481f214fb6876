package ring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Dial attaches to a region that a host serves. It waits for the host to start and for
// a slot to be free until ctx ends, and then says which of the two it missed (ErrNoHost,
// ErrBusy; the error is also ctx's).
//
// The region may be unmapped when the connection is closed.
func Dial(ctx context.Context, region []byte, opts Options) (net.Conn, error) {
	mem, err := newMemory(region)
	if err != nil {
		return nil, err
	}
	d := &dialer{mem: mem, opts: opts.withDefaults()}
	d.heart.since, d.heart.beat = time.Now(), mem.word(offHostBeat).Load()
	d.wait.init(nil, d.opts.MaxPause)
	unhook := context.AfterFunc(ctx, d.wait.poke)
	defer unhook()
	for {
		c, err := d.try(ctx)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, ErrNoHost) && !errors.Is(err, ErrBusy) {
			return nil, err
		}
		if e := context.Cause(ctx); e != nil {
			return nil, fmt.Errorf("%w: %w", d.stale(err), e)
		}
		d.wait.sleep()
	}
}

// A dialer is an attempt to attach.
type dialer struct {
	mem  memory
	opts Options
	wait waiter

	// A host whose heart stood still, and where: it has to beat before it is tried again.
	silent   bool
	lastBeat uint64

	// What the host's heart was at when the attempt began. A region stays as it is when
	// its host dies, with slots that look taken.
	heart struct {
		beat  uint64
		since time.Time
	}
}

// stale is err, unless the host's heart has not beaten once in the time of several.
func (d *dialer) stale(err error) error {
	const several = 3
	stood := time.Since(d.heart.since)
	if errors.Is(err, errSilent) || d.mem.word(offMagic).Load() != Magic || d.mem.word(offHostBeat).Load() != d.heart.beat || stood < several*d.opts.beat() {
		return err
	}
	return fmt.Errorf("%w: there was one, but its heart has stood still for %v: it has died, or this is an old region", ErrNoHost, stood.Round(100*time.Millisecond))
}

var errSilent = fmt.Errorf("%w: there was one, but its heartbeat has stopped", ErrNoHost)

// header is a region's header, loaded once and checked.
type header struct {
	geometry
	generation uint64
	features   uint32
}

// header loads the region's header.
func (d *dialer) header() (header, error) {
	word := func(off int) uint64 { return d.mem.word(off).Load() }
	switch magic := word(offMagic); magic {
	case Magic:
	case 0:
		return header{}, fmt.Errorf("%w: nobody serves the region: none has started, or it has ended", ErrNoHost)
	default:
		return header{}, fmt.Errorf("%w: it starts with %#x, need %#x", ErrFormat, magic, uint64(Magic))
	}
	h := header{generation: word(offGeneration), features: uint32(word(offFeatures))}
	version := word(offVersion)
	slots, slotSize, ringSize := word(offSlots), word(offSlotSize), word(offRingSize)
	if word(offMagic) != Magic || word(offGeneration) != h.generation {
		return header{}, fmt.Errorf("%w: it is starting", ErrNoHost)
	}
	if version>>32 != VersionMajor {
		return header{}, fmt.Errorf("%w: the host's is %d.%d, this client's %d.%d: use the client that came with the host",
			ErrVersion, version>>32, uint32(version), VersionMajor, VersionMinor)
	}
	if slots > maxSlots || ringSize > maxRingSize {
		return header{}, fmt.Errorf("%w: %d slots with rings of %d bytes", ErrFormat, slots, ringSize)
	}
	h.geometry = geometry{slots: int(slots), ringSize: int(ringSize)}
	if err := h.check(len(d.mem)); err != nil {
		return header{}, err
	}
	if slotSize != uint64(h.slotSize()) {
		return header{}, fmt.Errorf("%w: slots of %d bytes with rings of %d, need %d",
			ErrFormat, slotSize, ringSize, h.slotSize())
	}
	return h, nil
}

// try claims a slot and waits until the host has opened it.
func (d *dialer) try(ctx context.Context) (*Conn, error) {
	h, err := d.header()
	if err != nil {
		return nil, err
	}
	if d.silent && d.mem.word(offHostBeat).Load() == d.lastBeat {
		return nil, errSilent
	}
	d.reap(h)
	slot, epoch, unlock, ok := d.claim(h)
	if !ok {
		return nil, fmt.Errorf("%w: %d of them", ErrBusy, h.slots)
	}
	bell := d.opts.Doorbell
	features := uint32(featureBell)
	if h.features&featureBell == 0 || bell == nil {
		bell, features = nil, 0
	}
	c := newConn(d.mem, h.geometry, slot, epoch, false, bell, d.opts)
	k := &clientKeeper{Conn: c, unlock: sync.OnceFunc(unlock), stop: make(chan struct{}), done: make(chan struct{})}
	c.finish = k.end
	if bell != nil {
		k.unhook = bell.Answer(slot, c.poke)
	}
	at := h.slot(slot)
	for _, off := range []int{offClientRdWait, offClientWrWait, offClientBeat} {
		d.mem.word(at + off).Store(0)
	}
	c.in.publish(false)
	c.out.publish(false)
	d.mem.word(at + offHello).Store(tagged(epoch, features))
	if d.opts.Doorbell != nil {
		d.opts.Doorbell.Ring(slot)
	}

	beats, missed, looked := d.mem.word(offHostBeat).Load(), 0, time.Now()
	for {
		switch offer := c.offer.Load(); offer {
		case tagged(epoch, stateOpen):
			d.mem.word(at + offClientBeat).Store(1) // the host waits less long for the first
			go k.keep(d.mem, d.opts)
			return c, nil
		case tagged(epoch, stateFree):
		default:
			k.withdraw()
			return nil, fmt.Errorf("%w: it gave slot %d away: %w", ErrNoHost, slot, c.resetError())
		}
		if now := time.Now(); now.Sub(looked) >= d.opts.beat() {
			looked = now
			if b := d.mem.word(offHostBeat).Load(); b != beats {
				beats, missed = b, 0
			} else {
				missed++
			}
		}
		switch cause := context.Cause(ctx); {
		case missed >= missedBeats:
			d.silent, d.lastBeat = true, beats
			err = errSilent
		case cause != nil:
			err = fmt.Errorf("%w: it does not answer (yet)", ErrNoHost)
		default:
			d.wait.sleep()
			continue
		}
		k.withdraw()
		return nil, err
	}
}

// claim takes a free slot from the other clients.
//
// It takes the slot's lock first, if there are locks: whoever sees the claim then knows
// that a lock that is free was its owner's.
func (d *dialer) claim(h header) (slot int, epoch uint32, unlock func(), ok bool) {
	for i := range h.slots {
		offer := d.mem.word(h.slot(i) + offOffer).Load()
		if uint32(offer) != stateFree || epochOf(offer) == 0 {
			continue
		}
		claim := d.mem.word(h.slot(i) + offClaim)
		was := claim.Load()
		if epochOf(was) == epochOf(offer) {
			continue
		}
		unlock, number := func() {}, rand.Uint32()
		if d.opts.Locks != nil {
			if unlock, ok = d.opts.Locks.TryLock(i); !ok {
				continue
			}
			number = lockedClaim
		}
		if claim.CompareAndSwap(was, tagged(epochOf(offer), number)) {
			return i, epochOf(offer), unlock, true
		}
		unlock()
	}
	return 0, 0, nil, false
}

// A clientKeeper beats a client's heart, and listens to the host's.
type clientKeeper struct {
	*Conn
	unhook     func() // the doorbell's answer; may be nil
	unlock     func() // the slot's lock
	stop, done chan struct{}
}

func (k *clientKeeper) keep(mem memory, opts Options) {
	defer close(k.done)
	defer k.unlock() // the slot is another's as soon as the host says so
	tick := time.NewTicker(opts.beat())
	defer tick.Stop()
	own, host := k.mem.word(k.geo.slot(k.slot)+offClientBeat), mem.word(offHostBeat)
	beats := uint64(1)
	seen, missed := host.Load(), 0
	for {
		select {
		case <-k.stop:
			return
		case <-tick.C:
		}
		if k.current() != nil {
			return
		}
		beats++
		own.Store(beats)
		if missed++; host.Load() != seen {
			seen, missed = host.Load(), 0
		}
		if missed >= missedBeats {
			k.fail(resetBecause("the host's heartbeat stopped"))
			return
		}
	}
}

// withdraw gives up a connection whose keeper never started. The host may open it all
// the same, and then finds it closed.
func (k *clientKeeper) withdraw() {
	close(k.done)
	if epochOf(k.offer.Load()) == k.epoch {
		k.out.publish(true)
		k.in.publish(true)
	}
	k.Close()
}

// end is the end of the connection's Close.
func (k *clientKeeper) end() {
	close(k.stop)
	<-k.done
	if k.unhook != nil {
		k.unhook()
	}
	k.unlock()
}
