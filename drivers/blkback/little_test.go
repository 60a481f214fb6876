package blkback_test

import (
	"slices"
	"testing"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
)

// waits is a disk whose Submit waits until it is let go.
type waits struct {
	*ram.Disk
	prompt bool
	let    chan struct{}
}

func (s *waits) Info() block.Info {
	i := s.Disk.Info()
	i.Prompt = s.prompt
	i.CanFlush = true
	return i
}

func (s *waits) Submit(r *block.Request) {
	<-s.let
	if r.Op == block.Flush {
		r.Done(r, nil)
		return
	}
	s.Disk.Submit(r)
}

// TestLittle: small requests, alone or together, are done when the guest's event is sent, without
// any other goroutine, if the device does them at once. The vcpu that sends the event does not
// wait for a device that may take its time, for a barrier, or for what is large.
func TestLittle(t *testing.T) {
	one := req{op: 0, id: 9, segs: []seg{{firstData, 0, 7}}}
	const little, rounds = 32, 100
	for name, c := range map[string]struct {
		r    req
		n    int
		want int // rounds, at least
	}{
		"one":       {one, 1, rounds / 2},
		"some":      {one, 11, rounds / 2},
		"many":      {one, little, 1}, // this guest waits for nothing
		"of pieces": {req{op: 6, id: 9, indirect: firstData + 1, segs: slices.Repeat(one.segs, little)}, 1, 1},
	} {
		g := newGuest(t, ram.Config{Base: make([]byte, 256<<10)})
		g.begin(g.disk, false)
		g.connect(0)
		// The queue's goroutine may be at it at that moment, as it is after connecting and after each event that
		// found it so.
		atOnce := 0
		for i := range rounds {
			for range c.n {
				g.put(c.r)
			}
			g.push()
			if g.ring[0].Load32(8) == g.cons+uint32(c.n) {
				atOnce++
			}
			for range c.n {
				if a := g.get(); a != (rsp{9, 0, 0}) {
					t.Fatalf("%s: round %d: %+v", name, i, a)
				}
			}
		}
		if atOnce < c.want {
			t.Errorf("%s: of %d rounds %d had their answers after their events, want %d", name, rounds, atOnce, c.want)
		}
	}

	for name, c := range map[string]struct {
		prompt bool
		r      req
	}{
		"a device that waits": {false, one},
		"a barrier":           {true, req{op: 2, id: 9, segs: one.segs}},
		"a large request":     {true, req{op: 6, id: 9, indirect: firstData + 1, segs: slices.Repeat(one.segs, little+1)}},
	} {
		g := newGuest(t, ram.Config{Base: make([]byte, 256<<10)})
		dev := &waits{g.disk, c.prompt, make(chan struct{})}
		g.begin(dev, false)
		g.connect(0)
		g.put(c.r)
		g.push() // comes back
		close(dev.let)
		if a := g.get(); a != (rsp{9, c.r.op % 6, 0}) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// full is a disk whose device takes its time, and has room for one request.
type full struct {
	*ram.Disk
	room chan *block.Request
}

func (d *full) Info() block.Info {
	i := d.Disk.Info()
	i.Prompt = true
	return i
}

func (d *full) Submit(r *block.Request) { d.room <- r }

// TestFull: of small requests that come together the vcpu begins no second one while the first is under way, and waits for no room.
func TestFull(t *testing.T) {
	one := req{op: 0, id: 9, segs: []seg{{firstData, 0, 7}}}
	for i := 0; i < 10 && !t.Failed(); i++ { // in some the queue's goroutine is faster
		g := newGuest(t, ram.Config{Base: make([]byte, 64<<10)})
		dev := &full{g.disk, make(chan *block.Request, 1)}
		g.begin(dev, false)
		g.connect(0)
		g.put(one)
		g.put(one)
		sent := make(chan struct{})
		go func() {
			g.push()
			close(sent)
		}()
		select {
		case <-sent:
		case <-time.After(10 * time.Second):
			t.Error("the vcpu waits for the device")
		}
		for range 2 {
			g.disk.Submit(<-dev.room)
			if a := g.get(); a != (rsp{9, 0, 0}) {
				t.Errorf("%+v", a)
			}
		}
	}
}
