package blkback

import (
	"testing"
	"time"
)

// TestPace: a vcpu goes on doing what it sends as long as the guest takes at least twice as long for the next; otherwise
// it does the first of 65.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		took, gap time.Duration
		want      int // of 650
	}{
		"waits":    {100, 300, 650},
		"twice":    {100, 200, 650},
		"prepares": {100, 199, 10},
	} {
		var p pace
		now, did := time.Now(), 0
		for range 650 {
			if p.allows(now) {
				did++
				p.took(now, now.Add(c.took))
				now = now.Add(c.took)
			}
			now = now.Add(c.gap)
		}
		if did != c.want {
			t.Errorf("%s: the vcpu did %d requests, want %d", name, did, c.want)
		}
	}
}
