//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/machine"
)

// check is one of the things to show. Its detail goes on the PASS line.
type check struct {
	name string
	run  func() (detail string, err error)
}

var checks = slices.Concat(threadChecks, memoryChecks, faultChecks, clockChecks, []check{{"echo", echo}, {"rpc", calls}}, figures)

// asked are checks that only run when they are named: not every machine has what they need.
var asked = map[string]func() (string, error){}

// within is how long a check may take: what stalls is a failure.
const within = 90 * time.Second

func main() {
	m, err := machine.Discover(func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	if err != nil {
		fmt.Println("selftest: FAIL boot", err)
		return
	}
	m.ReadACPI()
	cal := m.StartCalibration()
	m.MeasurePCI()
	m.StartCPUs()
	m.Finish(cal)
	debug.SetMaxThreads(baremetal.MaxThreads - baremetal.MaxCPUs)
	passed, failed := 0, 0
	checks = append(checks, check{"level-irq", func() (string, error) { return levelIRQ(m) }})
	asked["disk"] = func() (string, error) { return disk(m) }
	asked["nic"] = func() (string, error) { return network(m) }
	for _, c := range chosen(m.Info.CommandLine) {
		begin := time.Now()
		detail, err := run(c)
		if err != nil {
			failed++
			fmt.Printf("selftest: FAIL %s %v\n", c.name, err)
			continue
		}
		passed++
		fmt.Printf("selftest: PASS %s %s (%d CPUs, %v)\n", c.name, detail, baremetal.NumCPU(), time.Since(begin).Round(time.Millisecond))
	}
	fmt.Printf("selftest: done %d passed, %d failed\n", passed, failed)
	fmt.Println(m.PowerOff())
	m.Reboot()
}

// chosen returns the checks that the command line asks for.
func chosen(line string) []check {
	for _, w := range strings.Fields(line) {
		if names, ok := strings.CutPrefix(w, "only="); ok {
			all := slices.Clone(checks)
			for name, run := range asked {
				all = append(all, check{name, run})
			}
			return slices.DeleteFunc(all, func(c check) bool {
				return !slices.Contains(strings.Split(names, ","), c.name)
			})
		}
	}
	return checks
}

// run runs a check, which may panic or stall.
func run(c check) (detail string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		detail, err = c.run()
	}()
	select {
	case <-done:
		return detail, err
	case <-time.After(within):
		buf := make([]byte, 256<<10)
		fmt.Printf("%s\n", buf[:runtime.Stack(buf, true)])
		return "", errors.New("stalled; the goroutines are above")
	}
}

// onEach runs f on all CPUs at once and returns the first error.
func onEach(f func(cpu int) error) error {
	n := baremetal.NumCPU()
	errs := make(chan error, n)
	for i := range n {
		go baremetal.OnCPU(i, func() { errs <- f(i) })
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
