package shell

import (
	"bytes"
	"context"
	"errors"
	"io"

	"nidus/rpc/control"
)

// console connects the session to a guest's console until ^] is typed, the
// domain ends, or ctx does. Bytes pass as they are, ^C too. It closes con.
func (c *call) console(ctx context.Context, con control.Console) error {
	in, ok := c.Stdin.(*input)
	if !ok {
		// The goroutine ends with its reader, and so with the program.
		in = newInput()
		go in.pump(c.Stdin.Read)
	}
	defer in.onInterrupt(in.onInterrupt(nil))
	out := c.Stdout
	if t, ok := out.(*crlf); ok {
		out = t.w
	}

	if c.Raw != nil {
		restore, err := c.Raw()
		if err != nil {
			con.Close()
			return err
		}
		defer restore()
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outErr, inErr := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(out, con)
		outErr <- err
		cancel()
	}()
	keys := make(chan []byte, 64)
	go func() {
		var err error
		for p := range keys {
			if err == nil {
				_, err = con.Write(p)
			}
		}
		inErr <- err
	}()

	left, err := forward(ctx, in, keys, out)
	close(keys)
	con.Close()
	copyErr := <-outErr
	<-inErr // what the guest didn't take is no error
	if out != c.Stdout {
		io.WriteString(c.Stdout, "\n")
	}
	switch {
	case left || errors.Is(err, io.EOF):
		return nil
	case outer.Err() != nil:
		return outer.Err()
	}
	return copyErr // nil if the domain ended
}

// forward passes what is typed, and tells whether ^] ended it. A guest that
// takes no input must not keep ^] from working: then input is dropped.
func forward(ctx context.Context, in *input, keys chan<- []byte, bell io.Writer) (left bool, err error) {
	var buf [256]byte
	for {
		n, err := in.read(ctx, buf[:])
		if err != nil {
			return false, err
		}
		p, rest, left := bytes.Cut(bytes.Clone(buf[:n]), []byte{consoleExit})
		if len(p) > 0 {
			select {
			case keys <- p:
			default:
				io.WriteString(bell, "\a")
			}
		}
		if left {
			in.unread(rest)
			return true, nil
		}
	}
}
