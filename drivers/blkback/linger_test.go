package blkback_test

import (
	"testing"
	"time"

	"nidus/drivers/block/ram"
)

// TestLinger: after large requests the next is found without an event, which nobody asks for; after a
// small one, or where no time is given for it, an event is asked for at once. A disk that looks ends at once.
func TestLinger(t *testing.T) {
	large := req{op: 6, id: 9, indirect: firstData + 1}
	for range 33 {
		large.segs = append(large.segs, seg{firstData, 0, 7})
	}
	small := req{op: 0, id: 9, segs: large.segs[:1]}
	const long = time.Minute
	for name, c := range map[string]struct {
		r      req
		linger time.Duration
		asks   bool
	}{
		"large":        {large, long, false},
		"small":        {small, long, true},
		"not to do it": {large, 0, true},
		"for a moment": {large, time.Millisecond, true},
	} {
		g := newGuest(t, ram.Config{Base: make([]byte, 256<<10)})
		g.linger = c.linger
		g.begin(g.disk, false)
		g.connect(0)
		for range 3 {
			if a := g.do(c.r); a.status != 0 {
				t.Fatalf("%s: %+v", name, a)
			}
		}
		asked := func() bool { return g.ring[0].Load32(4) == g.prod+1 }
		if !c.asks {
			g.put(c.r)
			g.ring[0].Store32(0, g.prod) // and no event
			if a := g.get(); a.status != 0 || asked() {
				t.Errorf("%s: %+v; an event is asked for: %v", name, a, asked())
			}
		}
		for end := time.Now().Add(10 * time.Second); c.asks && !asked(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: no event is asked for", name)
			}
		}
		begin := time.Now()
		g.Dev.Close()
		if d := time.Since(begin); d > long/6 {
			t.Errorf("%s: the device took %v to end", name, d)
		}
	}
}
