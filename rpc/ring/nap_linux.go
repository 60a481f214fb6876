package ring

import (
	"syscall"
	"time"
)

// nap blocks this thread for d, on the clock of the kernel (Linux's, or the image's own).
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil) // a signal may cut it short, which does no harm
}
