package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcserver"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/server"
	"nidus/rpc/wire"
)

// waiter is a control plane on which Create takes until it is cancelled.
type waiter struct {
	control.Plane
	began chan context.Context
	ended chan error
	hold  chan struct{} // what DebugKeys waits for
}

func newWaiter() *waiter {
	return &waiter{began: make(chan context.Context, 100), ended: make(chan error, 100), hold: make(chan struct{})}
}

func (w *waiter) Create(ctx context.Context, _ control.DomainConfig, _ control.CreateOptions) (control.DomID, error) {
	w.began <- ctx
	<-ctx.Done()
	w.ended <- ctx.Err()
	return 0, ctx.Err()
}

func (w *waiter) Destroy(context.Context, control.DomID) error { return nil }

func (w *waiter) DebugKeys(context.Context, string) error { <-w.hold; return nil }

func (w *waiter) Events(ctx context.Context) (control.EventStream, error) { return silence{}, nil }

// silence is a stream on which nothing comes.
type silence struct{}

func (silence) Close() error { return nil }
func (silence) Next(ctx context.Context) (control.Event, error) {
	<-ctx.Done()
	return control.Event{}, ctx.Err()
}

// pipe serves a plane and returns the client's end of a connection. kill ends the
// server's side.
func pipe(t *testing.T, s *server.Server) (conn net.Conn, kill func()) {
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.ServeConn(ctx, theirs) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return ours, cancel
}

