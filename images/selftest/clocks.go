//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nidus/kernel/baremetal"
)

var clockChecks = []check{
	{"timers", timers},
	{"deadline-outlives-waits", deadlineOutlivesWaits},
	{"late-kicks", lateKicks},
	{"monotonic", monotonic},
	{"monotonic-recalibrated", recalibrated},
}

// timers sleeps for many times at once; none may end early, and the median's
// lateness is bounded as far as an emulator allows.
func timers() (string, error) {
	const n = 200
	late := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := time.Duration(1+i%40) * time.Millisecond / 2
			t := time.Now()
			time.Sleep(d)
			late[i] = time.Since(t) - d
		}()
	}
	wg.Wait()
	slices.Sort(late)
	if late[0] < 0 {
		return "", fmt.Errorf("one ended %v early", -late[0])
	}
	if late[n/2] > 50*time.Millisecond {
		return "", fmt.Errorf("half of them ended more than %v late", late[n/2])
	}
	return fmt.Sprintf("%d sleeps, late by %v in the median, %v at worst", n, late[n/2].Round(time.Microsecond), late[n-1].Round(time.Microsecond)), nil
}

// deadlineOutlivesWaits sets a vcpu's deadline and lets the runtime block its thread
// before that: a guest that is busy then has nothing else to leave it by.
func deadlineOutlivesWaits() (string, error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and end with the thread
		word := new(uint32)
		const in = 50 * time.Millisecond
		begin := baremetal.Nanotime()
		baremetal.Deadline(begin+int64(in), word)
		for range 3 {
			time.Sleep(5 * time.Millisecond)
		}
		early := atomic.LoadUint32(word) != 0 && baremetal.Nanotime() < begin+int64(in)
		for atomic.LoadUint32(word) == 0 && baremetal.Nanotime() < begin+int64(20*in) {
		}
		switch {
		case early:
			done <- errors.New("it came early")
		case atomic.LoadUint32(word) == 0:
			done <- errors.New("it never came")
		default:
			done <- nil
		}
		runtime.KeepAlive(word)
	}()
	return "", <-done
}

// monotonic reads the clocks on all CPUs in turn: none may go back.
func monotonic() (string, error) {
	var mu sync.Mutex
	var last int64
	var tsc uint64
	wall := time.Now()
	const each = 20_000
	err := onEach(func(cpu int) error {
		for range each {
			mu.Lock()
			t := baremetal.TSC()
			ns := baremetal.Nanotime()
			if ns < last || t < tsc {
				mu.Unlock()
				return fmt.Errorf("CPU %d: %d ns after %d ns, counter %d after %d", cpu, ns, last, t, tsc)
			}
			last, tsc = ns, t
			mu.Unlock()
		}
		return nil
	})
	for cpu := range baremetal.NumCPU() {
		baremetal.OnCPU(cpu, func() {
			if w := time.Now(); w.Before(wall) && err == nil {
				err = fmt.Errorf("CPU %d: time.Now went back by %v", cpu, wall.Sub(w))
			} else {
				wall = w
			}
		})
	}
	return fmt.Sprint(each, " readings on each"), err
}

// recalibrated reads the clock while its frequency is corrected, as at boot.
func recalibrated() (string, error) {
	hz := baremetal.TSCHz()
	defer baremetal.SetTSCHz(hz)
	stop := make(chan struct{})
	changed := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				changed <- n
				return
			default:
				baremetal.SetTSCHz(hz + uint64(n%2)*hz/1000)
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	_, err := monotonic()
	for range 5 {
		if err == nil {
			_, err = monotonic()
		}
	}
	close(stop)
	return fmt.Sprint(<-changed, " corrections"), err
}

// lateWords are those of KickSoon, where no stack's growth moves them.
var lateWords struct {
	kick, running uint32
	cpu           uint64
}

// lateKicks: a kick that may wait reaches a CPU that is busy, and no earlier; it is dropped if the guest has left.
func lateKicks() (string, error) {
	const rounds = 20
	words := &lateWords
	target := baremetal.NumCPU() - 1
	words.cpu = uint64(target)
	var over atomic.Bool
	var busy sync.WaitGroup
	busy.Go(func() {
		baremetal.OnCPU(target, func() {
			for !over.Load() {
			}
		})
	})
	defer busy.Wait()
	defer over.Store(true)
	count := func(kick, running uint32) (at, later uint64) {
		for range rounds {
			words.kick, words.running = kick, running
			before := baremetal.Stats(target).Kicks
			begin := baremetal.Nanotime()
			baremetal.KickSoon(&words.kick, &words.running, &words.cpu)
			if n := baremetal.Stats(target).Kicks; baremetal.Nanotime()-begin < 100e3 {
				at += n - before
			}
			time.Sleep(2 * time.Millisecond)
			later += baremetal.Stats(target).Kicks - before
		}
		return at, later
	}
	at, later := count(1, 1)
	begin := time.Now()
	_, left := count(1, 0)
	_, noticed := count(0, 1)
	noise := uint64(time.Since(begin) / (10 * time.Millisecond)) // Go's monitor kicks who is busy for so long
	s := fmt.Sprintf("%d of %d at once, %d later; %d and %d of guests that had left", at, rounds, later, left, noticed)
	if at > rounds/4 || later < rounds || max(left, noticed) > rounds/2+noise {
		return "", errors.New(s)
	}
	return s, nil
}
