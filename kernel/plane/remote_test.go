package plane

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// mortal is a client's end of a connection that breaks after so many bytes.
type mortal struct {
	net.Conn
	left atomic.Int64 // bytes of both directions
}

func (m *mortal) count(n int, err error) (int, error) {
	if m.left.Add(-int64(n)) < 0 {
		m.Close()
	}
	return n, err
}

func (m *mortal) Read(b []byte) (int, error)  { return m.count(m.Conn.Read(b)) }
func (m *mortal) Write(b []byte) (int, error) { return m.count(m.Conn.Write(b)) }

// remote serves the plane to a client that dies after so many bytes; served is closed
// when all of its calls have returned.
func remote(t *testing.T, p *Plane, bytes int64) (c *client.Client, conn *mortal, served chan struct{}) {
	ours, theirs := net.Pipe()
	served = make(chan struct{})
	go func() {
		defer close(served)
		server.New(p, server.Options{}).ServeConn(p.ctx, theirs)
	}()
	conn = &mortal{Conn: ours}
	conn.left.Store(bytes)
	c, err := client.New(context.Background(), conn)
	if err != nil {
		conn.Close()
		if !errors.Is(err, control.ErrDisconnected) {
			t.Error(err)
		}
	}
	return c, conn, served
}

// A client that is killed at any moment leaves a whole domain, or none.
func TestKilledClient(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	whole := h.create(p, config("a"))
	pages := whole.Space.TotPages()
	if err := p.Destroy(context.Background(), control.DomID(whole.ID)); err != nil {
		t.Fatal(err)
	}
	made, none := 0, 0
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 100 {
		budget, step := int64(1<<40), atomic.Int32{}
		if i%2 == 0 { // somewhere on the wire; or else at a step of Create
			budget = r.Int64N(900)
		} else {
			step.Store(1 + r.Int32N(7))
		}
		c, conn, served := remote(t, p, budget)
		h.c.Point = func(string) {
			if step.Add(-1) == 0 {
				conn.Close()
			}
		}
		if c != nil {
			id, err := c.Create(context.Background(), config("a"), control.CreateOptions{Paused: true})
			if err != nil && !errors.Is(err, control.ErrDisconnected) || err == nil && id == 0 {
				t.Errorf("%d: %d, %v", i, id, err)
			}
			c.Close()
		}
		<-served
		h.c.Point = nil
		if e := h.c.Lookup("a"); e == nil {
			none++
		} else {
			made++
			if got := h.read(h.store(e), "cpu/0/availability"); got != "online" || !e.Paused() || len(e.VCPUs) != 1 || e.Space.TotPages() != pages {
				t.Errorf("%d: half a domain: %q", i, got)
			}
			if err := p.Destroy(context.Background(), control.DomID(e.ID)); err != nil {
				t.Error(err)
			}
		}
		if h.names() != "" {
			t.Fatalf("%d: %s", i, h.names())
		}
	}
	t.Logf("%d domains made, %d not", made, none)
	if made < 10 || none < 10 {
		t.Errorf("%d domains made, %d not: the moments are badly chosen", made, none)
	}
}
