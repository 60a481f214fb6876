package sched

import (
	"math"
	"math/rand"
	"testing"
)

// A CPU whose timer fires late, because firmware or an outer hypervisor had it,
// gives a turn that is too long: the others get theirs back.
func TestLateTimers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		weight [4]uint32
		cap    [4]uint32
		exits  bool // to where it blocks for a moment
	}{
		{"equal", [4]uint32{256, 256, 256, 256}, [4]uint32{}, false},
		{"1:1:2:2", [4]uint32{256, 256, 512, 512}, [4]uint32{}, false},
		{"1:1:2:2 and a cap", [4]uint32{256, 256, 512, 512}, [4]uint32{25, 0, 0, 0}, false},
		{"equal, with exits", [4]uint32{256, 256, 256, 256}, [4]uint32{}, true},
		{"1:1:2:2, with exits", [4]uint32{256, 256, 512, 512}, [4]uint32{}, true},
		{"1:1:2:2 and a cap, with exits", [4]uint32{256, 256, 512, 512}, [4]uint32{25, 0, 0, 0}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range int64(10) {
				rnd := rand.New(rand.NewSource(seed))
				m := newSim(t, 2)
				m.late = func() int64 { // about on time, or very late
					if rnd.Intn(2) == 0 {
						return rnd.Int63n(100e3)
					}
					return rnd.Int63n(20e6)
				}
				m.delay = m.late
				for i := range tt.weight {
					id := uint16(i)
					if tt.exits {
						m.add(id, VCPU, func() int64 { return 1 + rnd.Int63n(8e6) }, func() int64 { return 1 + rnd.Int63n(50e3) })
					} else {
						m.add(id, VCPU, nil, nil)
					}
					m.s.SetGroup(id, id, 0)
					m.s.SetWeight(id, tt.weight[i])
					m.s.SetCap(id, tt.cap[i], 0)
				}
				m.until(10 * second)
				want := ideal(2, tt.weight[:], tt.cap[:])
				for i, w := range want {
					if got := float64(m.threads[i].ran) / 1e8; math.Abs(got-w) > .05*w {
						t.Errorf("seed %d: guest %d got %.2f %% of a CPU, want %.2f", seed, i, got, w)
					}
				}
			}
		})
	}
}
