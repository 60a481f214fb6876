package plane

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/rpc/control"
)

// endLog holds the steps of the host's end, a few for each domain, for who follows it.
// They are lines of the hypervisor's log, too.
type endLog struct {
	log *console.Log

	mu        sync.Mutex
	steps     []control.HostEndStep
	err       error         // why the host goes on after all
	more      chan struct{} // closed when steps or err change
	listeners int
	left      chan struct{} // closed when the last listener goes; nil: there is none
}

func newEndLog(log *console.Log) *endLog { return &endLog{log: log, more: make(chan struct{})} }

// say adds a step, of a domain if e is not nil.
func (l *endLog) say(kind control.HostEndKind, e *core.Entry, format string, args ...any) {
	s := control.HostEndStep{Kind: kind, Text: fmt.Sprintf(format, args...)}
	if e != nil {
		s.ID, s.Name, s.Text = control.DomID(e.ID), e.Name(), describe(e)+" "+s.Text
	}
	level := console.LevelInfo
	if kind == control.HostEndDestroyed {
		level = console.LevelWarning
	}
	l.log.Printf(level, "%s", s.Text)
	l.change(func() { l.steps = append(l.steps, s) })
}

// fail says that the host goes on.
func (l *endLog) fail(err error) {
	l.log.Printf(console.LevelError, "%v", err)
	l.change(func() { l.err = err })
}

func (l *endLog) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.more)
	l.more = make(chan struct{})
}

// heard waits until all who follow have heard the last step and left, or for most.
func (l *endLog) heard(most time.Duration) {
	l.mu.Lock()
	left := l.left
	l.mu.Unlock()
	if left == nil {
		return
	}
	select {
	case <-left:
	case <-time.After(most):
	}
}

// listen follows from the first step on. ctx is the control plane's life.
func (l *endLog) listen(ctx context.Context) *endStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners++; l.left == nil {
		l.left = make(chan struct{})
	}
	return &endStream{l: l, ctx: ctx, closed: make(chan struct{})}
}

// endStream is a control.HostEndStream.
type endStream struct {
	l      *endLog
	ctx    context.Context
	mu     sync.Mutex
	at     int // of the next step
	closed chan struct{}
	once   sync.Once
}

// Next implements control.HostEndStream.
func (s *endStream) Next(ctx context.Context) (control.HostEndStep, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		select {
		case <-s.closed:
			return control.HostEndStep{}, io.EOF
		default:
		}
		s.l.mu.Lock()
		more, err := s.l.more, s.l.err
		if s.at < len(s.l.steps) {
			step := s.l.steps[s.at]
			s.at++
			s.l.mu.Unlock()
			return step, nil
		}
		s.l.mu.Unlock()
		if err != nil {
			return control.HostEndStep{}, err
		}
		select {
		case <-more:
		case <-s.closed:
		case <-ctx.Done():
			return control.HostEndStep{}, ctx.Err()
		case <-s.ctx.Done():
			return control.HostEndStep{}, s.ctx.Err()
		}
	}
}

// Close implements control.HostEndStream.
func (s *endStream) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.l.mu.Lock()
		defer s.l.mu.Unlock()
		if s.l.listeners--; s.l.listeners == 0 {
			close(s.l.left)
			s.l.left = nil
		}
	})
	return nil
}
