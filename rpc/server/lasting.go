package server

import (
	"context"
	"net"
)

// Lasting is a listener that outlives those who serve its connections: one that comes in
// while nobody does waits for the next who does.
type Lasting struct {
	l     net.Listener
	conns chan net.Conn
	done  chan struct{} // closed when l has failed
	err   error         // why
}

// NewLasting makes one of l, which is its own from then on.
func NewLasting(l net.Listener) *Lasting {
	a := &Lasting{l: l, conns: make(chan net.Conn), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for {
			c, err := l.Accept()
			if err != nil {
				a.err = err
				return
			}
			a.conns <- c
		}
	}()
	return a
}

// Until returns a listener for who serves until ctx ends. There is one at a time.
func (a *Lasting) Until(ctx context.Context) net.Listener { return &term{a, ctx} }

// term is one who serves, as a net.Listener.
type term struct {
	*Lasting
	ctx context.Context
}

// Accept implements net.Listener.
func (t *term) Accept() (net.Conn, error) {
	if t.ctx.Err() != nil { // the next one takes those that wait
		return nil, net.ErrClosed
	}
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.done:
		return nil, t.err
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends nothing: the context does.
func (t *term) Close() error { return nil }

// Addr implements net.Listener.
func (t *term) Addr() net.Addr { return t.l.Addr() }
