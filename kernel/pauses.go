//go:build tamago

package main

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"nidus/kernel/console"
)

const (
	pausesFor      = 5 * time.Second
	collectEach    = 250 * time.Millisecond
	wakeEach       = time.Millisecond
	pausesMax      = int(pausesFor / collectEach)
	wakeSamplesMax = int(pausesFor / wakeEach)
)

// sampling is set while pauses runs: the key may be pressed again.
var sampling atomic.Bool

// logPauses measures for five seconds what our own work costs the latency of a
// busy host, and logs it: how long each of some garbage collections stopped all
// else, and by how much a goroutine that sleeps a millisecond wakes late, from
// the timer's interrupt to the goroutine.
func (h *host) logPauses() {
	if !sampling.CompareAndSwap(false, true) {
		return
	}
	defer sampling.Store(false)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range pausesMax {
			time.Sleep(collectEach)
			runtime.GC()
		}
	}()
	late := make([]time.Duration, 0, wakeSamplesMax)
	for len(late) < cap(late) {
		select {
		case <-done:
		default:
			due := time.Now().Add(wakeEach)
			time.Sleep(wakeEach)
			late = append(late, time.Since(due))
			continue
		}
		break
	}
	<-done
	runtime.ReadMemStats(&after)
	// PauseNs is a ring of the last 256.
	n := min(int(after.NumGC-before.NumGC), len(after.PauseNs))
	pauses := make([]time.Duration, 0, n)
	for i := range n {
		pauses = append(pauses, time.Duration(after.PauseNs[(int(after.NumGC)+255-i)%256]))
	}
	slices.Sort(pauses)
	slices.Sort(late)
	h.log.Printf(console.LevelError, "pauses: gc n=%d median=%dns max=%dns; wake-up late n=%d median=%dns p99.9=%dns max=%dns",
		n, pauses[n/2], pauses[n-1], len(late), late[len(late)/2], late[len(late)*999/1000], late[len(late)-1])
}
