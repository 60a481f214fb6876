package netback

import (
	"sync"
	"time"
)

// limiter holds what a guest sends to a rate. Credit comes continuously, and at most an
// interval's is kept; a frame may take more than there is, and is paid for by those after
// it: so the rate holds whatever the frames' sizes are.
type limiter struct {
	mu     sync.Mutex
	rate   Rate
	credit float64 // bytes
	at     time.Time
}

func newLimiter(r Rate, now time.Time) *limiter {
	return &limiter{rate: r, credit: float64(r.Bytes), at: now}
}

// wait is how long it takes until a frame may be sent; 0: it may.
func (l *limiter) wait(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now.Sub(l.at); d > 0 {
		l.credit = min(l.credit+float64(l.rate.Bytes)*float64(d)/float64(l.rate.Interval), float64(l.rate.Bytes))
		l.at = now
	}
	if l.credit > 0 {
		return 0
	}
	return time.Duration((1-l.credit)*float64(l.rate.Interval)/float64(l.rate.Bytes)) + time.Microsecond
}

// spend takes credit for a frame of n bytes.
func (l *limiter) spend(n int) {
	l.mu.Lock()
	l.credit -= float64(n)
	l.mu.Unlock()
}
