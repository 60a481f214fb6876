package shell

import (
	"context"
	"io"
	"sync"
)

const (
	ctrlC       = 0x03
	consoleExit = 0x1d // ^]
	maxInput    = 4096 // bytes typed ahead; more are dropped
)

// input is what was typed and not yet read. One goroutine feeds it; whoever has
// the line at the moment (the editor, a console) reads it.
type input struct {
	mu        sync.Mutex
	buf       []byte
	err       error
	interrupt func() // called for ^C, unless it is nil
	wake      chan struct{}
}

func newInput() *input { return &input{wake: make(chan struct{}, 1)} }

// pump reads until it fails, which ends every reader too.
func (in *input) pump(read func([]byte) (int, error)) {
	p := make([]byte, 256)
	for {
		n, err := read(p)
		in.feed(p[:n])
		if err != nil {
			in.mu.Lock()
			in.err = err
			in.mu.Unlock()
			in.signal()
			return
		}
	}
}

func (in *input) feed(p []byte) {
	in.mu.Lock()
	for _, b := range p {
		if b == ctrlC && in.interrupt != nil {
			in.buf = in.buf[:0]
			in.interrupt()
		} else if len(in.buf) < maxInput {
			in.buf = append(in.buf, b)
		}
	}
	in.mu.Unlock()
	in.signal()
}

func (in *input) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// onInterrupt sets what ^C does; nil makes it an ordinary byte.
func (in *input) onInterrupt(f func()) (old func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	old, in.interrupt = in.interrupt, f
	return old
}

// unread puts bytes back to the front.
func (in *input) unread(p []byte) {
	in.mu.Lock()
	in.buf = append(append([]byte(nil), p...), in.buf...)
	in.mu.Unlock()
	in.signal()
}

// read waits for at least a byte.
func (in *input) read(ctx context.Context, p []byte) (int, error) {
	for {
		in.mu.Lock()
		n := copy(p, in.buf)
		in.buf = in.buf[:copy(in.buf, in.buf[n:])]
		err := in.err
		in.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-in.wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Read makes an input a Session's Stdin.
func (in *input) Read(p []byte) (int, error) { return in.read(context.Background(), p) }

// crlf writes line ends as a terminal wants them.
type crlf struct {
	w    io.Writer
	last byte
}

func (c *crlf) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+len(p)/16+2)
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			out = append(out, '\r')
		}
		out, c.last = append(out, b), b
	}
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
