package client

import (
	"context"
	"io"
	"sync"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// ahead is how much of a console's output may come before it is read, in bytes.
const ahead = 64 << 10

// console is one attachment. The server sends as much output as there is room for, and
// says of each message what the guest took, so that neither direction waits for the
// other.
type console struct {
	s      api.DRPCConsoles_AttachClient
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	output []byte        // what has come and was not read, at most ahead
	more   chan struct{} // holds a token while output may have grown
	taken  chan int
	gone   chan struct{} // closed when nothing more comes
	err    error         // why; valid then

	reading sync.Mutex
	read    uint32 // since the last time that more was asked for
	writing sync.Mutex
	send    sync.Mutex // one message at a time
}

// ConsoleAttach implements control.Plane.
func (c *Client) ConsoleAttach(ctx context.Context, id control.DomID, opt control.ConsoleOptions) (control.Console, error) {
	if opt.Num < 0 || opt.Num > 0xff {
		return nil, control.Errorf(control.ErrBadArgument, "there is no console %d", opt.Num)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.consoles.Attach(ctx)
	if err == nil {
		err = s.Send(&api.ConsoleInput{Open: &api.ConsoleOpen{Id: uint32(id), Num: uint32(opt.Num), History: opt.History}, More: ahead})
	}
	if err != nil {
		return nil, broken(ctx, cancel, err)
	}
	if _, err := opened(ctx, cancel, s); err != nil {
		return nil, err
	}
	k := &console{s: s, ctx: ctx, cancel: cancel, more: make(chan struct{}, 1), taken: make(chan int, 1), gone: make(chan struct{})}
	go k.receive()
	return k, nil
}

func (k *console) receive() {
	defer k.s.Close()
	defer close(k.gone)
	for {
		m, err := k.s.Recv()
		if err != nil {
			if k.err = io.EOF; err != io.EOF && k.ctx.Err() == nil {
				k.err = wire.DecodeError(k.ctx, err)
			}
			return
		}
		if !k.keep(m.Data) {
			k.err = control.Errorf(control.ErrInternal, "the server sends more than was asked for")
			return
		}
		if m.Taken != nil {
			select {
			case k.taken <- int(m.Taken.Count):
			default: // nobody waits: the server is wrong, but nothing is lost
			}
		}
	}
}

// keep adds to the output; false: there is no room, which the server knows.
func (k *console) keep(b []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.output)+len(b) > ahead {
		return false
	}
	k.output = append(k.output, b...)
	select {
	case k.more <- struct{}{}:
	default:
	}
	return true
}

func (k *console) take(b []byte) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := copy(b, k.output)
	k.output = k.output[n:]
	return n
}

// Read implements control.Console.
func (k *console) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	k.reading.Lock()
	defer k.reading.Unlock()
	n := k.take(b)
	for n == 0 {
		select {
		case <-k.more:
			n = k.take(b)
		case <-k.ctx.Done():
			return 0, io.EOF
		case <-k.gone:
			if n = k.take(b); n == 0 {
				return 0, k.err
			}
		}
	}
	if k.read += uint32(n); k.read >= ahead/2 && k.sendIn(&api.ConsoleInput{More: k.read}) == nil {
		k.read = 0
	}
	return n, nil
}

func (k *console) sendIn(m *api.ConsoleInput) error {
	k.send.Lock()
	defer k.send.Unlock()
	return k.s.Send(m)
}

// Write implements control.Console.
func (k *console) Write(b []byte) (int, error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	for done := 0; ; {
		if done == len(b) {
			return done, nil
		}
		piece := b[done:min(len(b), done+wire.Chunk)]
		if k.ctx.Err() != nil || k.sendIn(&api.ConsoleInput{Data: piece}) != nil {
			return done, io.ErrClosedPipe
		}
		n := 0
		select {
		case n = <-k.taken:
		case <-k.ctx.Done():
			return done, io.ErrClosedPipe
		case <-k.gone:
			select {
			case n = <-k.taken:
			default:
				return done, io.ErrClosedPipe
			}
		}
		if done += min(max(n, 0), len(piece)); n < len(piece) {
			return done, io.ErrClosedPipe
		}
	}
}

// Close implements control.Console.
func (k *console) Close() error {
	k.cancel()
	return nil
}
