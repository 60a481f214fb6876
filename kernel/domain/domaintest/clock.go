package domaintest

import (
	"sync"
	"sync/atomic"
	"syscall"

	"nidus/kernel/domain"
)

// Clock is the time, which goes on only when a test says so. Its TSC runs at
// 1 GHz: a tick is a nanosecond.
type Clock struct {
	now     atomic.Int64
	threads *Threads
}

// tscAhead is how far the TSC is ahead of the time since boot.
const tscAhead = 1 << 40

// Now implements domain.Clock.
func (c *Clock) Now() int64 { return c.now.Load() }

// Wall implements domain.Clock: it was 2020-09-13 12:26:40 UTC at boot.
func (c *Clock) Wall() int64 { return 1_600_000_000e9 + c.Now() }

// TSC implements domain.Clock.
func (c *Clock) TSC() uint64 { return tscAhead + uint64(c.Now()) }

// TSCKHz implements domain.Clock.
func (c *Clock) TSCKHz() uint32 { return 1_000_000 }

// Advance lets ns pass: who waits until then wakes up, and deadlines pass.
func (c *Clock) Advance(ns int64) {
	c.now.Add(ns)
	c.threads.pass()
}

// Threads lets goroutines wait by the test's Clock.
type Threads struct {
	clock *Clock

	mu        sync.Mutex
	changed   *sync.Cond
	waiting   int
	deadlines map[*uint32]int64
	ran       map[uint64]int64
	enters    int
	rests     int
	places    map[uint64]*uint32
}

func newThreads(c *Clock) *Threads {
	t := &Threads{clock: c, deadlines: map[*uint32]int64{}, ran: map[uint64]int64{}, places: map[uint64]*uint32{}}
	t.changed = sync.NewCond(&t.mu)
	c.threads = t
	return t
}

// pass does what the time brings.
func (t *Threads) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w, at := range t.deadlines {
		if at <= t.clock.Now() {
			atomic.StoreUint32(w, 1)
			delete(t.deadlines, w)
		}
	}
	t.changed.Broadcast()
}

// Wait implements domain.Threads.
func (t *Threads) Wait(word *uint32, v uint32, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	t.changed.Broadcast()
	for atomic.LoadUint32(word) == v && (at == 0 || t.clock.Now() < at) {
		t.changed.Wait()
	}
	t.waiting--
}

// Wake implements domain.Threads.
func (t *Threads) Wake(*uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed.Broadcast()
}

// AwaitWaiting returns when n goroutines are in Wait.
func (t *Threads) AwaitWaiting(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.waiting != n {
		t.changed.Wait()
	}
}

// Deadline implements domain.Threads.
func (t *Threads) Deadline(at int64, word *uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at == 0 {
		delete(t.deadlines, word)
	} else {
		t.deadlines[word] = at
	}
}

// DeadlineOf is what the thread of a vcpu's KickWord has armed; 0: nothing.
func (t *Threads) DeadlineOf(word *uint32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deadlines[word]
}

// Enter implements domain.Threads.
func (t *Threads) Enter(_ domain.Sched, place *uint32) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enters++
	t.places[t.Self()] = place
	return t.Self()
}

// Rest implements domain.Threads.
func (t *Threads) Rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rests++
}

// Leave implements domain.Threads.
func (t *Threads) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.places, t.Self())
}

// Places is how many vcpus have entered, and not left.
func (t *Threads) Places() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.places)
}

// Place is the word that the calling thread is a vcpu's with.
func (t *Threads) Place() *uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places[t.Self()]
}

// Rests is how often Rest was called.
func (t *Threads) Rests() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rests
}

// Forget implements domain.Threads.
func (t *Threads) Forget(uint16) {}

// Self implements domain.Threads. A vcpu's goroutine stays on its thread.
func (t *Threads) Self() uint64 { return uint64(syscall.Gettid()) }

// Update implements domain.Threads.
func (t *Threads) Update(uint64, domain.Sched) {}

// CPUTime implements domain.Threads.
func (t *Threads) CPUTime(thread uint64) (int64, int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ran[thread], 0, false
}

// Ran makes the calling thread have used ns of a CPU, while as much time went by.
func (t *Threads) Ran(ns int64) {
	t.mu.Lock()
	t.ran[t.Self()] += ns
	t.mu.Unlock()
	t.clock.Advance(ns)
}

// Yield implements domain.Threads.
func (t *Threads) Yield() { yield() }

// Notify implements domain.Threads.
func (t *Threads) Notify(uint64) {}

// NotifySoon implements domain.Threads.
func (t *Threads) NotifySoon(kick, running *uint32, cpu *uint64) {}
