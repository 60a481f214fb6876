// Package server serves a control.Plane to any number of clients: the other side of
// package client. What travels is described in rpc/nidus.proto, how in package wire.
//
// A client is not trusted to be well: whatever bytes it sends cost it its connection
// at most, and what it holds (calls, streams, uploads) goes with the connection.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// Options are a server's limits and habits; zeros mean the defaults.
type Options struct {
	// Name is what the server tells clients that it is.
	Name string
	// MaxConns is how many connections there may be (16). A few more are told so.
	MaxConns int
	// HelloTimeout is how long a client may take to say Hello (10 s).
	HelloTimeout time.Duration
	// Log is told of connections that end with a fault of the client's, and of
	// defects; may be nil.
	Log func(format string, args ...any)
}

// refusals is how many connections above MaxConns are answered at a time.
const refusals = 4

// Peer is a connection that knows who is at its other end. Who is at the end of one
// that does not may do everything.
type Peer interface {
	// May tells whether the peer may do what, a call or a part of one, which may
	// change something: control.ErrDenied.
	May(what string, changes bool) error
}

// Server serves one Plane.
type Server struct {
	plane control.Plane
	opt   Options

	ends sync.RWMutex // is read-locked by sessions whose client hears the steps of the host's end

	mu    sync.Mutex
	conns int
}

// HostEnds returns when the clients that hear the steps of the host's end have gone, as they
// do after the last one: only then is it sure that it has come. It is to be called once that is said.
func (s *Server) HostEnds() {
	s.ends.Lock()
	defer s.ends.Unlock()
}

// New makes a server.
func New(p control.Plane, opt Options) *Server {
	if opt.Name == "" {
		opt.Name = "nidus"
	}
	if opt.MaxConns <= 0 {
		opt.MaxConns = 16
	}
	if opt.HelloTimeout <= 0 {
		opt.HelloTimeout = 10 * time.Second
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	return &Server{plane: p, opt: opt}
}

// Serve takes connections from l, which it closes, until ctx ends or l fails. It
// returns when all calls have: nil if ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	// A listener that failed ends its connections too.
	conns, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil { // not of conns, which hears of it later than l
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("control plane's listener: %w", err)
		}
		wg.Go(func() { s.ServeConn(conns, conn) })
	}
}

// ServeConn serves one connection, and closes it, until it or ctx ends. It returns
// when all of its calls have.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	full := s.conns >= s.opt.MaxConns
	if s.conns >= s.opt.MaxConns+refusals {
		s.mu.Unlock()
		return
	}
	s.conns++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.conns--
		s.mu.Unlock()
	}()
	peer, _ := conn.(Peer)
	c := &session{s: s, plane: s.plane, peer: peer, full: full, uploads: map[string]int{}, said: make(chan struct{})}
	err := c.serve(ctx, conn)
	heard := true
	c.hears.Do(func() { heard = false })
	if heard {
		s.ends.RUnlock()
	}
	if err != nil {
		s.opt.Log("control connection of %v: %v", conn.RemoteAddr(), err)
	}
}

// session is one connection.
type session struct {
	s     *Server
	plane control.Plane
	peer  Peer // or nil
	full  bool // there only to be told that there are too many

	hello sync.Once
	said  chan struct{} // closed by Hello
	hears sync.Once     // locks Server.ends

	mu        sync.Mutex
	uploads   map[string]int // how often each: files that go with the connection
	uploading int
}

// maxOpen is how many streams a connection may have open: more than calls, because our
// own clients' closed ones may not have been seen yet.
const maxOpen = 8 * wire.MaxCalls

// noticing ends a connection when a write fails.
type noticing struct {
	net.Conn
	cancel context.CancelCauseFunc
}

// Write implements net.Conn.
func (n noticing) Write(b []byte) (int, error) {
	done, err := n.Conn.Write(b)
	if err != nil {
		n.cancel(nil)
	}
	return done, err
}

var errNoHello = errors.New("it said no Hello in time")

func (c *session) serve(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	mux, err := smux.Server(wire.Buffered(noticing{conn, cancel}), wire.Mux())
	if err != nil {
		return err
	}
	// smux stops reading when a client sends more than calls take, and would never see the
	// connection's end behind it. Where the connection doesn't tell, the next write does
	// (noticing), of which there is one every 10 s.
	if e, ok := conn.(interface{ Ended() <-chan struct{} }); ok {
		go func() {
			select {
			case <-e.Ended():
				cancel(nil)
			case <-ctx.Done():
			}
		}()
	}
	defer c.discard(context.WithoutCancel(ctx))
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel(nil)
	defer mux.Close()
	defer context.AfterFunc(ctx, func() { mux.Close() })()
	late := time.AfterFunc(c.s.opt.HelloTimeout, func() {
		select {
		case <-c.said:
		default:
			cancel(errNoHello)
		}
	})
	defer late.Stop()

	srv := drpcserver.NewWithOptions(c.handler(), drpcserver.Options{Manager: drpcmanager.Options{
		Reader: drpcwire.ReaderOptions{MaximumBufferSize: wire.MaxRequest},
		Stream: drpcstream.Options{MaximumBufferSize: wire.MaxRequest},
	}})
	slots := make(chan struct{}, wire.MaxCalls)
	var open atomic.Int64 // streams
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errNoHello) && !c.full {
				return cause
			}
			if errors.Is(err, smux.ErrInvalidProtocol) {
				return err
			}
			return nil // it went, as all do
		}
		if open.Add(1) > maxOpen {
			return fmt.Errorf("it opened %d calls at a time, %d are allowed", maxOpen+1, wire.MaxCalls)
		}
		calls.Go(func() {
			defer open.Add(-1)
			defer stream.Close()
			select {
			case slots <- struct{}{}: // those beyond wait
				defer func() { <-slots }()
			case <-ctx.Done():
				return
			}
			if err := srv.ServeOne(ctx, stream); drpc.ProtocolError.Has(err) {
				c.s.opt.Log("control connection of %v: a call was dropped: %v", conn.RemoteAddr(), err)
			} // else it ended with the stream, for whatever reason
		})
	}
}

