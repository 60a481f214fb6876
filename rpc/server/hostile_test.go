package server_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/proto"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/ring"
	"nidus/rpc/server"
	"nidus/rpc/wire"
)

// silent is a plane on which no event comes.
type silent struct{ control.Plane }

func (silent) Events(context.Context) (control.EventStream, error) { return silent{}, nil }
func (silent) Close() error                                        { return nil }
func (silent) Next(ctx context.Context) (control.Event, error) {
	<-ctx.Done()
	return control.Event{}, ctx.Err()
}

// TestClientThatOverfillsGoes: a client has smux stop reading, and goes. The server
// notices, and its place is free again.
func TestClientThatOverfillsGoes(t *testing.T) {
	region := make([]byte, ring.Size(1, 64<<10)+4096) // so large, it begins a page
	l, err := ring.Listen(region, ring.Options{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := server.New(silent{}, server.Options{})
	conn, err := ring.Dial(t.Context(), region, ring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(context.Background(), theirs)
	}()
	mux, err := smux.Client(conn, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	hello, err := proto.Marshal(&api.HelloRequest{Major: api.Major})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, mux, "/nidus.Session/Hello", hello, 1)
	// Behind smux's back: its frames for stream 99, until nobody takes them.
	frame := func(cmd byte, n int) []byte {
		return append([]byte{2, cmd, byte(n), byte(n >> 8), 99, 0, 0, 0}, make([]byte, n)...)
	}
	conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, err = conn.Write(frame(0, 0))
	// An invoke of Events in drpc's framing, then messages that nobody receives.
	rpc := "/nidus.Domains/Events"
	invoke := append([]byte{1<<1 | 1, 1, 1, byte(len(rpc))}, rpc...)
	message := []byte{2<<1 | 1, 1, 2, 0}
	send := func(b []byte) {
		f := frame(2, len(b))
		copy(f[8:], b)
		if err == nil {
			_, err = conn.Write(f)
		}
	}
	send(invoke)
	send(message)
	for i := byte(3); err == nil; i++ {
		b := make([]byte, 60000)
		copy(b, []byte{2<<1 | 1, 1, i % 100, 0})
		send(b)
	}
	if !strings.Contains(err.Error(), "timeout") {
		t.Fatalf("the server goes on reading, or ended the connection: %v", err)
	}
	conn.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the server did not notice")
	}
}

// TestTooManyStreams: the connection ends, with a reason, long before smux's backlog.
func TestTooManyStreams(t *testing.T) {
	logged := make(chan string, 1)
	s := server.New(silent{}, server.Options{Log: func(f string, a ...any) { logged <- strings.TrimSpace(f) + a[len(a)-1].(error).Error() }})
	ours, theirs := net.Pipe()
	defer ours.Close()
	go s.ServeConn(context.Background(), theirs)
	mux, err := smux.Client(ours, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	for err == nil {
		_, err = mux.OpenStream()
	}
	if why := <-logged; !strings.Contains(why, "257 calls at a time, 32 are allowed") {
		t.Error(why)
	}
}
