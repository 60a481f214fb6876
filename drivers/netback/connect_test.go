package netback_test

import (
	"sync"
	"testing"

	"nidus/drivers/backend"
	"nidus/drivers/netback"
)

// TestEventsAtOnce: a guest that sends frames, and events without a pause, before it is told
// that it is connected, finds the backend's end whole: the race detector looks on.
func TestEventsAtOnce(t *testing.T) {
	for range 30 {
		g := newGuest(t)
		g.begin(netback.Rate{})
		g.offer(nil)
		g.send(tcp(100), 0, 1000)
		g.tx.page.Store32(0, g.tx.prod)
		var vcpu sync.WaitGroup
		stop := make(chan struct{})
		vcpu.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = g.D.Events.Send(g.tx.port)
				}
			}
		})
		g.Set("state", "4")
		g.Await(backend.Connected)
		if _, status := g.status(); status != 0 {
			t.Errorf("status %d", status)
		}
		g.until("the guest hears of the answer", func() bool {
			is, err := g.D.Events.AnyPending([]uint32{g.tx.port})
			return is || err != nil
		})
		close(stop)
		vcpu.Wait()
	}
}
