package devicetest

import (
	"fmt"
	"strings"
	"sync"
)

// Log is what a driver says. Its zero value is ready.
type Log struct {
	mu sync.Mutex
	b  strings.Builder
}

// Printf takes a line.
func (l *Log) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.b, format+"\n", args...)
}

// String returns all lines.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Count tells how often it has a text.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }
