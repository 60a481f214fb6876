package ring

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listen lays a region out (see Format) and serves it: the listener accepts a
// connection for each client that attaches. The region may be unmapped when the
// listener and every connection of it are closed.
func Listen(region []byte, opts Options) (*Listener, error) {
	opts = opts.withDefaults()
	f, err := format(region, opts)
	if err != nil {
		return nil, err
	}
	return serve(f, opts), nil
}

// serve starts the service of a region that is laid out.
func serve(f *formatted, opts Options) *Listener {
	l := &Listener{
		formatted: f,
		opts:      opts,
		slots:     make([]hostSlot, f.geo.slots),
		conns:     make([]atomic.Pointer[Conn], f.geo.slots),
		done:      make(chan struct{}),
	}
	l.ready.L = &l.mu
	idle := idlePause
	if opts.Doorbell != nil {
		idle = idlePauseBell
	}
	l.wait.init(nil, min(idle, opts.beat()))
	for i := range l.conns {
		if opts.Doorbell != nil {
			l.stops = append(l.stops, opts.Doorbell.Answer(i, func() { l.rung(i) }))
			opts.Doorbell.Ring(i) // who was attached before learns of the reset
		}
	}
	go l.keep()
	return l
}

// The longest time between two looks for new clients. A host with a doorbell looks too:
// a client may have none.
const (
	idlePause     = 10 * time.Millisecond
	idlePauseBell = 50 * time.Millisecond
)

// A Listener is a region's host. It is a net.Listener.
type Listener struct {
	*formatted
	opts  Options
	ends  atomic.Bool            // HostEnds was called
	stops []func()               // of the doorbell's answers
	conns []atomic.Pointer[Conn] // of each slot, for who rings

	wait  waiter     // where the keeper sleeps
	slots []hostSlot // the keeper's alone
	done  chan struct{}

	mu     sync.Mutex
	ready  sync.Cond // queue or closed changed
	queue  []*Conn   // opened, not accepted
	open   int       // connections that are not closed here
	closed bool
}

// A hostSlot is what the keeper remembers of a slot.
type hostSlot struct {
	conn   *Conn  // nil: free
	beat   uint64 // the client's heart, when last seen
	began  bool   // it has moved since the host opened the slot
	missed int    // looks since it moved, or since the slot was claimed
	linger int    // looks since the host closed
}

// rung answers a bell.
func (l *Listener) rung(slot int) {
	c := l.conns[slot].Load()
	if c != nil {
		c.poke()
	}
	if c == nil || c.closed.Load() {
		l.wait.poke()
	}
}

// keep is the listener's goroutine: it opens slots for clients, ends them, and beats
// the host's heart.
func (l *Listener) keep() {
	defer close(l.done)
	var beats uint64
	tick := time.Now()
	for {
		now := time.Now()
		beat := now.Sub(tick) >= l.opts.beat()
		if beat || beats == 0 {
			tick = now
			beats++
			l.mem.word(offHostBeat).Store(beats)
		}
		if l.finished() {
			break
		}
		for i := range l.slots {
			if l.look(i, beat) {
				l.wait.progress()
			}
		}
		l.wait.sleep()
	}
	for _, stop := range l.stops {
		stop()
	}
}

// finished ends the service when the listener is closed, and says whether the last
// connection is, too.
func (l *Listener) finished() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.mem.word(offMagic).Store(0)
	}
	return l.closed && l.open == 0
}

// look does what there is to do for slot i; beat says that a heartbeat's time has
// passed since it last did. It reports whether the slot changed.
func (l *Listener) look(i int, beat bool) bool {
	s, at, epoch := &l.slots[i], l.geo.slot(i), l.epoch[i]
	if epochOf(l.mem.word(at+offDead).Load()) == epoch {
		l.end(i, endDead)
		return true
	}
	state := uint32(stateFree)
	if s.conn != nil {
		state = stateOpen
	}
	if beat && l.mem.word(at+offOffer).Load() != tagged(epoch, state) {
		// Nobody but the host may write it. With it nobody could claim the slot, and a
		// client that has it takes its connection for reset.
		l.end(i, endViolation|offOffer<<8)
		return true
	}
	if s.conn == nil {
		switch hello := l.mem.word(at + offHello).Load(); {
		case epochOf(hello) == epoch:
			l.admit(i, uint32(hello))
			return true
		case beat && epochOf(l.mem.word(at+offClaim).Load()) == epoch:
			// Claimed by a client that has not said hello: it died, or is about to.
			if s.missed++; s.missed >= startBeats {
				l.end(i, endSilent)
				return true
			}
		case beat:
			s.missed = 0
		}
		return false
	}

	c := s.conn
	if f := c.fault.Load(); f != nil {
		if p := (*ProtocolError)(nil); errors.As(*f, &p) {
			l.end(i, endViolation|uint32(p.off)<<8)
			return true
		}
	}
	// Of a slot that the client has closed only these bits still count; what else the
	// words hold is for Read to check.
	gone := l.mem.word(at+offClientTail).Load()&l.mem.word(at+offClientHead).Load()&closedBit != 0
	if gone {
		c.leave()
	}
	if c.closed.Load() {
		if gone {
			l.end(i, endClosed)
			return true
		}
		if beat {
			s.linger++
		}
		if s.linger >= missedBeats {
			l.end(i, endLinger)
			return true
		}
	}
	if beat && !gone {
		now := l.mem.word(at + offClientBeat).Load()
		if s.missed++; now != s.beat {
			s.beat, s.began, s.missed = now, true, 0
		}
		if s.missed >= missedBeats || s.missed >= startBeats && (!s.began || c.closed.Load()) {
			l.end(i, endSilent)
			return true
		}
	}
	return false
}

