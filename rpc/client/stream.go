package client

import (
	"context"
	"io"
	"iter"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// stream is a stream of messages of the server.
type stream[T any] struct {
	ctx    context.Context // ends with Close too
	cancel context.CancelFunc
	c      chan T
	err    error // valid once c is closed
}

// receiver is what generated code calls a stream.
type receiver[M any] interface {
	Recv() (*M, error)
	Close() error
}

// follow receives from s until ctx, of which cancel is part, ends. ready is the first
// message, if it is to be delivered.
func follow[T, M any](ctx context.Context, cancel context.CancelFunc, s receiver[M], decode func(*M) (T, error), ready ...T) *stream[T] {
	f := &stream[T]{ctx: ctx, cancel: cancel, c: make(chan T, len(ready))}
	for _, v := range ready {
		f.c <- v
	}
	go func() {
		defer s.Close()
		defer close(f.c)
		for {
			m, err := s.Recv()
			if err != nil {
				if f.err = io.EOF; err != io.EOF {
					f.err = wire.DecodeError(ctx, err)
				}
				return
			}
			v, err := decode(m)
			if err != nil {
				f.err = err
				return
			}
			select {
			case f.c <- v:
			case <-ctx.Done():
				f.err = ctx.Err()
				return
			}
		}
	}()
	return f
}

// Next implements control.EventStream and control.WatchStream.
func (f *stream[T]) Next(ctx context.Context) (T, error) {
	var none T
	select {
	case v, ok := <-f.c:
		switch {
		case ok:
			return v, nil
		case f.ctx.Err() != nil: // closed
			return none, io.EOF
		}
		return none, f.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-f.ctx.Done():
		return none, io.EOF
	}
}

// Close implements control.EventStream and control.WatchStream.
func (f *stream[T]) Close() error {
	f.cancel()
	return nil
}

// opened receives a stream's first message, which says that it is open.
func opened[M any](ctx context.Context, cancel context.CancelFunc, s receiver[M]) (*M, error) {
	m, err := s.Recv()
	if err != nil {
		err = broken(ctx, cancel, err)
	}
	return m, err
}

// broken lets go of a stream that did not open, and says why.
func broken(ctx context.Context, cancel context.CancelFunc, err error) error {
	defer cancel()
	return wire.DecodeError(ctx, err)
}

// Events implements control.Plane.
func (c *Client) Events(ctx context.Context) (control.EventStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.domains.Events(ctx, &api.EventsRequest{})
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	if _, err := opened(ctx, cancel, s); err != nil {
		return nil, err
	}
	return follow(ctx, cancel, s, func(m *api.Event) (control.Event, error) { return wire.Decode[control.Event](m) }), nil
}

// XenstoreWatch implements control.Plane.
func (c *Client) XenstoreWatch(ctx context.Context, path string) (control.WatchStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.store.Watch(ctx, &api.PathRequest{Path: path})
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	first, err := opened(ctx, cancel, s)
	if err != nil {
		return nil, err
	}
	return follow(ctx, cancel, s, func(m *api.Changed) (string, error) { return m.Path, nil }, first.Path), nil
}

// PowerOff implements control.Plane.
func (c *Client) PowerOff(ctx context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.host.PowerOff(ctx, wire.Encode[api.PowerOffRequest](opt))
	return steps(ctx, cancel, s, err)
}

// HostReboot implements control.Plane.
func (c *Client) HostReboot(ctx context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.host.Reboot(ctx, wire.Encode[api.HostRebootRequest](opt))
	return steps(ctx, cancel, s, err)
}

// steps follows the host's end. Its first step is there as soon as it has begun.
func steps(ctx context.Context, cancel context.CancelFunc, s receiver[api.HostEndStep], err error) (control.HostEndStream, error) {
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	m, err := opened(ctx, cancel, s)
	if err != nil {
		return nil, err
	}
	first, err := wire.Decode[control.HostEndStep](m)
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	return follow(ctx, cancel, s, func(m *api.HostEndStep) (control.HostEndStep, error) { return wire.Decode[control.HostEndStep](m) }, first), nil
}

// Log implements control.Plane.
func (c *Client) Log(ctx context.Context, history bool) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.host.Log(ctx, &api.LogRequest{History: history})
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	if _, err := opened(ctx, cancel, s); err != nil {
		return nil, err
	}
	return &reader{stream: follow(ctx, cancel, s, func(m *api.LogChunk) ([]byte, error) { return m.Data, nil })}, nil
}

// reader reads a stream of pieces.
type reader struct {
	*stream[[]byte]
	rest []byte
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		var err error
		if r.rest, err = r.Next(context.Background()); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// AllEvents is Events for a range statement. It ends with the loop, with ctx (whose
// error comes last), or with the connection.
func (c *Client) AllEvents(ctx context.Context) iter.Seq2[control.Event, error] {
	return func(yield func(control.Event, error) bool) {
		s, err := c.Events(ctx)
		if err != nil {
			yield(control.Event{}, err)
			return
		}
		all(ctx, s, yield)
	}
}

// AllChanges is XenstoreWatch for a range statement; it ends as AllEvents.
func (c *Client) AllChanges(ctx context.Context, path string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s, err := c.XenstoreWatch(ctx, path)
		if err != nil {
			yield("", err)
			return
		}
		all(ctx, s, yield)
	}
}

// nexter is a stream of package control.
type nexter[T any] interface {
	Next(context.Context) (T, error)
	Close() error
}

func all[T any](ctx context.Context, s nexter[T], yield func(T, error) bool) {
	defer s.Close()
	for {
		v, err := s.Next(ctx)
		if err == io.EOF {
			if err = ctx.Err(); err == nil {
				return
			}
		}
		if !yield(v, err) || err != nil {
			return
		}
	}
}
