package blkback_test

import (
	"fmt"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
)

// watches is a disk that looks how many answers the guest knows of when a request comes.
type watches struct {
	*ram.Disk
	g      *guest
	prompt bool
	seen   []uint32
}

func (w *watches) Info() block.Info {
	i := w.Disk.Info()
	i.Prompt = w.prompt
	return i
}

func (w *watches) Submit(r *block.Request) {
	w.seen = append(w.seen, w.g.ring[0].Load32(8))
	w.Disk.Submit(r)
}

// TestHeld: of requests that come together and are done at once the guest learns together, up to 16, with an event if
// it asked for one by any of them; where a device may take its time it learns of each.
func TestHeld(t *testing.T) {
	for _, c := range []struct {
		prompt bool
		n      int
		event  uint32 // the answer by which one is asked for
		want   bool
	}{
		{true, 32, 1, true}, {true, 32, 32, true}, {true, 32, 33, false}, {true, 5, 3, true}, {true, 5, 6, false}, {false, 32, 1, true}, {false, 32, 32, true}, {false, 5, 6, false},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			g := newGuest(t, ram.Config{Base: make([]byte, 64<<10)})
			dev := &watches{Disk: g.disk, g: g, prompt: c.prompt}
			g.begin(dev, false)
			g.connect(0)
			g.ring[0].Store32(12, c.event)
			for i := range c.n {
				g.put(req{op: 0, id: uint64(i), segs: []seg{{firstData, 0, 7}}})
			}
			g.push()
			for i := range c.n {
				if a := g.get(); a != (rsp{uint64(i), 0, 0}) {
					t.Fatalf("answer %d: %+v", i, a)
				}
			}
			g.Dev.Close() // so that its goroutine has sent what it sends
			for i, n := range dev.seen {
				want := uint32(i)
				if c.prompt {
					want = uint32(i) &^ 15
				}
				if n != want {
					t.Fatalf("the guest knew of %d answers at request %d, want %d", n, i, want)
				}
			}
			if got, err := g.D.Events.AnyPending([]uint32{g.port}); err != nil || got != c.want {
				t.Errorf("an event: %v, %v", got, err)
			}
		})
	}
}
