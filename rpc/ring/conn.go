package ring

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is one end of a connection. It is a net.Conn; its errors are net.OpErrors, but
// for io.EOF, which Read returns when the peer closed in order. Read and Write copy,
// and don't allocate.
//
// Once Close has returned, the Conn does not touch the region any more (a host's: once
// the Listener is closed too).
type Conn struct {
	host  bool
	slot  int
	epoch uint32
	geo   geometry
	mem   memory // of the slot's header
	bell  Doorbell
	offer *atomic.Uint64 // for a client: holds as long as the connection does
	last  *atomic.Uint64

	rd, wr end
	in     consumer // guarded by rd.mu
	out    producer // guarded by wr.mu
	// Also guarded by wr.mu and rd.mu: CloseWrite was called; our words belong to the
	// slot's next connection, or we said our last.
	outClosed, detached bool

	fault  atomic.Pointer[error] // why the connection ended; nil while it lives
	closed atomic.Bool           // Close was called
	once   sync.Once
	finish func() // what Close does last
	ended  chan struct{}
	left   sync.Once // closes ended

	hostEnds *atomic.Bool // a host's: Listener.HostEnds was called
}

// An end is what reading and writing have alike.
type end struct {
	mu       sync.Mutex // one Read, or one Write, at a time
	wait     waiter
	deadline deadline
	peerWait *atomic.Uint64 // not 0: the peer wants a bell when our index moves
}

// errRefused is what Write returns when the peer has closed, or CloseWrite was called.
var errRefused = io.ErrClosedPipe

func newConn(mem memory, geo geometry, slot int, epoch uint32, host bool, bell Doorbell, opts Options) *Conn {
	at := geo.slot(slot)
	word := func(off int) *atomic.Uint64 { return mem.word(at + off) }
	c := &Conn{
		host: host, slot: slot, epoch: epoch, geo: geo, mem: mem, bell: bell,
		offer: word(offOffer), last: word(offLast), ended: make(chan struct{}),
	}
	toHost := mem[geo.toHost(slot):][:geo.ringSize:geo.ringSize]
	toClient := mem[geo.toClient(slot):][:geo.ringSize:geo.ringSize]
	peer := func(off int) view { return view{word: word(off), off: off, seen: tagged(epoch, 0)} }

	var rdFlag, wrFlag *atomic.Uint64
	if host {
		c.in = consumer{data: toHost, epoch: epoch, own: word(offHostHead), tail: peer(offClientTail)}
		c.out = producer{data: toClient, epoch: epoch, own: word(offHostTail), head: peer(offClientHead)}
		rdFlag, wrFlag = word(offHostRdWait), word(offHostWrWait)
		c.rd.peerWait, c.wr.peerWait = word(offClientWrWait), word(offClientRdWait)
	} else {
		c.in = consumer{data: toClient, epoch: epoch, own: word(offClientHead), tail: peer(offHostTail)}
		c.out = producer{data: toHost, epoch: epoch, own: word(offClientTail), head: peer(offHostHead)}
		rdFlag, wrFlag = word(offClientRdWait), word(offClientWrWait)
		c.rd.peerWait, c.wr.peerWait = word(offHostWrWait), word(offHostRdWait)
	}
	if bell == nil {
		rdFlag, wrFlag = nil, nil
	}
	c.rd.wait.init(rdFlag, opts.MaxPause)
	c.wr.wait.init(wrFlag, opts.MaxPause)
	return c
}

// Read takes what has arrived, at least one byte.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && err != io.EOF {
		err = c.opError("read", err)
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	for {
		if err := c.alive(&c.rd); err != nil {
			return 0, err
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := c.in.avail()
		if err != nil {
			return 0, c.broken(err)
		}
		if n == 0 {
			if c.in.tail.closed {
				return 0, c.closedByPeer(io.EOF)
			}
			c.rd.wait.wait(c.in.tail.word, c.in.tail.seen)
			continue
		}
		n = min(n, len(p))
		c.in.take(p[:n])
		if err := c.current(); err != nil {
			return 0, err
		}
		c.in.publish(false)
		c.moved(&c.rd)
		return n, nil
	}
}

// Write returns when all of p is in the ring. It may be longer than the ring: then the
// peer has to read meanwhile.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.write(p)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

func (c *Conn) write(p []byte) (done int, err error) {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	for {
		if err := c.alive(&c.wr); err != nil {
			return done, err
		}
		if c.outClosed {
			return done, errRefused
		}
		room, err := c.out.room()
		if err != nil {
			return done, c.broken(err)
		}
		if c.out.head.closed {
			return done, c.closedByPeer(errRefused)
		}
		if done == len(p) {
			return done, nil
		}
		if room == 0 {
			c.wr.wait.wait(c.out.head.word, c.out.head.seen)
			continue
		}
		n := min(room, len(p)-done)
		c.out.put(p[done : done+n])
		if err := c.current(); err != nil {
			return done, err
		}
		c.out.publish(false)
		c.moved(&c.wr)
		if done += n; done == len(p) {
			return done, nil
		}
	}
}

