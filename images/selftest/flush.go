//go:build tamago

package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"nidus/kernel/baremetal"
)

// flushAtEntry gives memory back, for which every CPU has to empty its TLB, while one
// of them gets no interrupt: it does so when it next enters the kernel.
func flushAtEntry() (string, error) {
	if baremetal.NumCPU() == 1 {
		return "one CPU", nil
	}
	const most = time.Second
	var held, done atomic.Bool
	ended := make(chan struct{})
	go baremetal.OnCPU(1, func() {
		defer close(ended)
		baremetal.HoldInterrupts(true)
		defer baremetal.HoldInterrupts(false)
		held.Store(true)
		for begin := baremetal.Nanotime(); !done.Load() && baremetal.Nanotime()-begin < 2*int64(most); {
			baremetal.ThreadID() // any call
		}
	})
	for !held.Load() {
		runtime.Gosched()
	}
	var took time.Duration
	var err error
	baremetal.OnCPU(0, func() {
		defer done.Store(true)
		var b []byte
		if b, err = syscall.Mmap(-1, 0, 64<<10, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE); err != nil {
			return
		}
		b[0] = 1
		begin := time.Now()
		err = syscall.Munmap(b)
		took = time.Since(begin)
	})
	<-ended
	if err != nil {
		return "", err
	}
	if took > most {
		return "", fmt.Errorf("it took %v", took)
	}
	return fmt.Sprint(took.Round(time.Microsecond)), nil
}
