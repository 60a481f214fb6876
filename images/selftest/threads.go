//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
)

var threadChecks = []check{
	{"ping-pong", pingPong},
	{"idle-polls", idlePolls},
	{"preempt", preempt},
	{"channel-storm", channelStorm},
	{"futex-storm", futexStorm},
	{"thread-churn", threadChurn},
	{"exit-deadline", exitDeadline},
	{"monitor-rests", monitorRests},
}

// pingPong passes a count between two goroutines, free and bound to two CPUs.
func pingPong() (string, error) {
	const rounds = 2_000
	bounce := func(a, b func(func())) error {
		there, back := make(chan int), make(chan int)
		go a(func() {
			for v := range there {
				back <- v + 1
			}
			close(back)
		})
		v := 0
		done := make(chan struct{})
		b(func() {
			defer close(done)
			for range rounds {
				there <- v
				v = <-back
			}
			close(there)
		})
		<-done
		if v != rounds {
			return fmt.Errorf("counted to %d, not %d", v, rounds)
		}
		return nil
	}
	free := func(f func()) { f() }
	on := func(cpu int) func(func()) { return func(f func()) { baremetal.OnCPU(cpu, f) } }
	if err := bounce(free, free); err != nil {
		return "", err
	}
	return fmt.Sprint(2*rounds, " round trips"), bounce(on(0), on(baremetal.NumCPU()-1))
}

// idlePolls hands over between two CPUs that have nothing else to do. Those that poll, under an emulator,
// need no interrupt for that.
func idlePolls() (string, error) {
	last := baremetal.NumCPU() - 1
	if last == 0 {
		return "there is one CPU", nil
	}
	kicks := func() uint64 { return baremetal.Stats(0).Kicks + baremetal.Stats(last).Kicks }
	timers := func() uint64 { return baremetal.Stats(0).Timers + baremetal.Stats(last).Timers }
	const rounds = 1000
	kicked, fired := kicks(), timers()
	d := handOver(0, last, rounds)
	n, f := kicks()-kicked, timers()-fired
	s := fmt.Sprintf("%v for a hand-over, %d interrupts and %d timers for %d", (d / rounds / 2).Round(100*time.Nanosecond), n, f, 2*rounds)
	if cpu.UnderTCG() && n > 3*rounds/2 { // without, more than one each
		return "", errors.New(s)
	}
	return s, nil
}

// preempt stops the world while each CPU runs a loop without a call.
func preempt() (string, error) {
	var stop, running atomic.Uint32
	n := baremetal.NumCPU()
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			baremetal.OnCPU(i, func() {
				running.Add(1)
				for stop.Load() == 0 {
				}
			})
		}()
	}
	for running.Load() != uint32(n) {
		time.Sleep(time.Millisecond)
	}
	worst := time.Duration(0)
	for range 5 {
		t := time.Now()
		runtime.GC()
		worst = max(worst, time.Since(t))
	}
	stop.Store(1)
	wg.Wait()
	if worst > 10*time.Second {
		return "", fmt.Errorf("a collection took %v", worst)
	}
	return fmt.Sprint("worst collection ", worst.Round(time.Millisecond)), nil
}

// channelStorm has many goroutines on all CPUs talk to one another, and counts.
func channelStorm() (string, error) {
	const senders, each = 64, 2000
	ch := make(chan uint64, 3)
	var mu sync.Mutex
	var sum, want uint64
	var send, take sync.WaitGroup
	for i := range uint64(senders) {
		send.Add(1)
		go func() {
			defer send.Done()
			for k := range uint64(each) {
				ch <- i*each + k
				if k%64 == 0 {
					time.Sleep(time.Microsecond)
				}
			}
		}()
	}
	for range 2 * baremetal.NumCPU() {
		take.Add(1)
		go func() {
			defer take.Done()
			for v := range ch {
				mu.Lock()
				sum += v
				mu.Unlock()
			}
		}()
	}
	send.Wait()
	close(ch)
	take.Wait()
	for v := range uint64(senders * each) {
		want += v
	}
	if sum != want {
		return "", fmt.Errorf("the sum is %d, not %d", sum, want)
	}
	return fmt.Sprint(senders*each, " messages"), nil
}

