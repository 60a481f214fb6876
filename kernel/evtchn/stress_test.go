package evtchn

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// TestConcurrent has four senders with one channel each, a vcpu that sends to itself, unmaskers, movers and
// domains that come and go, while every vcpu takes its events. Each sender
// counts up before it sends; at the end every last count must have been seen,
// or an event was lost.
func TestConcurrent(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		t.Run(map[bool]string{false: "2level", true: "fifo"}[fifo], func(t *testing.T) { stress(t, fifo) })
	}
}

func stress(t *testing.T, fifo bool) {
	const senders, sends = 4, 5000
	var h Hub
	recv := newGuest(t, &h, 1, nil)
	if fifo {
		recv.useFIFO(1)
	}
	var count, seen [senders + 1]atomic.Uint64
	var far [senders]uint32
	var near [senders + 1]uint32 // the last is an IPI's
	var from [senders]*guest
	byPort := map[uint32]int{}
	for i := range senders {
		from[i] = newGuest(t, &h, mm.DomID(2+i), nil)
		far[i] = must(from[i].d.AllocUnbound(1))
		near[i] = must(recv.d.BindInterdomain(from[i].d.ID(), far[i]))
		byPort[near[i]] = i
	}
	const self = 1 // the vcpu with the IPI
	near[senders] = must(recv.d.BindIPI(self))
	byPort[near[senders]] = senders
	var stop atomic.Bool
	var quick atomic.Int64
	var takers, senderGroup, noise sync.WaitGroup
	for v := range testVCPUs {
		takers.Go(func() {
			for last := false; ; {
				if recv.calls[v].Load() == 0 {
					if last {
						return
					}
					last = stop.Load()
					runtime.Gosched()
					continue
				}
				for _, n := range recv.take(v) {
					if i, ok := byPort[n]; ok {
						seen[i].Store(count[i].Load())
					}
				}
			}
		})
	}
	for i := range senders {
		senderGroup.Go(func() {
			for range sends {
				count[i].Add(1)
				if err := from[i].d.Send(far[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senderGroup.Go(func() {
		for range sends {
			count[senders].Add(1)
			if done, poll := recv.d.Quick(near[senders], self); done {
				quick.Add(1)
				recv.NotifyVCPU(self, false)
				if poll != 0 {
					recv.d.WakePollers(poll)
				}
			} else if err := recv.d.Send(near[senders]); err != nil {
				t.Error(err)
			}
			runtime.Gosched()
		}
	})
	noise.Go(func() { // unmask races with sending
		for n := 0; !stop.Load(); n++ {
			recv.mask(near[n%len(near)])
			recv.d.Unmask(near[n%len(near)])
			runtime.Gosched()
		}
	})
	if fifo { // with 2-level the test's guest could take a moved event late
		noise.Go(func() {
			for n := 0; !stop.Load(); n++ {
				recv.d.SetPriority(near[n%len(near)], uint32(n%16))
				runtime.Gosched()
			}
		})
	}
	noise.Go(func() {
		for n := 0; !stop.Load(); n++ {
			recv.d.BindVCPU(near[n%len(near)], uint32(n/len(near)%testVCPUs))
			runtime.Gosched()
		}
	})
	noise.Go(func() { // domains come and go, with channels to everybody
		for !stop.Load() {
			g := newGuest(t, &h, 100, nil)
			if n, err := g.d.AllocUnbound(1); err == nil {
				if m, err := recv.d.BindInterdomain(100, n); err == nil {
					g.d.Send(n)
					recv.d.Send(m)
					noise.Go(func() { recv.d.Close(m) })
				}
			}
			g.d.Destroy()
		}
	})
	noise.Go(func() { // a vcpu's timer
		n := must(recv.d.BindVIRQ(xenabi.VIRQTimer, 3))
		for !stop.Load() {
			recv.d.RaiseVIRQ(3, xenabi.VIRQTimer)
			recv.d.BeginPoll(2, []uint32{n})
			recv.d.EndPoll(2)
			runtime.Gosched()
		}
	})
	senderGroup.Wait()
	done := func() bool {
		for i := range seen {
			if seen[i].Load() != sends {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(10 * time.Second); !done() && time.Now().Before(end); {
		runtime.Gosched()
	}
	stop.Store(true)
	noise.Wait()
	takers.Wait()
	for i := range seen {
		if n := seen[i].Load(); n != sends {
			t.Errorf("channel %d: the taker saw %d of %d: an event is lost", i, n, sends)
		}
	}
	for _, f := range from {
		f.d.Destroy()
	}
	if n := quick.Load(); n < sends/10 {
		t.Errorf("%d of %d were sent by Quick", n, sends)
	}
	recv.d.Destroy()
	if recv.mem.pinned() != 0 || recv.d.PortsInUse() != 0 {
		t.Error("something is left")
	}
}
