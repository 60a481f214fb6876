package console

import (
	"io"
	"sync"
)

// Emergency takes what a guest writes by HYPERVISOR_console_io (CONSOLEIO_write
// in xen.h) and passes it on in whole lines, each behind a prefix, so that
// guests' lines don't mix.
type Emergency struct {
	mu     sync.Mutex
	out    io.Writer
	prefix int
	line   []byte // prefix and what came since the last newline
}

// emergencyLine is the longest line that is kept whole, bytes.
const emergencyLine = 256

// NewEmergency returns a line buffer in front of out; prefix is for example
// "(d3) ". Each line goes to out in one Write that out must not keep.
func NewEmergency(out io.Writer, prefix string) *Emergency {
	e := &Emergency{out: out, prefix: len(prefix), line: make([]byte, 0, len(prefix)+emergencyLine+1)}
	e.line = append(e.line, prefix...)
	return e
}

// Write buffers p. Characters that could steer a terminal become '.'; it never
// fails and allocates nothing.
func (e *Emergency) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n':
			e.flush()
			continue
		case c == '\r' || c == 0:
			continue
		case c == '\t' || c >= 0x20 && c != 0x7f && c < 0x80:
		default:
			c = '.'
		}
		e.line = append(e.line, c)
		if len(e.line) == e.prefix+emergencyLine {
			e.flush()
		}
	}
	return len(p), nil
}

// Flush passes on a line that has no end, as when the domain dies.
func (e *Emergency) Flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.line) > e.prefix {
		e.flush()
	}
}

func (e *Emergency) flush() {
	_, _ = e.out.Write(append(e.line, '\n'))
	e.line = e.line[:e.prefix]
}
