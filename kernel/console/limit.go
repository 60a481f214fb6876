package console

import (
	"sync"
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
