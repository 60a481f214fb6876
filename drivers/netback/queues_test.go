package netback_test

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/netback"
)

// TestQueues: with two queues, each with one event channel for both ways, what the guest
// sends by either arrives, and each flow to it goes by one.
func TestQueues(t *testing.T) {
	g := newGuest(t)
	g.begin(netback.Rate{})
	g.offer(map[string]string{"multi-queue-num-queues": "2", "tx-ring-ref": "", "rx-ring-ref": "", "event-channel-tx": "", "event-channel-rx": ""})
	var tx, rx [2]shared
	for k := range tx {
		tx[k] = shared{page: g.Page(300 + 2*k), slot: 12}
		rx[k] = shared{page: g.Page(301 + 2*k), slot: 8, first: 32 + 128*k}
		port, err := g.D.Events.AllocUnbound(0)
		if err != nil {
			t.Fatal(err)
		}
		tx[k].port, rx[k].port = port, port
		for i, r := range []*shared{&tx[k], &rx[k]} {
			r.page.Clear()
			r.page.Store32(4, 1)
			r.page.Store32(12, 1)
			g.Set(fmt.Sprintf("queue-%d/%s-ring-ref", k, [...]string{"tx", "rx"}[i]), strconv.Itoa(300+2*k+i))
		}
		g.Set(fmt.Sprintf("queue-%d/event-channel", k), strconv.Itoa(int(port)))
	}
	g.Set("state", "4")
	g.Await(backend.Connected)

	for k := range tx {
		g.tx = tx[k]
		for n := range 5 { // by the vcpu, and with more slots by the goroutine
			frame := tcp(100 + 900*n)
			before, _, _ := g.last()
			g.send(frame, 0, 1000)
			g.push(&g.tx)
			for range (len(frame) + 999) / 1000 {
				if _, status := g.status(); status != 0 {
					t.Fatalf("queue %d, frame %d: status %d", k, n, status)
				}
			}
			if after, b, _ := g.last(); after != before+1 || !bytes.Equal(b, frame) {
				t.Fatalf("queue %d, frame %d: %d frames, %d bytes", k, n, after-before, len(b))
			}
		}
	}

	for k := range rx {
		g.rx = rx[k]
		g.offerPages(128)
		rx[k] = g.rx
	}
	const flows, each = 16, 8
	done := 0
	var frames []*link.Frame
	for i := range flows * each {
		b := tcp(8)
		be.PutUint16(b[34:], uint16(1000+i%flows))
		b[54] = byte(i / flows)
		frames = append(frames, hostFrame(g, b, &done))
	}
	g.port.Send(frames)
	var by [2]int
	seen := map[uint16]byte{} // by port: the next number, and 128 for queue 1
	for k := range rx {
		g.rx = rx[k]
		for g.rx.page.Load32(8) != g.rx.cons {
			f := g.receive()
			by[k]++
			flow, want := be.Uint16(f.data[34:]), byte(k<<7)
			if was, ok := seen[flow]; ok {
				want = was
			}
			if f.data[54]|byte(k<<7) != want {
				t.Fatalf("flow %d: frame %d by queue %d, want %#x", flow, f.data[54], k, want)
			}
			seen[flow] = want + 1
		}
	}
	if by[0]+by[1] != flows*each || by[0] == 0 || by[1] == 0 || done != flows*each {
		t.Errorf("%v frames by the queues, %d done", by, done)
	}
}