// handler dispatches calls. It makes every error one that travels, and a defect the
// end of its call only.
func (c *session) handler() drpc.Handler {
	mux := drpcmux.New()
	for _, err := range []error{
		api.DRPCRegisterSession(mux, c),
		api.DRPCRegisterHost(mux, host{c}),
		api.DRPCRegisterDomains(mux, domains{c}),
		api.DRPCRegisterDevices(mux, devices{c}),
		api.DRPCRegisterConsoles(mux, consoles{c}),
		api.DRPCRegisterXenstore(mux, store{c}),
		api.DRPCRegisterFiles(mux, files{c}),
		api.DRPCRegisterRemote(mux, remote{c}),
	} {
		if err != nil { // generated code that doesn't fit itself
			panic(err)
		}
	}
	return handlerFunc(func(stream drpc.Stream, rpc string) (err error) {
		defer func() {
			if v := recover(); v != nil {
				c.s.opt.Log("a defect ended control call %s: %v\n%s", rpc, v, debug.Stack())
				err = control.Errorf(control.ErrInternal, "a defect of the control plane ended the call; the log has more")
			}
			err = wire.EncodeError(err)
		}()
		if err := c.admit(rpc); err != nil {
			return err
		}
		ctx, cancel := wire.Timeout(stream.Context())
		defer cancel()
		if f, ok := stream.(interface{ SetManualFlush(bool) }); ok && unary[rpc] {
			f.SetManualFlush(true) // the answer goes with the stream's end, in one write
		}
		err = mux.HandleRPC(call{stream, ctx}, rpc)
		if errors.Is(err, proto.Error) {
			c.s.opt.Log("control call %s: what is no message: %v", rpc, err)
		}
		if drpc.ProtocolError.Has(err) {
			return control.Errorf(control.ErrNotYet, "the server, of version %d.%d, has no call %q", api.Major, api.Minor, rpc)
		}
		return err
	})
}

// admit keeps a client to its Hello.
func (c *session) admit(rpc string) error {
	if c.full {
		return control.Errorf(control.ErrQuota, "%d programs are connected to the control plane, as many as may be; end one", c.s.opt.MaxConns)
	}
	if rpc == "/nidus.Session/Hello" {
		return nil
	}
	select {
	case <-c.said:
		return c.may("the call "+rpc, !api.ReadOnly[rpc])
	default:
		return control.Errorf(control.ErrVersion, "the first call has to be Hello: what is connected is no client of this control plane")
	}
}

// may asks whether the peer may do what.
func (c *session) may(what string, changes bool) error {
	if c.peer == nil {
		return nil
	}
	return c.peer.May(what, changes)
}

// unary are the names of the calls with one message and one answer.
var unary = func() map[string]bool {
	all := map[string]bool{}
	services := api.File_nidus_proto.Services()
	for i := range services.Len() {
		s := services.Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			all[fmt.Sprintf("/%s/%s", s.FullName(), m.Name())] = !m.IsStreamingClient() && !m.IsStreamingServer()
		}
	}
	return all
}()

type handlerFunc func(drpc.Stream, string) error

// HandleRPC implements drpc.Handler.
func (f handlerFunc) HandleRPC(s drpc.Stream, rpc string) error { return f(s, rpc) }

// call is a stream whose context has the client's deadline.
type call struct {
	drpc.Stream
	ctx context.Context
}

// Context implements drpc.Stream.
func (c call) Context() context.Context { return c.ctx }

// Hello implements the call.
func (c *session) Hello(_ context.Context, in *api.HelloRequest) (*api.HelloResponse, error) {
	if in.Major != api.Major {
		return nil, control.Errorf(control.ErrVersion, "the control plane (%s) speaks version %d.%d of the protocol and the client %d.%d: use a client of Nidus' own version",
			c.s.opt.Name, api.Major, api.Minor, in.Major, in.Minor)
	}
	c.hello.Do(func() { close(c.said) })
	return &api.HelloResponse{
		Major: api.Major, Minor: api.Minor, Server: c.s.opt.Name,
		MaxMessageBytes: wire.MaxRequest, MaxCalls: wire.MaxCalls,
	}, nil
}

// discard lets go of what was uploaded.
func (c *session) discard(ctx context.Context) {
	for name, times := range c.uploads {
		for range times {
			if err := c.plane.Discard(ctx, name); err != nil && !errors.Is(err, control.ErrNoFile) {
				c.s.opt.Log("uploaded file %s: %v", name, err)
			}
		}
	}
}
