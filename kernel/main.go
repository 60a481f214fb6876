//go:build tamago

// Nidus, a Type-1 microhypervisor: the image's main package.
package main

import (
	"fmt"
	"runtime"
	"time"

	"nidus/kernel/baremetal"
)

func main() {
	fmt.Println("Nidus", runtime.Version(), "up after", time.Duration(baremetal.Nanotime()))
	for i := range 3 {
		if n := i + 1; n < 2 {
			fmt.Println(baremetal.StartCPU(uint32(n), 0x8000))
		}
	}
	runtime.GOMAXPROCS(baremetal.NumCPU())
	fmt.Println(baremetal.NumCPU(), "CPUs")
	t := time.Now()
	for range 100 {
		runtime.GC()
	}
	fmt.Println("100 GC", time.Since(t))
	time.Sleep(time.Second)
	fmt.Println(time.Since(t), baremetal.Stats(0), baremetal.Stats(1))
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		*p = 1
	}()
	baremetal.DebugExit = 0xf4
	select {
	case <-time.After(time.Second):
	}
	panic("bye")
}