// futexStorm is a token that threads bound to all CPUs pass on by futex alone: a
// lost wake-up stops it.
func futexStorm() (string, error) {
	const rounds = 500
	n := 2 * baremetal.NumCPU()
	words := make([]uint32, n)
	var wg sync.WaitGroup
	var late atomic.Uint32
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			baremetal.OnCPU(i%baremetal.NumCPU(), func() {
				own, next := &words[i], &words[(i+1)%n]
				for r := range rounds {
					if i != 0 || r != 0 {
						for atomic.LoadUint32(own) == 0 {
							at := baremetal.Nanotime() + 20e9
							baremetal.FutexWait(own, 0, at)
							if baremetal.Nanotime() >= at {
								late.Add(1)
							}
						}
						atomic.StoreUint32(own, 0)
					}
					atomic.StoreUint32(next, 1)
					baremetal.FutexWake(next)
				}
			})
		}()
	}
	wg.Wait()
	if late.Load() != 0 {
		return "", fmt.Errorf("%d waits had to time out", late.Load())
	}
	return fmt.Sprint(n*rounds, " wake-ups"), nil
}

// threadChurn starts and ends threads by the thousand. Their slots, stacks and
// memory must come back.
func threadChurn() (string, error) {
	const total, atOnce = 1000, 10
	churn := func(n int) {
		for range n / atOnce {
			var wg sync.WaitGroup
			for range atOnce {
				wg.Add(1)
				go func() {
					defer wg.Done()
					runtime.LockOSThread() // and never unlocked: the thread ends
					deep(20)
				}()
			}
			wg.Wait()
		}
	}
	churn(100) // caches fill
	runtime.GC()
	free, threads := baremetal.FrameLists{}.Stats().Free, baremetal.Threads()
	churn(total)
	runtime.GC()
	freeNow, now := baremetal.FrameLists{}.Stats().Free, baremetal.Threads()
	if now > threads+2*atOnce {
		return "", fmt.Errorf("%d threads, %d before: slots are not reused", now, threads)
	}
	if lost := int64(free) - int64(freeNow); lost > 32<<20>>12 {
		return "", fmt.Errorf("%d KiB of memory are gone", lost*4)
	}
	return fmt.Sprintf("%d threads, %d live now", total, now), nil
}

//go:noinline
func deep(n int) int {
	var pad [256]byte
	pad[n] = byte(n)
	if n == 0 {
		return int(pad[0])
	}
	return deep(n-1) + int(pad[n])
}

// exitDeadline ends threads whose deadlines are still to come. Nobody must hear
// of these, and the threads' slots must be free.
func exitDeadline() (string, error) {
	const n = 40
	before := baremetal.Threads()
	words := make([]uint32, n)
	for i := range n {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			baremetal.Deadline(baremetal.Nanotime()+1e9, &words[i])
		}()
		<-done
	}
	time.Sleep(20 * time.Millisecond)
	churned := make(chan struct{})
	go func() { // others take the slots
		defer close(churned)
		runtime.LockOSThread()
	}()
	<-churned
	time.Sleep(1500 * time.Millisecond)
	for i := range words {
		if atomic.LoadUint32(&words[i]) != 0 {
			return "", fmt.Errorf("the deadline of thread %d, which had ended, came", i)
		}
	}
	if now := baremetal.Threads(); now > before+10 {
		return "", fmt.Errorf("%d threads, %d before", now, before)
	}
	return fmt.Sprint(n, " threads"), nil
}

// monitorRests has a thread keep a CPU busy, once as a vcpu's and once as the host's: Go's monitor has nothing to look
// after beside the first, and something beside the second.
func monitorRests() (string, error) {
	const long = 500 * time.Millisecond
	var word uint32
	turns := func(guest bool) uint64 {
		done := make(chan uint64)
		go func() {
			runtime.LockOSThread() // and end with the thread
			end := time.Now().Add(long)
			if guest {
				baremetal.Deadline(baremetal.Nanotime()+int64(2*long), &word)
			}
			before := baremetal.MonitorTurns()
			for time.Now().Before(end) {
			}
			done <- baremetal.MonitorTurns() - before
		}()
		return <-done
	}
	guest, host := turns(true), turns(false)
	s := fmt.Sprintf("%d turns of the monitor in %v beside a guest, %d beside a host thread", guest, long, host)
	if guest > 40 || host < 25 { // 100 if it always comes after 5 ms, 13 after 40
		return "", errors.New(s)
	}
	return s, nil
}
