package server

import (
	"context"
	"io"
	"sync"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// consoles implements the service Consoles.
type consoles struct{ *session }

// attachment is one console that a client has.
type attachment struct {
	con    control.Console
	stream api.DRPCConsoles_AttachStream
	send   sync.Mutex // one message at a time
	typed  chan []byte
	credit credit

	ctx  context.Context
	stop context.CancelCauseFunc
}

// credit is how much output a client has asked for and not yet got, in bytes.
type credit struct {
	mu   sync.Mutex
	n    uint32
	more chan struct{} // holds a token while n may have grown
}

// add is for what the client asks for, which has a limit.
func (c *credit) add(n uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > wire.MaxCredit-c.n {
		return control.Errorf(control.ErrBadArgument, "more than %d bytes of a console asked for at a time", wire.MaxCredit)
	}
	c.n += n
	select {
	case c.more <- struct{}{}:
	default:
	}
	return nil
}

// wait returns how much may be sent, as soon as it is anything.
func (c *credit) wait(ctx context.Context) (int, error) {
	for {
		c.mu.Lock()
		n := c.n
		c.mu.Unlock()
		if n > 0 {
			return int(n), nil
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// spend is for what was sent.
func (c *credit) spend(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n -= uint32(n)
}

func (c consoles) Attach(stream api.DRPCConsoles_AttachStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.Open == nil || len(first.Data) > 0 || first.Open.Num > 0xff {
		return control.Errorf(control.ErrBadArgument, "the first message of a console opens it, and no more")
	}
	id, err := wire.DomID(first.Open.Id)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(stream.Context())
	defer stop(nil)
	con, err := c.plane.ConsoleAttach(ctx, id, control.ConsoleOptions{Num: int(first.Open.Num), History: first.Open.History})
	if err != nil {
		return err
	}
	a := &attachment{
		con: con, stream: stream, typed: make(chan []byte, 1), credit: credit{more: make(chan struct{}, 1)}, ctx: ctx, stop: stop,
	}
	defer con.Close()
	if err := a.credit.add(first.More); err != nil {
		return err
	}
	if err := stream.Send(&api.ConsoleOutput{}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	// Close ends Read and Write of the console; the handler's return, the stream's.
	defer context.AfterFunc(ctx, func() { con.Close() })()
	wg.Go(a.typing)
	go a.receive() // ends with the stream
	err = a.output()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the client went, or did wrong
	}
	stop(nil)
	return err
}

// receive takes the client's messages. It never waits for the guest, so that it sees
// a client that goes.
func (a *attachment) receive() {
	for {
		in, err := a.stream.Recv()
		if err != nil {
			a.stop(nil)
			return
		}
		if err := a.credit.add(in.More); err != nil {
			a.stop(err)
			return
		}
		if len(in.Data) == 0 {
			continue
		}
		if len(in.Data) > wire.Chunk {
			a.stop(control.Errorf(control.ErrBadArgument, "%d bytes at once for a console, which takes %d", len(in.Data), wire.Chunk))
			return
		}
		select {
		case a.typed <- in.Data:
		default:
			a.stop(control.Errorf(control.ErrBadArgument, "more for the console before it has taken what came before"))
			return
		}
	}
}

// typing gives the guest what is typed, and tells the client what it took.
func (a *attachment) typing() {
	for {
		select {
		case b := <-a.typed:
			n, err := a.con.Write(b)
			if a.sendOut(&api.ConsoleOutput{Taken: &api.ConsoleTaken{Count: uint32(n)}}) != nil || err != nil {
				return
			}
		case <-a.ctx.Done():
			return
		}
	}
}

func (a *attachment) sendOut(m *api.ConsoleOutput) error {
	a.send.Lock()
	defer a.send.Unlock()
	return a.stream.Send(m)
}

// output sends what the guest writes, as much as the client asked for, until the
// domain is gone.
func (a *attachment) output() error {
	b := make([]byte, wire.Chunk)
	for {
		most, err := a.credit.wait(a.ctx)
		if err != nil {
			return err
		}
		n, err := a.con.Read(b[:min(most, len(b))])
		a.credit.spend(n)
		if n > 0 {
			if err := a.sendOut(&api.ConsoleOutput{Data: b[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
