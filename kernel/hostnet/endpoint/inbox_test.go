package endpoint

import (
	"math/rand/v2"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"

	"nidus/drivers/link"
)

// sized is a frame of n bytes, the first of which says who sent it.
func sized(from link.ID, n int) inbound {
	v := buffer.NewViewSize(n)
	v.AsSlice()[0] = byte(from)
	return inbound{view: v}
}

// TestFlood: who floods the inbox has half of it; another one's frame is taken, and is
// delivered in the turn after the one that is under way.
func TestFlood(t *testing.T) {
	for _, c := range []struct{ size, taken, turn int }{
		{60, maxWaiting / 2, turn / leastCost},
		{link.MaxFrame, 32, 1},
		{32 << 10, maxWaitingBytes / 2 / (32 << 10), 2},
	} {
		b := newInbox()
		const flood = 3 * maxWaiting
		for range flood {
			b.add(1, sized(1, c.size))
		}
		if n := flood - int(b.dropped.Load()); n != c.taken {
			t.Errorf("%d frames of %d bytes are taken, want %d", n, c.size, c.taken)
		}
		dropped := b.dropped.Load()
		b.add(2, sized(2, c.size))
		if b.dropped.Load() != dropped {
			t.Errorf("frames of %d bytes: another sender's is dropped", c.size)
		}
		got, _ := b.take(nil)
		if n := len(got); n != c.turn || got[0].view.AsSlice()[0] != 1 {
			t.Errorf("%d frames of %d bytes in a turn, want %d", n, c.size, c.turn)
		}
		b.add(1, sized(1, c.size))
		if got, _ = b.take(got); len(got) != 1 || got[0].view.AsSlice()[0] != 2 {
			t.Errorf("frames of %d bytes: then come %d of sender %d", c.size, len(got), got[0].view.AsSlice()[0])
		}
	}
}

// TestTurns: senders that have always something get the same number of bytes each, whatever
// the sizes of their frames are; nothing is lost, and each one's are in order.
func TestTurns(t *testing.T) {
	b := newInbox()
	sizes := map[link.ID]int{1: leastCost, 2: 9000, 3: link.MaxFrame, 4: 40000}
	var sent, seen [5]byte
	var bytes [5]int
	total := 0
	var got []inbound
	for range 5000 {
		for id, n := range sizes {
			for range rand.IntN(2 * turn / n) {
				x := sized(id, n)
				x.view.AsSlice()[1] = sent[id]
				was := b.dropped.Load()
				if b.add(id, x); b.dropped.Load() == was {
					sent[id]++
				}
			}
		}
		if len(b.turns) < len(sizes) {
			continue
		}
		got, _ = b.take(got)
		for _, in := range got {
			id, k := in.view.AsSlice()[0], in.view.AsSlice()[1]
			if k != seen[id] {
				t.Fatalf("sender %d: frame %d, want %d", id, k, seen[id])
			}
			seen[id]++
			bytes[id] += in.view.Size()
			total += in.view.Size()
			in.view.Release()
		}
	}
	for id := range sizes {
		if share := float64(bytes[id]) / float64(total); share < 0.24 || share > 0.26 {
			t.Errorf("sender %d has %.3f of %d bytes", id, share, total)
		}
	}
	b.close()
	got, ok := b.take(got)
	if ok || b.frames != 0 || b.bytes != 0 || len(b.turns) != 0 {
		t.Errorf("closed: %v, %d frames, %d bytes", ok, b.frames, b.bytes)
	}
	for _, in := range got {
		seen[in.view.AsSlice()[0]]++
	}
	if seen != sent {
		t.Errorf("%v frames were taken, %v came out", sent, seen)
	}
}
