package qemu

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// stampedLog writes lines to a file with the seconds since its start before
// each. Its methods may be called by several goroutines. A log that cannot be
// written stays short: that ends no test.
type stampedLog struct {
	mu     sync.Mutex
	f      *os.File
	start  time.Time
	inLine bool
}

func newStampedLog(name string) (*stampedLog, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return &stampedLog{f: f, start: time.Now()}, err
}

// Write adds output as it comes, in any pieces.
func (l *stampedLog) Write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(b) {
		if !l.inLine {
			fmt.Fprintf(l.f, "%9.3f ", time.Since(l.start).Seconds())
		}
		text, whole := bytes.CutSuffix(line, []byte("\n"))
		l.f.Write(bytes.TrimSuffix(text, []byte("\r")))
		if whole {
			l.f.Write([]byte("\n"))
		}
		l.inLine = !whole
	}
}

// note adds a line of our own.
func (l *stampedLog) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inLine {
		l.f.Write([]byte("\n"))
		l.inLine = false
	}
	fmt.Fprintf(l.f, "%9.3f == %s\n", time.Since(l.start).Seconds(), text)
}

// errors is where the emulator's standard error goes. What TCG says about CPU
// features that it lacks is left out: it says it for each CPU.
func (l *stampedLog) errors() io.Writer { return errorLog{l} }

type errorLog struct{ l *stampedLog }

func (e errorLog) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte("TCG doesn't support requested feature")) {
			e.l.note(string(bytes.TrimRight(line, "\r\n")))
		}
	}
	return len(b), nil
}

func (l *stampedLog) Close() error { return l.f.Close() }

// AppendLog adds another program's log to a log, at most its last 64 KiB.
func AppendLog(log, title string, text []byte) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "== %s\n%s\n", title, text[max(0, len(text)-64<<10):])
	return err
}
