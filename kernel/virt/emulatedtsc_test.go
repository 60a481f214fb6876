package virt

import (
	"sync"
	"testing"
)

// TestEmulatedTSC: no reader sees it go back, whatever the clock does.
func TestEmulatedTSC(t *testing.T) {
	e := EmulatedTSC{Start: 100}
	for _, c := range []struct{ now, want uint64 }{{105, 5}, {107, 7}, {106, 7}, {100, 7}, {108, 8}} {
		if got := e.Read(int64(c.now)); got != c.want {
			t.Errorf("at %d: %d, want %d", c.now, got, c.want)
		}
	}
	var wg sync.WaitGroup
	for skew := range uint64(4) {
		wg.Go(func() {
			last := uint64(0)
			for i := range uint64(10000) {
				got := e.Read(int64(100 + 10*i + 3*skew))
				if got < last {
					t.Errorf("%d after %d", got, last)
				}
				last = got
			}
		})
	}
	wg.Wait()
}