// admit opens slot i for the client that said hello.
func (l *Listener) admit(i int, features uint32) {
	offered := uint32(0)
	if l.opts.Doorbell != nil {
		offered = featureBell
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if features&^offered != 0 || l.closed {
		l.end(i, endViolation|offHello<<8)
		return
	}
	bell := l.opts.Doorbell
	if features&featureBell == 0 {
		bell = nil
	}
	c := newConn(l.mem, l.geo, i, l.epoch[i], true, bell, l.opts)
	c.finish, c.hostEnds = l.release, &l.ends
	c.in.publish(false) // whatever was written over them
	c.out.publish(false)
	l.slots[i] = hostSlot{conn: c, beat: l.mem.word(l.geo.slot(i) + offClientBeat).Load()}
	l.conns[i].Store(c)
	l.mem.word(l.geo.slot(i) + offOffer).Store(tagged(l.epoch[i], stateOpen))
	if bell != nil {
		bell.Ring(i)
	}
	l.open++
	l.queue = append(l.queue, c)
	l.ready.Signal()
}

// end offers slot i anew, under the next epoch.
func (l *Listener) end(i int, why uint32) {
	reason := resetBecause(hostReason(why))
	if c := l.slots[i].conn; c != nil {
		f := c.fail(reason)
		if p := (*ProtocolError)(nil); why&0xff == endViolation && errors.As(f, &p) {
			reason = f // it says what the word held
		}
		c.detach(false)
	}
	if l.opts.Dropped != nil && why != endClosed {
		l.opts.Dropped(i, reason)
	}
	l.conns[i].Store(nil)
	l.slots[i] = hostSlot{}
	l.mem.word(l.geo.slot(i) + offLast).Store(tagged(l.epoch[i], why))
	l.advance(i)
	l.offer(i)
	if l.opts.Doorbell != nil {
		l.opts.Doorbell.Ring(i)
	}
}

// release is the end of a connection's Close.
func (l *Listener) release() {
	l.mu.Lock()
	l.open--
	last := l.closed && l.open == 0
	l.mu.Unlock()
	l.wait.poke()
	if last {
		<-l.done
	}
}

// Accept waits for the next client.
func (l *Listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.ready.Wait()
	}
	if l.closed {
		return nil, l.closedError("accept")
	}
	c := l.queue[0]
	l.queue = append(l.queue[:0], l.queue[1:]...)
	return c, nil
}

// HostEnds closes all connections and tells the clients that the host itself ends: when
// they have read what there is, they get ErrPeerReset with that reason, instead of
// io.EOF. One that is admitted later is told when it is closed.
func (l *Listener) HostEnds() {
	l.ends.Store(true)
	for i := range l.conns {
		if c := l.conns[i].Load(); c != nil {
			c.Close()
		}
	}
}

// Close takes no more clients. Connections that were accepted go on; those that wait
// for Accept end.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.closedError("close")
	}
	l.closed = true
	waiting := l.queue
	l.queue = nil
	last := l.open == 0
	l.ready.Broadcast()
	l.mu.Unlock()
	l.wait.poke()
	for _, c := range waiting {
		c.Close()
	}
	if last {
		<-l.done
	}
	return nil
}

func (l *Listener) closedError(op string) error {
	return &net.OpError{Op: op, Net: "ring", Addr: l.Addr(), Err: net.ErrClosed}
}

// Addr returns the listener's address, which says how many slots it has.
func (l *Listener) Addr() net.Addr { return listenAddr(l.geo.slots) }

type listenAddr int

func (listenAddr) Network() string  { return "ring" }
func (a listenAddr) String() string { return fmt.Sprintf("host/0-%d", int(a)-1) }
