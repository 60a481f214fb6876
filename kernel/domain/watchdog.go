package domain

import (
	"sync"
	"time"

	"nidus/kernel/xenabi"
)

// maxWatchdogs is how many a domain can have (Xen's NR_DOMAIN_WATCHDOG_TIMERS).
const maxWatchdogs = 2

// watchdogs end a domain that doesn't feed them in time (SCHEDOP_watchdog).
type watchdogs struct {
	mu      sync.Mutex
	timers  [maxWatchdogs]*time.Timer
	stopped bool
}

// Watchdog is SCHEDOP_watchdog: id 0 makes one, another id sets (or with timeout
// 0 stops) that one. Seconds; the error is an xenabi.Errno.
func (d *Domain) Watchdog(id, seconds uint32) (uint32, error) {
	w := &d.watchdogs
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || id > maxWatchdogs {
		return 0, xenabi.EINVAL
	}
	fire := func() { d.Shutdown(xenabi.ShutdownWatchdog) }
	if id == 0 {
		if seconds == 0 {
			return 0, xenabi.EINVAL
		}
		for i, t := range w.timers {
			if t == nil {
				w.timers[i] = time.AfterFunc(time.Duration(seconds)*time.Second, fire)
				return uint32(i + 1), nil
			}
		}
		return 0, xenabi.ENOSPC
	}
	t := w.timers[id-1]
	if t == nil {
		return 0, xenabi.EINVAL
	}
	t.Stop()
	w.timers[id-1] = nil
	if seconds != 0 {
		w.timers[id-1] = time.AfterFunc(time.Duration(seconds)*time.Second, fire)
	}
	return 0, nil
}

func (w *watchdogs) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, t := range w.timers {
		if t != nil {
			t.Stop()
		}
	}
}