func dial(t *testing.T, conn net.Conn) *Client {
	t.Helper()
	c, err := New(t.Context(), conn, WithName("test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What ends a call here ends it there.
func TestCancel(t *testing.T) {
	w := newWaiter()
	s := server.New(w, server.Options{})
	conn, kill := pipe(t, s)
	c := dial(t, conn)
	end := func(name string, ctx context.Context, begun func(), want error) {
		answer := make(chan error)
		go func() {
			_, err := c.Create(ctx, control.DomainConfig{}, control.CreateOptions{})
			answer <- err
		}()
		there := <-w.began
		_, mine := ctx.Deadline()
		if _, theirs := there.Deadline(); mine != theirs {
			t.Errorf("%s: deadline %v here, %v there", name, mine, theirs)
		}
		begun()
		if err := <-answer; !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err := <-w.ended; err == nil {
			t.Errorf("%s: the plane's context goes on", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	end("cancelled", ctx, cancel, context.Canceled)
	ctx, cancel = context.WithTimeout(t.Context(), time.Second) // time to begin
	defer cancel()
	end("too late", ctx, func() {}, context.DeadlineExceeded)
	if err := c.Destroy(t.Context(), 1); err != nil {
		t.Error("the connection suffered:", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	end("server gone", ctx, kill, control.ErrDisconnected)
	if err := c.Destroy(t.Context(), 1); !errors.Is(err, control.ErrDisconnected) {
		t.Error(err)
	}
	// A connection that breaks.
	conn, _ = pipe(t, s)
	c = dial(t, conn)
	answer := make(chan error)
	go func() {
		_, err := c.Create(t.Context(), control.DomainConfig{}, control.CreateOptions{})
		answer <- err
	}()
	<-w.began
	conn.Close()
	if err := <-answer; !errors.Is(err, control.ErrDisconnected) {
		t.Error(err)
	}
	<-w.ended
}

// Calls wait for each other when there are too many, streams fail.
func TestCallsInFlight(t *testing.T) {
	w := newWaiter()
	conn, _ := pipe(t, server.New(w, server.Options{}))
	c := dial(t, conn)
	var wg sync.WaitGroup
	for range 3 * wire.MaxCalls {
		wg.Go(func() {
			if err := c.DebugKeys(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	for len(c.calls) < wire.MaxCalls {
		time.Sleep(time.Millisecond)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Destroy(short, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(w.hold)
	wg.Wait()
	var open []control.EventStream
	for {
		e, err := c.Events(t.Context())
		if err != nil {
			if !errors.Is(err, control.ErrQuota) {
				t.Error(err)
			}
			break
		}
		open = append(open, e)
	}
	if len(open) != wire.MaxCalls-spare {
		t.Errorf("%d streams", len(open))
	}
	if err := c.Destroy(t.Context(), 1); err != nil {
		t.Error(err)
	}
	for range 3 * wire.MaxCalls { // a closed stream leaves its place
		open[0].Close()
		for len(c.calls) >= wire.MaxCalls-spare {
			time.Sleep(time.Millisecond)
		}
		e, err := c.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open[1:], e)
	}
}

// Of a client that has too many calls in flight, some wait.
func TestTooManyCalls(t *testing.T) {
	w := newWaiter()
	conn, _ := pipe(t, server.New(w, server.Options{}))
	c := dial(t, conn)
	c.calls = make(chan struct{}, 1000) // it does not count any more
	ctx, cancel := context.WithCancel(t.Context())
	for range wire.MaxCalls {
		go c.Create(ctx, control.DomainConfig{}, control.CreateOptions{})
		<-w.began
	}
	short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if err := c.Destroy(short, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("served beside the others:", err)
	}
	cancel()
	if err := c.Destroy(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

// A message that is too long fails its call only, also if the client sends it.
func TestTooLong(t *testing.T) {
	conn, _ := pipe(t, server.New(newWaiter(), server.Options{}))
	c := dial(t, conn)
	for _, limit := range []int{c.max, 0} {
		c.max = limit
		want := control.ErrTooBig
		if limit == 0 {
			want = control.ErrDisconnected
		}
		if err := c.DebugKeys(t.Context(), strings.Repeat("h", wire.MaxRequest)); !errors.Is(err, want) {
			t.Errorf("limit %d: %v", limit, err)
		}
		if err := c.Destroy(t.Context(), 1); err != nil {
			t.Errorf("limit %d: the connection suffered: %v", limit, err)
		}
	}
}

func TestConnections(t *testing.T) {
	s := server.New(newWaiter(), server.Options{MaxConns: 1})
	conn, _ := pipe(t, s)
	c := dial(t, conn)
	second, _ := pipe(t, s)
	if _, err := New(t.Context(), second); !errors.Is(err, control.ErrQuota) {
		t.Error(err)
	}
	c.Close()
	for end := time.Now().Add(10 * time.Second); ; { // the server has to see that it went
		conn, _ := pipe(t, s)
		c, err := New(t.Context(), conn)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestHelloTimeout(t *testing.T) {
	logged := make(chan string, 1)
	conn, _ := pipe(t, server.New(newWaiter(), server.Options{HelloTimeout: 10 * time.Millisecond, Log: func(f string, a ...any) {
		select {
		case logged <- f:
		default:
		}
	}}))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the server speaks first")
	}
	<-logged
}

// raw makes calls before, or without, a Hello.
func raw(t *testing.T, s *server.Server) caller {
	conn, _ := pipe(t, s)
	mux, err := smux.Client(conn, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mux.Close() })
	return caller{&Client{mux: mux, calls: make(chan struct{}, 9), pool: newPool()}}
}

func TestServerVersions(t *testing.T) {
	s := server.New(newWaiter(), server.Options{Name: "host 7"})
	k := raw(t, s)
	domains, session := api.NewDRPCDomainsClient(k), api.NewDRPCSessionClient(k)
	if _, err := domains.Destroy(t.Context(), &api.DomainRequest{Id: 1}); !errors.Is(err, control.ErrVersion) {
		t.Error("without Hello:", err)
	}
	for _, major := range []uint32{0, api.Major + 1} {
		_, err := session.Hello(t.Context(), &api.HelloRequest{Major: major})
		if !errors.Is(err, control.ErrVersion) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "host 7") {
			t.Errorf("major %d: %v", major, err)
		}
	}
	if _, err := domains.Destroy(t.Context(), &api.DomainRequest{Id: 1}); !errors.Is(err, control.ErrVersion) {
		t.Error("after a Hello that failed:", err)
	}
	// A newer client: its minor is higher, its messages have more fields.
	h := &api.HelloRequest{Major: api.Major, Minor: api.Minor + 9, Client: "newer"}
	h.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), "what is new"))
	if _, err := session.Hello(t.Context(), h); err != nil {
		t.Error("newer minor:", err)
	}
	if _, err := domains.Destroy(t.Context(), &api.DomainRequest{Id: 1}); err != nil {
		t.Error(err)
	}
	err := k.Invoke(t.Context(), "/nidus.Host/Newer", plain{}, &api.Done{}, &api.Done{})
	if !errors.Is(err, control.ErrNotYet) || !strings.Contains(err.Error(), "Newer") {
		t.Error("newer call:", err)
	}
}

// plain is the encoding of messages.
type plain struct{}

func (plain) Marshal(m drpc.Message) ([]byte, error)   { return proto.Marshal(m.(proto.Message)) }
func (plain) Unmarshal(b []byte, m drpc.Message) error { return proto.Unmarshal(b, m.(proto.Message)) }

// other is a server of another version.
type other struct {
	api.DRPCSessionUnimplementedServer
	h *api.HelloResponse
}

func (o other) Hello(context.Context, *api.HelloRequest) (*api.HelloResponse, error) { return o.h, nil }

func TestClientVersions(t *testing.T) {
	for _, tt := range []struct {
		h    *api.HelloResponse
		want error
	}{
		{&api.HelloResponse{Major: api.Major, Minor: api.Minor + 5, Features: []string{"future"}, Server: "s", MaxCalls: 7}, nil},
		{&api.HelloResponse{Major: api.Major + 1, Server: "next one"}, control.ErrVersion},
		{&api.HelloResponse{}, control.ErrVersion},
	} {
		tt.h.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 777, protowire.VarintType), 5))
		ours, theirs := net.Pipe()
		mux := drpcmux.New()
		if err := api.DRPCRegisterSession(mux, other{h: tt.h}); err != nil {
			t.Fatal(err)
		}
		session, err := smux.Server(theirs, wire.Mux())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if s, err := session.AcceptStream(); err == nil {
				_ = drpcserver.New(mux).ServeOne(context.Background(), s)
			}
		}()
		c, err := New(t.Context(), ours)
		switch {
		case tt.want != nil:
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.h.Server) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: %v", tt.h, err)
			}
		case err != nil:
			t.Error(err)
		default:
			if s := c.Server(); s.Minor != api.Minor+5 || s.Features[0] != "future" || cap(c.calls) != 7 {
				t.Errorf("%+v, %d calls", s, cap(c.calls))
			}
			c.Close()
		}
		session.Close()
	}
}

func TestDial(t *testing.T) {
	for target, want := range map[string]error{
		"":                  control.ErrBadArgument,
		"/run/x":            control.ErrBadArgument,
		"unix:":             control.ErrBadArgument,
		"pigeon:x":          control.ErrBadArgument,
		"tcp:host:1":        control.ErrBadArgument,
		"tls:host":          control.ErrBadArgument, // without WithTransport
		"unix:/nobody/here": control.ErrDisconnected,
	} {
		if _, err := Dial(t.Context(), target); !errors.Is(err, want) {
			t.Errorf("%q: %v", target, err)
		}
	}
	// A server that says nothing.
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ring := WithTransport("ring", func(context.Context, string) (net.Conn, error) { return ours, nil })
	if _, err := Dial(ctx, "ring:0", ring); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
