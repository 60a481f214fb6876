package blocktest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/mm"
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

// Flood submits more reads than fit into a device's queues, and returns how they ended. The
// frame that it takes stays in use.
func Flood(t *testing.T, d block.Device, m device.Memory, n int) []error {
	t.Helper()
	frame, _ := m.Alloc(0, mm.ZoneAny)
	size := d.Info().SectorSize
	ends := make(chan error, n)
	go func() {
		for range n {
			d.Submit(&block.Request{Segments: []block.Segment{{Frame: frame, Len: uint16(size)}}, Done: func(_ *block.Request, err error) { ends <- err }})
		}
	}()
	var all []error
	for range n {
		select {
		case err := <-ends:
			all = append(all, err)
		case <-time.After(20 * time.Second):
			t.Fatalf("%d requests did not end", n-len(all))
		}
	}
	return all
}
