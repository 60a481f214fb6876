package domain

import (
	"sync"
	"testing"
)

// TestEmulatedTSC: no reader sees it go back, whatever the clock does.
func TestEmulatedTSC(t *testing.T) {
	var e emulatedTSC
	for _, c := range []struct{ now, want uint64 }{{5, 5}, {7, 7}, {6, 7}, {0, 7}, {8, 8}} {
		if got := e.read(c.now); got != c.want {
			t.Errorf("at %d: %d, want %d", c.now, got, c.want)
		}
	}
	var wg sync.WaitGroup
	for skew := range uint64(4) {
		wg.Go(func() {
			last := uint64(0)
			for i := range uint64(10000) {
				got := e.read(10*i + 3*skew)
				if got < last {
					t.Errorf("%d after %d", got, last)
				}
				last = got
			}
		})
	}
	wg.Wait()
}
