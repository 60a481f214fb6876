package link

import (
	"math/rand/v2"
	"testing"
)

// TestLender: nobody keeps more than a quarter, all of them not more than half, and there is
// always something left for the next one.
func TestLender(t *testing.T) {
	const n = 1024
	l := NewLender(n)
	var has [20]int
	for range 100000 {
		who := rand.IntN(len(has))
		if k := 1 + rand.IntN(20); rand.IntN(3) > 0 {
			if l.Keep(has[who], k) {
				has[who] += k
			}
		} else if k = min(k, has[who]); k > 0 {
			l.Return(k)
			has[who] -= k
		}
		sum := 0
		for _, h := range has {
			if sum += h; h > n/4 {
				t.Fatalf("one keeps %d of %d", h, n)
			}
		}
		if sum >= n/2 {
			t.Fatalf("%d of %d are kept", sum, n)
		}
	}
	for who := range has {
		l.Return(has[who])
	}
	if !l.Keep(0, n/4) || l.Keep(0, n/4) {
		t.Error("a quarter is not free again, or more than that")
	}
	var none *Lender
	if !none.Keep(1<<40, 1<<40) {
		t.Error("nobody's memory is limited")
	}
	none.Return(1)
}
