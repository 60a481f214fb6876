//go:build linux

package main

import (
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
	turns := make(chan int, avxThreads) // that a thread found right; less than 0 if one was not
	for range avxThreads {
		go func() {
			runtime.LockOSThread()
			n := 0
			for time.Now().Before(end) {
				var want [16][4]uint64
				for i := range want {
					for k := range want[i] {
						want[i][k] = rand.Uint64()
					}
				}
				if !kept(&want, 1+rand.Uint64N(5_000_000)) {
					n = -1
					break
				}
				n++
			}
			turns <- n
		}()
	}
	least := -1
	for i := range avxThreads {
		n := <-turns
		if n < 0 {
			return fmt.Errorf("a thread's YMM registers are not what it put there")
		}
		if i == 0 || n < least {
			least = n
		}
	}
	if least == 0 {
		return fmt.Errorf("a thread had no turn in %v", d)
	}
	fmt.Println("AVX kept")
	return nil
}
