//go:build tamago

package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"nidus/kernel/baremetal"
)

// figures measure; they fail only if they can't.
var figures = []check{
	{"figure-syscall", syscallFigure},
	{"figure-futex", futexFigure},
	{"figure-switch", switchFigure},
	{"figure-switch-all", switchAllFigure},
	{"figure-gc-pause", pauseFigure},
}

func figure(name string, v float64, unit string) (string, error) {
	fmt.Printf("selftest: FIGURE %s %.1f %s\n", name, v, unit)
	return fmt.Sprintf("%.1f %s", v, unit), nil
}

func syscallFigure() (string, error) {
	const n = 200_000
	t := time.Now()
	for range n {
		syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	}
	return figure("syscall", float64(time.Since(t))/n, "ns")
}

// handOver has two threads wake one another by futex, on two CPUs or on one.
func handOver(a, b, rounds int) time.Duration {
	var words [2]uint32
	var wg sync.WaitGroup
	t := time.Now()
	for i, cpu := range []int{a, b} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			baremetal.OnCPU(cpu, func() {
				own, next := &words[i], &words[1-i]
				for range rounds {
					if i == 0 {
						atomic.StoreUint32(next, 1)
						baremetal.FutexWake(next)
					}
					for !atomic.CompareAndSwapUint32(own, 1, 0) {
						baremetal.FutexWait(own, 0, 0)
					}
					if i == 1 {
						atomic.StoreUint32(next, 1)
						baremetal.FutexWake(next)
					}
				}
			})
		}()
	}
	wg.Wait()
	return time.Since(t)
}

func futexFigure() (string, error) {
	const n = 5000
	return figure("futex-round-trip", float64(handOver(0, baremetal.NumCPU()-1, n))/n, "ns")
}

// switchFigure counts two switches a round trip on one CPU.
func switchFigure() (string, error) {
	const n = 5000
	return figure("thread-switch", float64(handOver(0, 0, n))/n/2, "ns")
}

// switchAllFigure is switchFigure on all CPUs at the same time, which share the
// scheduler's lock; CPUs that the emulator has no processor for make it longer too.
func switchAllFigure() (string, error) {
	const n = 5000
	var total atomic.Int64
	onEach(func(cpu int) error {
		total.Add(int64(handOver(cpu, cpu, n)))
		return nil
	})
	return figure("thread-switch-all", float64(total.Load())/float64(baremetal.NumCPU())/n/2, "ns")
}

// pauseFigure is the collector's longest pause while all CPUs allocate.
func pauseFigure() (string, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	onEach(func(cpu int) error {
		var list *node
		for i := range 6000 {
			list = newNode(uint64(i), list)
			if i%1000 == 0 {
				list = nil
			}
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	worst := uint64(0)
	for i := before.NumGC; i < after.NumGC; i++ {
		worst = max(worst, after.PauseNs[i%256])
	}
	return figure("gc-pause-worst", float64(worst)/1e3, "us")
}
