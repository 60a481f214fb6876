// Package client drives a Nidus host from a program: domains, consoles, xenstore,
// logs and events, over whatever connects the two.
//
//	c, err := client.Dial(ctx, "unix:/run/nidus.sock")
//
// A Client is a control.Plane, so what works on the machine itself works from here.
// Errors have the same kinds (errors.Is(err, control.ErrNoDomain)); one more,
// control.ErrDisconnected, says that the connection ended. Ending a call's context
// cancels it on the host too. A Client may be used by any number of goroutines.
//
// Client and server of different minor versions work together; of different majors,
// Dial fails with control.ErrVersion.
package client

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcpool"
	"storj.io/drpc/drpcwire"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// Client is a connection to a control plane.
type Client struct {
	mux    *smux.Session
	pool   *pool
	calls  chan struct{} // a token for each call in flight
	server Server
	max    int // bytes of a message that the server takes

	host     api.DRPCHostClient
	domains  api.DRPCDomainsClient
	devices  api.DRPCDevicesClient
	consoles api.DRPCConsolesClient
	store    api.DRPCXenstoreClient
	files    api.DRPCFilesClient
	remote   api.DRPCRemoteClient
}

var _ control.Plane = (*Client)(nil)

// pool has the streams that no call uses.
type pool = drpcpool.Pool[struct{}, *drpcconn.Conn]

func newPool() *pool {
	return drpcpool.New[struct{}, *drpcconn.Conn](drpcpool.Options{Capacity: wire.MaxCalls})
}

// Server is what a server says of itself.
type Server struct {
	// Name is what it is.
	Name string
	// Major and Minor are the version of the protocol that it speaks.
	Major, Minor int
	// Features are words for what it can beyond that version.
	Features []string
}

// Option changes how a Client is made.
type Option func(*config)

type config struct {
	name  string
	dials map[string]DialFunc
}

// DialFunc connects to what follows the colon in a target. An error that has a kind of
// package control has to be one line that says all.
type DialFunc func(ctx context.Context, address string) (net.Conn, error)

// WithName says what the program is, for the host's messages.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithTransport makes Dial take targets that begin with scheme and a colon: this is how
// a program that has a ring in shared memory connects.
func WithTransport(scheme string, dial DialFunc) Option {
	return func(c *config) { c.dials[scheme] = dial }
}

