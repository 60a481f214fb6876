package netback_test

import (
	"bytes"
	"testing"

	"nidus/drivers/link"
)

// TestStall: frames for a guest that makes no room are dropped in the end, and it receives
// again when it does.
func TestStall(t *testing.T) {
	g := newGuest(t)
	g.connect(nil)
	done := 0
	count := func() int { g.mu.Lock(); defer g.mu.Unlock(); return done }
	frames := make([]*link.Frame, 100)
	for i := range frames {
		frames[i] = hostFrame(g, tcp(1), &done)
	}
	g.port.Send(frames)
	if n := count(); n != 36 {
		t.Errorf("%d are dropped at once, want those beyond 64", n)
	}
	g.until("all are dropped", func() bool { return count() == 100 })
	g.port.Send(frames[:1])
	if n := count(); n != 101 {
		t.Error("a frame waits for a guest that sleeps")
	}
	g.offerPages(1)
	g.port.Send(frames[:1])
	if f := g.receive(); !bytes.Equal(f.data, tcp(1)) {
		t.Errorf("%x", f.data)
	}
}

// TestWaiting: what waits for a guest that makes no room is bounded by its bytes, and by a
// share of what its sender can lend, which it gets again when that is dropped.
func TestWaiting(t *testing.T) {
	for _, c := range []struct {
		name        string
		size, lends int // bytes of data; buffers of the Lender, 0: none
		each        int // buffers of a frame
		want        int // frames that wait
	}{
		{"small frames", 1, 0, 0, 64},
		{"long frames", 60000, 0, 0, 17},
		{"a Lender with plenty", 1, 1024, 1, 64},
		{"a Lender with little", 1, 64, 1, 16},
		{"many of a Lender's buffers", 60000, 1024, 17, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			g.connect(nil)
			done := 0
			count := func() int { g.mu.Lock(); defer g.mu.Unlock(); return done }
			f := hostFrame(g, tcp(c.size), &done)
			var lender *link.Lender
			if c.lends > 0 {
				lender = link.NewLender(c.lends)
			}
			f.Lender, f.Buffers = lender, c.each
			frames := make([]*link.Frame, 100)
			for i := range frames {
				frames[i] = f
			}
			for round := range 2 {
				g.port.Send(frames)
				if n := 100 - count(); n != c.want {
					t.Errorf("%d frames wait, want %d", n, c.want)
				}
				if free := c.lends/2 - c.want*c.each; lender != nil {
					if lender.Keep(0, free/2+1) {
						t.Error("another one may keep more than half of what is left")
					}
					if !lender.Keep(0, free/2) {
						t.Error("another one may not keep half of what is left")
					}
					lender.Return(free / 2)
				}
				g.until("all are dropped", func() bool { return count() == 100 })
				if lender != nil && !lender.Keep(0, c.lends/4) {
					t.Error("the Lender's share is not returned")
				}
				lender.Return(c.lends / 4)
				if round == 1 {
					break
				}
				// The guest wakes up, and sleeps again.
				done = 0
				n := (f.Len() + 4095) / 4096
				g.offerPages(n)
				g.port.Send(frames[:1])
				if b := g.receive(); !bytes.Equal(b.data, tcp(c.size)) {
					t.Errorf("%d bytes", len(b.data))
				}
				done = 0
			}
		})
	}
}
