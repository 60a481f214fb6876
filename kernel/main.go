//go:build tamago

// Nidus, a Type-1 microhypervisor: the image's main package.
package main

import (
	"fmt"
	"runtime"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/machine"
)

func main() {
	fmt.Println("Nidus", runtime.Version(), "up after", time.Duration(baremetal.Nanotime()))
	baremetal.DebugExit = 0xf4
	m, err := machine.Discover(func(f string, a ...any) { fmt.Printf(f+"\n", a...) })
	if err != nil {
		panic(err)
	}
	cal := m.StartCalibration()
	m.StartCPUs()
	m.Finish(cal)
	m.SetWallClock()
	t := time.Now()
	for range 100 {
		runtime.GC()
	}
	fmt.Println("100 GC", time.Since(t), time.Now())
	time.Sleep(time.Second)
	fmt.Println(time.Since(t), baremetal.Stats(0), baremetal.Stats(1))
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		*p = 1
	}()
	panic("bye")
}
