//go:build !linux

package ring

import "time"

// nap waits for d, or as much longer as timers need here.
func nap(d time.Duration) { time.Sleep(d) }