// alive says whether an operation may go on.
func (c *Conn) alive(e *end) error {
	if f := c.fault.Load(); f != nil {
		return *f
	}
	if e.deadline.passed() {
		return os.ErrDeadlineExceeded
	}
	return c.current()
}

// current says whether the slot is still this connection's. A client looks before it
// publishes anything: after a host's new start its words may be another client's.
func (c *Conn) current() error {
	if c.host {
		return nil // it decides that itself, under both locks (detach)
	}
	if w := c.offer.Load(); w != tagged(c.epoch, stateOpen) {
		return c.fail(c.resetError())
	}
	return nil
}

// resetError says why the host ended this connection, if it says so itself.
func (c *Conn) resetError() error {
	why := "the host started anew"
	if w := c.last.Load(); epochOf(w) == c.epoch {
		why = endReason(uint32(w))
	}
	return resetBecause(why)
}

// closedByPeer is err, unless the peer is a host that has closed because it ends.
func (c *Conn) closedByPeer(err error) error {
	if w := c.last.Load(); !c.host && epochOf(w) == c.epoch && uint32(w)&0xff == endHost {
		return c.fail(c.resetError())
	}
	return err
}

// broken ends the connection for what the peer's words hold, and returns why.
func (c *Conn) broken(err error) error {
	if p := (*ProtocolError)(nil); errors.As(err, &p) {
		p.Slot = c.slot
	}
	if e := c.current(); e != nil {
		return e // the words are another connection's
	}
	return c.fail(err)
}

// fail ends the connection, and every operation that waits on it. The first reason
// counts; it is returned.
func (c *Conn) fail(err error) error {
	if !c.fault.CompareAndSwap(nil, &err) {
		return *c.fault.Load()
	}
	c.leave()
	c.poke()
	return err
}

// Ended is closed when the connection has failed or was closed here, and of a host's
// also when the client has closed it in both directions or died, soon after, whether or
// not anybody reads.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

func (c *Conn) leave() { c.left.Do(func() { close(c.ended) }) }

// poke lets both ends look again.
func (c *Conn) poke() {
	c.rd.wait.poke()
	c.wr.wait.poke()
}

// moved wakes the peer if it sleeps for what e has just published.
func (c *Conn) moved(e *end) {
	e.wait.progress()
	if c.bell != nil && e.peerWait.Load() != 0 {
		c.bell.Ring(c.slot)
	}
}

// CloseWrite ends the stream to the peer: when it has read what there is, it gets
// io.EOF. Reading goes on. A Write that waits for room is let finish first.
func (c *Conn) CloseWrite() error {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	if err := c.alive(&c.wr); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return c.opError("close", err)
	}
	c.outClosed = true
	c.out.publish(true)
	c.moved(&c.wr)
	return nil
}

// Close ends the connection in both directions. Operations that wait return
// net.ErrClosed. The peer can still read what was written.
func (c *Conn) Close() error {
	err := error(net.ErrClosed)
	c.once.Do(func() {
		why := c.fail(net.ErrClosed)
		c.closed.Store(true)
		// A host's last word on a connection that broke is its reason (Listener.end).
		c.detach(why == net.ErrClosed || !c.host)
		c.rd.deadline.set(time.Time{}, nil)
		c.wr.deadline.set(time.Time{}, nil)
		c.finish()
		err = nil
	})
	if err != nil {
		return c.opError("close", err)
	}
	return nil
}

// detach waits until no Read or Write touches the slot, and keeps later ones from it.
// If say, the peer learns that nothing comes any more and nothing will be read.
// Preconditions: fail was called.
func (c *Conn) detach(say bool) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	if c.detached {
		return
	}
	c.detached = true
	if !say || c.current() != nil {
		return
	}
	c.outClosed = true
	if c.host && c.hostEnds.Load() { // before the closed bits, with which it is read
		c.last.Store(tagged(c.epoch, endHost))
	}
	c.out.publish(true)
	c.in.publish(true)
	if c.bell != nil {
		c.bell.Ring(c.slot)
	}
}

// LocalAddr returns this end's Addr.
func (c *Conn) LocalAddr() net.Addr { return Addr{c.host, c.slot, c.epoch} }

// RemoteAddr returns the peer's Addr.
func (c *Conn) RemoteAddr() net.Addr { return Addr{!c.host, c.slot, c.epoch} }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes Read, also one that waits now, return os.ErrDeadlineExceeded
// from t on. The zero time takes the deadline away.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.rd, t) }

// SetWriteDeadline does the same for Write, which then says how much it wrote.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.wr, t) }

func (c *Conn) setDeadline(e *end, t time.Time) error {
	if c.closed.Load() {
		return c.opError("set", net.ErrClosed)
	}
	e.deadline.set(t, &e.wait)
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "ring", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
