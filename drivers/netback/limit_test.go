package netback

import (
	"math/rand"
	"testing"
	"time"
)

// TestLimiter: what goes through is the rate, whatever the frames' sizes are, and a pause
// is not made up for by more than an interval's.
func TestLimiter(t *testing.T) {
	for _, size := range []int{64, 1514, 65549, 0} {
		rate := Rate{Bytes: 62500, Interval: 50 * time.Millisecond} // 10 Mb/s
		begin := time.Unix(0, 0)
		now := begin
		l := newLimiter(rate, now)
		sent := 0
		run := func(until time.Duration) {
			for now.Sub(begin) < until {
				if w := l.wait(now); w > 0 {
					now = now.Add(w + time.Duration(rand.Intn(int(time.Millisecond)))) // timers are late
					continue
				}
				n := size
				if n == 0 {
					n = 60 + rand.Intn(65000)
				}
				l.spend(n)
				sent += n
			}
		}
		run(10 * time.Second)
		if want := 12_500_000; sent < want*99/100 || sent > want*101/100+62500+65549 {
			t.Errorf("frames of %d bytes: %d bytes in 10 s, want %d", size, sent, want)
		}
		sent = 0
		begin, now = now.Add(time.Hour), now.Add(time.Hour)
		run(100 * time.Millisecond)
		if sent > 3*62500+65549 {
			t.Errorf("frames of %d bytes: %d bytes in 100 ms after a pause", size, sent)
		}
	}
}
