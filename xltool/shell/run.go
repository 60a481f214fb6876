package shell

import (
	"context"
	"errors"
	"fmt"
	"io"

	"nidus/rpc/control"
)

// Terminal is a raw terminal of the VT100 kind, such as a serial line: it
// neither echoes nor changes what passes.
type Terminal interface {
	// Read waits for at least a byte, or for the context's end.
	Read(ctx context.Context, p []byte) (int, error)
	io.Writer
}

// Run reads commands from a terminal and runs them until ctx ends, which is the
// error then, or the terminal does, which is nil. All goroutines that it
// started have ended when it returns. ^C interrupts a command.
func Run(ctx context.Context, tty Terminal, plane control.Plane) error {
	ctx, cancel := context.WithCancel(ctx)
	in := newInput()
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		in.pump(func(p []byte) (int, error) { return tty.Read(ctx, p) })
	}()
	defer func() {
		cancel()
		<-pumped
	}()

	out := &crlf{w: tty}
	s := Session{Plane: plane, Stdin: in, Stdout: out, Stderr: out, Interactive: true, prompting: true}
	e := editor{keys: keyReader{in: in}, out: tty, prompt: Prompt, complete: completer(plane)}
	fmt.Fprintf(out, "Type \"help\" for the commands.\n")
	for {
		line, err := e.readLine(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		words, err := split(line)
		if err != nil {
			s.report("", err)
			continue
		}
		if len(words) > 0 {
			s.interruptible(ctx, in, words)
		}
	}
}

// interruptible runs a command that ^C cancels. A panic ends only the command:
// the shell is how one gets at a machine in trouble.
func (s *Session) interruptible(ctx context.Context, in *input, words []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.onInterrupt(cancel)
	defer in.onInterrupt(nil)
	defer func() {
		if p := recover(); p != nil {
			s.report(words[0], fmt.Errorf("%w of the shell: %v; please report it", control.ErrInternal, p))
		}
	}()
	s.Exec(ctx, words)
}
