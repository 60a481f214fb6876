package nat

import (
	"io"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"nidus/kernel/hostnet/ipstack"
)

// connections is how many of TCP a stack has something of, but for those that listen.
func connections(st *ipstack.Stack) (n int) {
	for _, e := range append(st.RegisteredEndpoints(), st.CleanupEndpoints()...) {
		if t, ok := e.(*tcp.Endpoint); ok && t.EndpointState() != tcp.StateListen && t.EndpointState() != tcp.StateClose && t.EndpointState() != tcp.StateError {
			n++
		}
	}
	return n
}

// until waits for something to become so.
func (s *setting) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			flows, _, _ := s.net.Flows()
			s.t.Fatalf("it does not happen that %s: %d flows, %d and %d connections", what, flows, connections(s.net.st), connections(s.host))
		}
	}
}

// TestOrphans: what a guest never takes is given up in time, and counts until then.
func TestOrphans(t *testing.T) {
	s := newSetting(t, Config{})
	s.net.ending.last = 300 * time.Millisecond
	s.boot()
	small := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 4096, Max: 4096}
	if err := s.guest.SetTransportProtocolOption(tcp.ProtocolNumber, &small); err != nil {
		t.Fatal(err)
	}
	l, err := s.world.ListenTCP(80)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(make([]byte, 100000))
			c.Close()
		}
		said <- err
	}()
	c, err := s.dial(s.guest, "192.0.2.9:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.CloseWrite() // and it reads nothing
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	s.until("all is said but to the guest", func() bool { return connections(s.host) == 0 })
	if flows, _, _ := s.net.Flows(); flows != 1 || connections(s.net.st) != 1 {
		t.Errorf("%d flows, %d connections", flows, connections(s.net.st))
	}
	s.until("nothing is left", func() bool { flows, _, _ := s.net.Flows(); return flows == 0 })
	if n := connections(s.net.st); n != 0 {
		t.Errorf("%d connections don't count", n)
	}
}

// TestEnds: of a connection that is over the stacks keep nothing, whoever ended it first.
func TestEnds(t *testing.T) {
	s := newSetting(t, Config{})
	s.echoServer(s.world, 80)
	s.boot()
	for range 20 {
		c, err := s.dial(s.guest, "192.0.2.9:80")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.says(c, "x"); err != nil || got != "192.0.2.2 x" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	s.until("all is over", func() bool { flows, _, _ := s.net.Flows(); return flows == 0 })
	if a, b := connections(s.net.st), connections(s.host); a+b != 0 {
		t.Errorf("the guest's stack has %d connections, the host's %d", a, b)
	}
}

// TestHalf: one from outside that says nothing more after the guest's server has said that
// no more comes does not keep the connection.
func TestHalf(t *testing.T) {
	s := newSetting(t, Config{})
	s.net.ending = ending{half: 300 * time.Millisecond, last: 300 * time.Millisecond}
	if err := s.net.Forward(Forward{Port: 80, Guest: "web", To: 8000}); err != nil {
		t.Fatal(err)
	}
	s.boot()
	l, err := s.guest.ListenTCP(8000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := s.dial(s.world, "192.0.2.2:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	s.until("it is over", func() bool { flows, _, _ := s.net.Flows(); return flows == 0 })
}
