package blkback_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/blkback"
	"nidus/drivers/block"
	"nidus/drivers/block/ram"
)

// held are requests that a device has, of which there are no more for a while.
func held(t *testing.T, s *slow) (all []*block.Request) {
	t.Helper()
	for {
		select {
		case r := <-s.got:
			all = append(all, r)
		case <-time.After(50 * time.Millisecond):
			return all
		}
	}
}

// TestLargeRequests: those in flight are bounded for the disks of a domain; one that hangs
// leaves others some, and all are done in the end.
func TestLargeRequests(t *testing.T) {
	const size, large = 256, 128
	quota := &blkback.Quota{}
	many := make([]seg, 12)
	for i := range many {
		many[i] = seg{ref: firstData + 1 + i}
	}
	var guests []*guest
	var disks []*slow
	var flying [][]*block.Request
	for i, want := range []int{large / 2, large / 4, large / 8} {
		g := newGuest(t, ram.Config{Bytes: 1 << 20})
		s := &slow{Disk: g.disk, got: make(chan *block.Request, 2*size)}
		gb := g.Backend()
		g.Start(gb, &blkback.Disk{Guest: gb, Device: s, Quota: quota, Log: g.Logf})
		g.D.OnDestroy(g.end)
		g.connect(3)
		for k := range size {
			g.put(req{op: 6, id: uint64(k), indirect: firstData, segs: many})
		}
		g.push()
		got := held(t, s)
		if len(got) != want {
			t.Errorf("disk %d has %d requests in flight, want %d", i, len(got), want)
		}
		guests, disks, flying = append(guests, g), append(disks, s), append(flying, got)
	}
	// The last one goes on while the others hang.
	for i := range slices.Backward(guests) {
		g, s := guests[i], disks[i]
		go func() {
			for _, r := range flying[i] {
				g.disk.Submit(r)
			}
			for range size - len(flying[i]) {
				g.disk.Submit(<-s.got)
			}
		}()
		for range size {
			if a := g.get(); a.status != 0 {
				t.Fatalf("disk %d: %+v", i, a)
			}
		}
	}
}

// TestRings: the rings of a domain's disks have so many slots, and who wants more is told.
func TestRings(t *testing.T) {
	quota := &blkback.Quota{}
	for k := 0; ; k++ {
		g := newGuest(t, ram.Config{Bytes: 1 << 20})
		gb := g.Backend()
		g.Start(gb, &blkback.Disk{Guest: gb, Device: g.disk, Quota: quota, Log: g.Logf})
		g.D.OnDestroy(g.end)
		g.offer(3)
		g.Set("state", "3")
		if k < 8192/256 {
			g.Await(backend.Connected)
			continue
		}
		g.Await(backend.Closed)
		if l := g.Lines(); len(l) != 1 || !strings.Contains(l[0], fmt.Sprint(8192+256)) {
			t.Errorf("log: %q", l)
		}
		break
	}
}