func configure(opts []Option) *config {
	c := &config{name: "nidus/rpc/client", dials: map[string]DialFunc{
		"unix": func(ctx context.Context, path string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	for _, o := range opts {
		o(c)
	}
	return c
}

// forms says what Dial's targets look like.
func (c *config) forms() string {
	var all []string
	for _, scheme := range slices.Sorted(maps.Keys(c.dials)) {
		if scheme == "tls" {
			all = append(all, "tls:HOST")
			continue
		}
		all = append(all, scheme+":PATH")
	}
	return strings.Join(all, " or ")
}

// Dial connects to a target: unix:PATH, a Unix-domain socket, or what WithTransport
// adds: package mtls has one for the network. ErrDisconnected if nobody is there,
// ErrVersion, ErrQuota, ErrDenied.
func Dial(ctx context.Context, target string, opts ...Option) (*Client, error) {
	cfg := configure(opts)
	scheme, address, ok := strings.Cut(target, ":")
	dial := cfg.dials[scheme]
	switch {
	case !ok || address == "":
		return nil, control.Errorf(control.ErrBadArgument, "%q is no place to connect to; write %s", target, cfg.forms())
	case dial == nil && scheme == "tcp":
		return nil, control.Errorf(control.ErrBadArgument, "%s: the network takes encryption, and keys on both sides; write tls:HOST", target)
	case dial == nil:
		return nil, control.Errorf(control.ErrBadArgument, "%q: there is no transport %q; write %s", target, scheme, cfg.forms())
	}
	conn, err := dial(ctx, address)
	if err != nil {
		var told *control.Error
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &told):
			return nil, err
		}
		return nil, control.Errorf(control.ErrDisconnected, "the control plane can't be reached at %s: %v; does it run, and may you use it?", target, err)
	}
	return New(ctx, conn, opts...)
}

// New makes a Client of a connection, which it closes when it fails, or with Close.
func New(ctx context.Context, conn net.Conn, opts ...Option) (*Client, error) {
	mux, err := smux.Client(wire.Buffered(conn), wire.Mux())
	if err != nil {
		return nil, err
	}
	c := &Client{mux: mux, calls: make(chan struct{}, wire.MaxCalls), pool: newPool(), max: wire.MaxRequest}
	conns := caller{c}
	c.host, c.domains, c.devices = api.NewDRPCHostClient(conns), api.NewDRPCDomainsClient(conns), api.NewDRPCDevicesClient(conns)
	c.consoles, c.store, c.files = api.NewDRPCConsolesClient(conns), api.NewDRPCXenstoreClient(conns), api.NewDRPCFilesClient(conns)
	c.remote = api.NewDRPCRemoteClient(conns)
	// A connection on which nothing moves can't be cancelled in another way.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if err = c.hello(ctx, configure(opts).name, conns); !stop() {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) hello(ctx context.Context, name string, conns drpc.Conn) error {
	h, err := api.NewDRPCSessionClient(conns).Hello(ctx, &api.HelloRequest{Major: api.Major, Minor: api.Minor, Client: name})
	if err != nil {
		return err
	}
	if h.Major != api.Major {
		return control.Errorf(control.ErrVersion, "the control plane (%s) speaks version %d.%d of the protocol and this program %d.%d: use a program of its version",
			h.Server, h.Major, h.Minor, api.Major, api.Minor)
	}
	c.server = Server{Name: h.Server, Major: int(h.Major), Minor: int(h.Minor), Features: h.Features}
	if n := int(h.MaxMessageBytes); n > 0 {
		c.max = n
	}
	if n := int(h.MaxCalls); n > 0 && n < wire.MaxCalls {
		c.calls = make(chan struct{}, n)
	}
	return nil
}

// Server tells what the other side is.
func (c *Client) Server() Server { return c.server }

// Close ends the connection, and with it every call, stream and upload.
func (c *Client) Close() error {
	err := c.mux.Close()
	c.pool.Close() // its streams ended with the connection, and say so
	return err
}

// caller is the drpc.Conn that generated code uses: each call gets a stream of the
// connection, used before if there is one, for itself.
type caller struct{ c *Client }

// Close implements drpc.Conn.
func (k caller) Close() error { return k.c.Close() }

// Closed implements drpc.Conn.
func (k caller) Closed() <-chan struct{} { return k.c.mux.CloseChan() }

// spare is how many calls streams leave to others, which end by themselves.
const spare = wire.MaxCalls / 4

// take takes a place among the calls in flight. Streams, which may never end, don't
// wait for one.
func (c *Client) take(ctx context.Context, stream bool) error {
	if stream {
		if len(c.calls) >= cap(c.calls)-min(spare, cap(c.calls)/4) {
			return control.Errorf(control.ErrQuota, "%d consoles, watches and other streams are open on this connection, as many as may be; close one, or use another connection", len(c.calls))
		}
	}
	select {
	case c.calls <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.calls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.mux.CloseChan():
		return errClosed
	}
}

var errClosed = control.Errorf(control.ErrDisconnected, "the connection to the control plane has ended")

// transport returns a drpc connection that no other call uses.
func (c *Client) transport() (*drpcconn.Conn, error) {
	if conn, ok := c.pool.Take(struct{}{}); ok {
		return conn, nil
	}
	stream, err := c.mux.OpenStream()
	if err != nil {
		return nil, control.Errorf(control.ErrDisconnected, "the connection to the control plane has ended: %v", err)
	}
	return drpcconn.NewWithOptions(stream, drpcconn.Options{Manager: drpcmanager.Options{
		Reader: drpcwire.ReaderOptions{MaximumBufferSize: wire.MaxResponse},
	}}), nil
}

// Invoke implements drpc.Conn.
func (k caller) Invoke(ctx context.Context, rpc string, enc drpc.Encoding, in, out drpc.Message) error {
	if m, ok := in.(proto.Message); ok && k.c.max > 0 && proto.Size(m) > k.c.max {
		return tooBig(proto.Size(m), k.c.max)
	}
	if err := k.c.take(ctx, false); err != nil {
		return err
	}
	defer func() { <-k.c.calls }()
	conn, err := k.c.transport()
	if err != nil {
		return err
	}
	defer k.c.pool.Put(struct{}{}, conn)
	return wire.DecodeError(ctx, conn.Invoke(wire.WithTimeout(ctx), rpc, enc, in, out))
}

func tooBig(n, most int) error {
	return control.Errorf(control.ErrTooBig, "the request has %d bytes; the control plane takes at most %d at a time", n, most)
}

// NewStream implements drpc.Conn. The stream must be closed, or its context ended.
func (k caller) NewStream(ctx context.Context, rpc string, enc drpc.Encoding) (drpc.Stream, error) {
	if err := k.c.take(ctx, true); err != nil {
		return nil, err
	}
	conn, err := k.c.transport()
	if err == nil {
		var s drpc.Stream
		if s, err = conn.NewStream(wire.WithTimeout(ctx), rpc, enc); err == nil {
			context.AfterFunc(s.Context(), func() {
				conn.Close() // what a cancelled stream leaves is not worth keeping
				<-k.c.calls
			})
			return s, nil
		}
		conn.Close()
	}
	<-k.c.calls
	return nil, wire.DecodeError(ctx, err)
}
