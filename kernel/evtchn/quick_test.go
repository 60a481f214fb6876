package evtchn

import (
	"runtime"
	"sync/atomic"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// TestQuickRefuses: what Quick doesn't do has done nothing; TestModel has the rest.
func TestQuickRefuses(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(h *Hub, id mm.DomID) *guest) {
		var h Hub
		g := make(&h, 1)
		ipi := must(g.d.BindIPI(2))
		unbound := must(g.d.AllocUnbound(1))
		near := must(g.d.BindInterdomain(1, must(g.d.AllocUnbound(1))))
		local := must(g.d.AllocLocal(1, func() { t.Error("the hypervisor's port was called") }))
		far := must(g.d.BindInterdomain(1, local))
		g.takeAll()
		refused := func(what string, n uint32, vcpu int32) {
			t.Helper()
			if done, poll := g.d.Quick(n, vcpu); done || poll != 0 {
				t.Errorf("%s: %v, %d", what, done, poll)
			}
		}
		for _, n := range []uint32{0, unbound, local, far, 999, DefaultMaxPorts + 1, ^uint32(0)} {
			refused("a port that isn't to itself", n, 0)
		}
		for _, v := range []int32{0, 1, 3, 4, -1} {
			refused("another vcpu's", ipi, v)
		}
		p, q := g.d.lookup(ipi), g.d.lookup(near)
		p.mu.Lock()
		refused("a port in use", ipi, 2)
		p.mu.Unlock()
		q.mu.Lock()
		refused("a port in use", near, 0)
		q.mu.Unlock()
		q = g.d.lookup(q.peerPort)
		q.mu.Lock()
		refused("a peer in use", near, 0)
		q.mu.Unlock()
		g.expect()
		if f := g.d.fifo.Load(); f != nil {
			cb := f.block(2)
			prio := &cb.queues[xenabi.EvtchnFIFOPriorityDefault]
			prio.mu.Lock()
			refused("a queue in use", ipi, 2)
			prio.mu.Unlock()
			if done, _ := g.d.Quick(ipi, 2); !done {
				t.Error("refused without a reason")
			}
			g.calls[2].Add(1)
			g.expect(ipi)
			g.d.SetPriority(ipi, 0)
			prio.mu.Lock()
			refused("the old queue in use", ipi, 2)
			prio.mu.Unlock()
			g.expect()
		}
		if done, _ := g.d.Quick(ipi, 2); !done {
			t.Error("refused without a reason")
		}
		if g.calls[2].Load() != 0 {
			t.Error("the vcpu itself was notified")
		}
		g.calls[2].Add(1)
		g.expect(ipi)
		g.mask(ipi)
		if done, _ := g.d.Quick(ipi, 2); !done || g.d.PendingUpcall(2) {
			t.Error("a masked event isn't for the vcpu to look at")
		}
	})
}

// TestQuickPoll: a vcpu that waits for a port is left to be woken.
func TestQuickPoll(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	n := must(g.d.BindIPI(0))
	if ready, err := g.d.BeginPoll(3, []uint32{n}); ready || err != nil {
		t.Fatal(ready, err)
	}
	if done, poll := g.d.Quick(n, 0); !done || poll != n {
		t.Errorf("%v, %d; want port %d", done, poll, n)
	}
	g.d.WakePollers(n)
	if g.calls[3].Load() != 1 || g.calls[0].Load() != 0 {
		t.Errorf("notified: %d and %d times", g.calls[3].Load(), g.calls[0].Load())
	}
}

// TestQuickDoesNotAllocate, nor does it notify.
func TestQuickDoesNotAllocate(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(h *Hub, id mm.DomID) *guest) {
		var h Hub
		g := make(&h, 1)
		n := must(g.d.BindIPI(0))
		if a := testing.AllocsPerRun(100, func() { g.d.Quick(n, 0) }); a != 0 {
			t.Errorf("%v allocations", a)
		}
	})
}

// TestQuickNarrow: a port that the guest can't see since it became a 32-bit one.
func TestQuickNarrow(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, func(c *Config) { c.MaxPorts = 2000 })
	n := uint32(0)
	for n < 1024 {
		n = must(g.d.BindIPI(0))
	}
	if err := g.d.SetWidth(xenabi.Guest32); err != nil {
		t.Fatal(err)
	}
	if done, _ := g.d.Quick(n, 0); done || g.d.PendingUpcall(0) {
		t.Errorf("an event by port %d", n)
	}
}

// TestLock: who waits for a lock waits for one without a goroutine, too, and that finds it taken.
func TestLock(t *testing.T) {
	var l lock
	if !l.try() || l.try() {
		t.Fatal("taken by none, or by two")
	}
	var dropped atomic.Bool
	entered := make(chan bool)
	go func() {
		l.Lock()
		entered <- dropped.Load()
	}()
	for range 1000 {
		runtime.Gosched()
	}
	dropped.Store(true)
	l.drop()
	if !<-entered {
		t.Error("two have the lock")
	}
	if l.try() {
		t.Error("a lock that is held was taken")
	}
	l.Unlock()
	if !l.try() {
		t.Error("it isn't free again")
	}
}
