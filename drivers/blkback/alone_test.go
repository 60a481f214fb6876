package blkback_test

import (
	"testing"

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

// TestAlone: a small request that comes alone is done when the guest's event is sent, without
// any other goroutine, if the device does it at once. The vcpu that sends the event does not
// wait for a device that may take its time, for a barrier, or for a large request.
func TestAlone(t *testing.T) {
	g := newGuest(t, ram.Config{Base: make([]byte, 64<<10)})
	g.begin(g.disk, false)
	g.connect(0)
	one := req{op: 0, id: 9, segs: []seg{{firstData, 0, 7}}}
	// The queue's goroutine may be at it at that moment, as it is after connecting and after each event that
	// found it so.
	const rounds = 100
	atOnce := 0
	for i := range rounds {
		g.put(one)
		g.push()
		if g.ring[0].Load32(8) == g.cons+1 {
			atOnce++
		}
		if a := g.get(); a != (rsp{9, 0, 0}) {
			t.Fatalf("request %d: %+v", i, a)
		}
	}
	if atOnce < rounds/2 {
		t.Errorf("of %d requests %d had their answers after their events", rounds, atOnce)
	}

	for name, c := range map[string]struct {
		prompt bool
		r      req
	}{
		"a device that waits": {false, one},
		"a barrier":           {true, req{op: 2, id: 9, segs: []seg{{firstData, 0, 7}}}},
		"a large request":     {true, req{op: 6, id: 9, indirect: firstData + 1, segs: []seg{{firstData, 0, 7}}}},
	} {
		g := newGuest(t, ram.Config{Base: make([]byte, 64<<10)})
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
