package plane

import (
	"context"
	"io"
	"sync"

	"nidus/kernel/core"
	"nidus/rpc/control"
)

// stream is one listener to events.
type stream struct {
	p      *Plane
	c      chan control.Event
	lost   bool // guarded by p.mu
	closed chan struct{}
	close  sync.Once
}

// streamLen is how far a listener can fall behind.
const streamLen = 256

// Events implements control.Plane.
func (p *Plane) Events(context.Context) (control.EventStream, error) {
	s := &stream{p: p, c: make(chan control.Event, streamLen), closed: make(chan struct{})}
	p.mu.Lock()
	p.streams[s] = true
	p.mu.Unlock()
	return s, nil
}

func (p *Plane) emit(kind control.EventKind, e *core.Entry, reason control.ShutdownReason) {
	ev := control.Event{Kind: kind, ID: control.DomID(e.ID), Name: e.Name(), Reason: reason, At: p.now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		if s.lost {
			select {
			case s.c <- control.Event{Kind: control.EventLost, At: p.now()}:
				s.lost = false
			default:
				continue
			}
		}
		select {
		case s.c <- ev:
		default:
			s.lost = true
		}
	}
}

// Next implements control.EventStream.
func (s *stream) Next(ctx context.Context) (control.Event, error) {
	select {
	case <-s.closed:
		return control.Event{}, io.EOF
	default:
	}
	select {
	case ev := <-s.c:
		return ev, nil
	default:
	}
	s.p.mu.Lock()
	lost := s.lost
	s.lost = false
	s.p.mu.Unlock()
	if lost { // and nothing came since that would bring it along
		return control.Event{Kind: control.EventLost, At: s.p.now()}, nil
	}
	select {
	case ev := <-s.c:
		return ev, nil
	case <-s.closed:
		return control.Event{}, io.EOF
	case <-ctx.Done():
		return control.Event{}, ctx.Err()
	case <-s.p.ctx.Done():
		return control.Event{}, s.p.ctx.Err()
	}
}

// Close implements control.EventStream.
func (s *stream) Close() error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.streams, s)
	s.close.Do(func() { close(s.closed) })
	return nil
}
