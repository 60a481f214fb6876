package mtls

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// Options are a listener's; zeros mean the defaults where there are some.
type Options struct {
	// Identity is the host's, and Clients those who may connect.
	Identity *Identity
	Clients  *authorized.List
	// Handshakes is how many may be in flight (16). One more ends the oldest, so that
	// peers that stall keep nobody out who doesn't.
	Handshakes int
	// HandshakeTime is how long one may take (10 s).
	HandshakeTime time.Duration
	// Now is the clock that certificates are held against (time.Now).
	Now func() time.Time
	// Log is told of peers that are refused; may be nil.
	Log func(format string, args ...any)
}

// Listen makes the handshakes of l's connections. Only those whose client is on the
// list come out of Accept, each as a *Conn. Close closes l.
func Listen(l net.Listener, opt Options) net.Listener {
	if opt.Handshakes <= 0 {
		opt.Handshakes = 16
	}
	if opt.HandshakeTime <= 0 {
		opt.HandshakeTime = 10 * time.Second
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	m := &listener{Listener: l, opt: opt, tls: config(opt.Identity), ready: make(chan net.Conn), done: make(chan struct{})}
	m.tls.ClientAuth = tls.RequireAnyClientCert
	m.wg.Go(m.accept)
	return m
}

type listener struct {
	net.Listener
	opt   Options
	tls   *tls.Config
	ready chan net.Conn
	done  chan struct{} // closed at the end
	wg    sync.WaitGroup

	mu       sync.Mutex
	err      error      // why done is closed
	inFlight []net.Conn // in handshakes, the oldest first
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, l.err
	}
}

// Close implements net.Listener. Connections that Accept returned stay.
func (l *listener) Close() error {
	err := l.end(net.ErrClosed)
	l.wg.Wait()
	return err
}

// end stops everything, once, for a reason.
func (l *listener) end(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil
	}
	l.err = why
	close(l.done)
	for _, c := range l.inFlight {
		c.Close()
	}
	return l.Listener.Close()
}

func (l *listener) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.end(err)
			return
		}
		if !l.begin(c) {
			c.Close()
			return
		}
		l.wg.Go(func() {
			defer l.over(c)
			l.handshake(c)
		})
	}
}

// begin counts a handshake, and ends the oldest if there are too many; false: the
// listener is at its end.
func (l *listener) begin(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	if len(l.inFlight) >= l.opt.Handshakes {
		l.inFlight[0].Close()
		l.inFlight = slices.Delete(l.inFlight, 0, 1)
	}
	l.inFlight = append(l.inFlight, c)
	return true
}

// over is begin's end; a second time it does nothing.
func (l *listener) over(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.inFlight, c); i >= 0 {
		l.inFlight = slices.Delete(l.inFlight, i, i+1)
	}
}

// plainAnswer is what a peer that speaks no TLS is told: it may be a person.
const plainAnswer = "nidus: this port speaks TLS; connect with: xl -H tls:HOST:PORT\r\n"

// handshake brings a connection to Accept, or closes it.
func (l *listener) handshake(c net.Conn) {
	c.SetDeadline(time.Now().Add(l.opt.HandshakeTime))
	t := tls.Server(c, l.tls)
	err := t.Handshake()
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil {
		plain.Conn.Write([]byte(plainAnswer)) // if it comes to nothing, so be it
	}
	if err != nil {
		l.opt.Log("%v: no handshake: %v", c.RemoteAddr(), err)
		c.Close()
		return
	}
	conn := &Conn{Conn: t}
	if err = l.admit(conn); err == nil {
		l.over(c) // before the client hears it: one that is served is not in flight
	} else {
		l.opt.Log("%v: refused: %v", c.RemoteAddr(), err)
	}
	if _, werr := t.Write(greeting(err)); err != nil || werr != nil {
		conn.Close()
		return
	}
	c.SetDeadline(time.Time{})
	select {
	case l.ready <- conn:
	case <-l.done:
		conn.Close()
	}
}

// admit finds the client of a connection.
func (l *listener) admit(c *Conn) (err error) {
	state := c.Conn.ConnectionState()
	if state.NegotiatedProtocol != protocol {
		return control.Errorf(control.ErrVersion, "this port is a Nidus host's control plane, which the client did not ask for")
	}
	cert := state.PeerCertificates[0]
	if err := inTime(cert, l.opt.Now(), "the client's", "make another with: xl cert init --renew"); err != nil {
		return err
	}
	// What changes the client's rights can't wait for it to listen.
	c.session, err = l.opt.Clients.Admit(fingerprint(cert), func() { c.Conn.NetConn().Close() })
	return err
}

// Conn is the host's end of a connection of a client that is on the list. It is a
// server.Peer.
type Conn struct {
	*tls.Conn
	session *authorized.Session
	once    sync.Once
}

// Client returns who is at the other end, as the list had it when the connection began.
func (c *Conn) Client() control.RemoteClient { return c.session.RemoteClient }

// May implements server.Peer.
func (c *Conn) May(what string, changes bool) error { return c.session.May(what, changes) }

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		if c.session != nil {
			c.session.Leave()
		}
	})
	return c.Conn.Close()
}
