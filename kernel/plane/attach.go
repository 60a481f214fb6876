package plane

import (
	"context"
	"errors"
	"io"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/rpc/control"
)

// attachment is one person's, or program's, console.
type attachment struct {
	e      *core.Entry
	r      *console.Reader
	ctx    context.Context
	cancel context.CancelFunc
}

// ConsoleAttach implements control.Plane. Any number may look on and type.
func (p *Plane) ConsoleAttach(ctx context.Context, id control.DomID, opt control.ConsoleOptions) (control.Console, error) {
	e, err := p.entry(id)
	if err != nil {
		return nil, err
	}
	if opt.Num != 0 {
		return nil, control.Errorf(control.ErrBadArgument, "domain %d has one console, number 0", id)
	}
	a := &attachment{e: e}
	if a.r = e.Console.AttachLive(); opt.History {
		a.r = e.Console.Attach()
	}
	a.ctx, a.cancel = p.bound(ctx)
	go func() { // the last output, then the end
		select {
		case <-a.ctx.Done():
		case <-e.Gone():
			a.cancel()
		}
	}()
	return a, nil
}

// Read implements control.Console.
func (a *attachment) Read(b []byte) (int, error) {
	n, err := a.r.Read(a.ctx, b)
	if n == 0 && errors.Is(err, context.Canceled) {
		if n = a.r.TryRead(b); n > 0 {
			return n, nil
		}
		return 0, io.EOF
	}
	return n, err
}

// Write implements control.Console.
func (a *attachment) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		if a.ctx.Err() != nil { // closed, or the domain is gone
			return done, io.ErrClosedPipe
		}
		n := a.e.Input(b[done:])
		done += n
		if n > 0 {
			continue
		}
		select { // the guest reads nothing: look again now and then
		case <-a.ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return done, nil
}

// Close implements control.Console.
func (a *attachment) Close() error {
	a.cancel()
	return nil
}
