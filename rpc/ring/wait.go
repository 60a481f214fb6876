package ring

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Spinning gives the processor to other goroutines, one look for each time; the
// numbers of looks adapt between these. An idle look takes about 0.1 µs.
const (
	minSpin = 4
	maxSpin = 256
	// A wait that slept no longer than this was worth more spinning; a longer one, less.
	shortSleep = 100 * time.Microsecond
	// minPause is the first sleep of a waiter that polls. Each is twice the one before,
	// so that polling adds at most as much again to a wait, and at most Options.MaxPause.
	minPause = 20 * time.Microsecond
	// Go's timers are good to a millisecond in a program that has nothing else to do, so
	// pauses up to this one block a thread instead (nap), which a poke can't end.
	longestNap = 160 * time.Microsecond
)

// A waiter is where one goroutine waits for a word of the peer to change. Whatever else
// ends its wait (a bell, a deadline, Close) leaves a token in wake; the goroutine then
// looks at everything again, so a token too many does no harm.
type waiter struct {
	wake     chan struct{}  // holds one token
	flag     *atomic.Uint64 // in the region: "ring for me"; nil: no bells, poll
	spin     int
	slept    time.Duration // since the last progress
	pause    time.Duration // the next sleep
	maxPause time.Duration
	timer    *time.Timer // for polling
}

func (w *waiter) init(flag *atomic.Uint64, maxPause time.Duration) {
	w.wake = make(chan struct{}, 1)
	w.flag, w.maxPause = flag, maxPause
	w.spin, w.pause = maxSpin/4, minPause
	if flag == nil {
		w.timer = time.NewTimer(time.Hour)
		w.timer.Stop()
	}
}

// poke ends a wait, or the next one.
func (w *waiter) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// wait returns when word is no longer seen, after a poke, or (polling) after a while.
func (w *waiter) wait(word *atomic.Uint64, seen uint64) {
	for range w.spin {
		if word.Load() != seen {
			return
		}
		runtime.Gosched()
	}
	if w.flag == nil {
		w.sleep()
		return
	}
	// The peer stores its word, then loads the flag; here it is the other way round. One
	// of the two sees the other's store.
	w.flag.Store(1)
	if word.Load() == seen {
		start := time.Now()
		<-w.wake
		w.slept += time.Since(start)
	}
	w.flag.Store(0)
}

// sleep waits for a poke, or for a pause that grows from one sleep to the next.
func (w *waiter) sleep() {
	pause := w.pause
	w.slept += pause
	w.pause = min(2*pause, w.maxPause)
	if pause <= longestNap {
		select {
		case <-w.wake:
		default:
			nap(pause)
		}
		return
	}
	w.timer.Reset(pause)
	select {
	case <-w.wake:
		w.timer.Stop()
	case <-w.timer.C:
	}
}

// progress says that what was waited for has come. The next wait starts anew, with as
// much spinning as would have served this one.
func (w *waiter) progress() {
	w.pause = minPause
	switch {
	case w.slept == 0:
		return
	case w.slept <= shortSleep:
		w.spin = min(2*w.spin, maxSpin)
	default:
		w.spin = max(w.spin/2, minSpin)
	}
	w.slept = 0
}

// A deadline pokes a waiter at its time, as net.Conn's SetReadDeadline describes. The
// timer of one that was replaced may poke too; only due counts.
type deadline struct {
	due   atomic.Int64 // since started; 0: none
	mu    sync.Mutex
	timer *time.Timer
}

// started makes points in time of the monotonic clock into numbers.
var started = time.Now()

// passed says whether the deadline is over.
func (d *deadline) passed() bool {
	due := d.due.Load()
	return due != 0 && int64(time.Since(started)) >= due
}

// set replaces the deadline; the zero time is none.
func (d *deadline) set(at time.Time, w *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if at.IsZero() {
		d.due.Store(0)
		return
	}
	left := min(time.Until(at), 1<<62) // 146 years, so that the sum does not overflow
	d.due.Store(max(int64(time.Since(started)+max(left, 0)), 1))
	switch {
	case left <= 0:
		w.poke()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, w.poke)
	default:
		d.timer.Reset(left)
	}
}
