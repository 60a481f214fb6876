package console

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bucket is a token bucket: burst at once, rate a second in the long run.
type Bucket struct {
	mu     sync.Mutex
	rate   float64 // a second
	burst  float64
	tokens float64
	last   time.Duration
	now    func() time.Duration
}

// NewBucket returns a full bucket. now is a monotonic clock.
func NewBucket(rate, burst int, now func() time.Duration) *Bucket {
	return &Bucket{rate: float64(rate), burst: float64(burst), tokens: float64(burst), last: now(), now: now}
}

// Take returns how many of n there are, and takes them. It fits as the limit of
// NewHistory.
func (b *Bucket) Take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.now(); t > b.last {
		b.tokens = min(b.burst, b.tokens+b.rate*(t-b.last).Seconds())
		b.last = t
	}
	k := min(n, int(b.tokens))
	b.tokens -= float64(k)
	return k
}

// Limited returns a print that passes on as many messages as b lets through, and says
// how many it did not as soon as it passes one on again. It may be called from any
// goroutine, as print.
func Limited(b *Bucket, print func(format string, args ...any)) func(format string, args ...any) {
	var suppressed atomic.Int64
	return func(format string, args ...any) {
		if b.Take(1) == 0 {
			suppressed.Add(1)
			return
		}
		if n := suppressed.Swap(0); n > 0 {
			print("%d messages suppressed", n)
		}
		print(format, args...)
	}
}
