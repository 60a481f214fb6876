package sched

import (
	"math"
	"math/rand"
	"testing"
)

// ideal is the fair share of each guest of one spinning vcpu: by weight, nobody
// more than one CPU nor his cap, what is left over to the others by weight.
func ideal(ncpu int, weight []uint32, cap []uint32) []float64 {
	share := make([]float64, len(weight))
	full := make([]bool, len(weight))
	left := 100 * float64(ncpu)
	for again := true; again; {
		again = false
		sum := 0.0
		for i, w := range weight {
			if !full[i] {
				sum += float64(w)
			}
		}
		for i, w := range weight {
			limit := 100.0
			if cap[i] != 0 {
				limit = min(limit, float64(cap[i]))
			}
			if !full[i] && left*float64(w)/sum >= limit {
				share[i], full[i], again = limit, true, true
				left -= limit
				break
			}
			if !full[i] {
				share[i] = left * float64(w) / sum
			}
		}
	}
	return share
}

// Guests with random weights and caps on several CPUs, disturbed by host threads
// for a little of the time, get their ideal shares.
func TestRandomShares(t *testing.T) {
	for seed := range int64(60) {
		rnd := rand.New(rand.NewSource(seed))
		// With few guests, those that are not over their caps may be fewer than the
		// CPUs for some of each period: the ideal is then out of reach.
		ncpu := 1 + rnd.Intn(6)
		n := 2*ncpu + rnd.Intn(16)
		m := newSim(t, ncpu)
		m.check = seed%4 == 0
		weight, cap := make([]uint32, n), make([]uint32, n)
		for i := range n {
			id := uint16(i)
			weight[i] = 64 << rnd.Intn(6)
			if rnd.Intn(3) == 0 {
				cap[i] = 5 + uint32(rnd.Intn(95))
			}
			m.add(id, VCPU, nil, nil)
			m.s.SetGroup(id, id, 0)
			m.s.SetWeight(id, weight[i])
			m.s.SetCap(id, cap[i], 0)
		}
		if seed%2 == 0 {
			m.add(500, Host, func() int64 { return rnd.Int63n(50e3) }, func() int64 { return rnd.Int63n(10e6) })
		}
		m.until(10 * second)
		for i, want := range ideal(ncpu, weight, cap) {
			got := float64(m.threads[i].ran) / 1e8
			if math.Abs(got-want) > 0.05*want {
				t.Errorf("seed %d: %d CPUs, guest %d of %d, weight %d, cap %d: got %.2f %%, want %.2f", seed, ncpu, i, n, weight[i], cap[i], got, want)
			}
		}
	}
}
