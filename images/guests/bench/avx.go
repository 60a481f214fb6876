//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// avxThreads are so many that a guest of one or two vcpus switches between them.
const avxThreads = 4

// kept puts want into YMM0 to YMM15, counts rounds down from one on, and tells whether they still are that.
//
//go:noescape
func kept(want *[16][4]uint64, rounds uint64) bool

// avx has threads keep different things in the YMM registers for so long; it says "AVX kept" if nobody else touched
// them.
func avx(length string) error {
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	end := time.Now().Add(d)
	ended := make(chan error)
	for range avxThreads {
		go func() { ended <- keep(end) }()
	}
	for range avxThreads {
		if err := <-ended; err != nil {
			return err
		}
	}
	fmt.Println("AVX kept")
	return nil
}

// keep has a thread of its own keep one thing after another, until end.
func keep(end time.Time) error {
	runtime.LockOSThread()
	turns := 0
	for ; time.Now().Before(end); turns++ {
		var want [16][4]uint64
		for i := range want {
			for k := range want[i] {
				want[i][k] = rand.Uint64()
			}
		}
		if !kept(&want, 1+rand.Uint64N(5_000_000)) {
			return errors.New("a thread's YMM registers are not what it put there")
		}
	}
	if turns == 0 {
		return errors.New("a thread had no turn")
	}
	return nil
}
