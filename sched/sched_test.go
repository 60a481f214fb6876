package sched

import (
	"math"
	"testing"
)

const second = int64(1e9)

func fixed(ns int64) func() int64 { return func() int64 { return ns } }

// TestShares: what four guests, each of one vcpu that never blocks, get of two
// CPUs in 10 s: within 5 % of what is right.
func TestShares(t *testing.T) {
	all := ^uint64(0)
	for _, tt := range []struct {
		name   string
		weight [4]uint32
		cap    [4]uint32
		hard   [4]uint64
		want   [4]float64 // percent of one CPU
	}{
		{"equal", [4]uint32{256, 256, 256, 256}, [4]uint32{}, [4]uint64{all, all, all, all}, [4]float64{50, 50, 50, 50}},
		{"1:2:4:8", [4]uint32{256, 512, 1024, 2048}, [4]uint32{}, [4]uint64{all, all, all, all}, [4]float64{100. / 7, 200. / 7, 400. / 7, 100}},
		{"1:2:4:8 light", [4]uint32{32, 64, 128, 256}, [4]uint32{}, [4]uint64{all, all, all, all}, [4]float64{100. / 7, 200. / 7, 400. / 7, 100}},
		{"1:2:4:8 one CPU", [4]uint32{256, 512, 1024, 2048}, [4]uint32{}, [4]uint64{1, 1, 1, 1}, [4]float64{100. / 15, 200. / 15, 400. / 15, 800. / 15}},
		{"3:4:4:5", [4]uint32{300, 400, 400, 500}, [4]uint32{}, [4]uint64{all, all, all, all}, [4]float64{37.5, 50, 50, 62.5}},
		{"extreme", [4]uint32{1, 65535, 65535, 65535}, [4]uint32{}, [4]uint64{all, all, all, all}, [4]float64{0, 200. / 3, 200. / 3, 200. / 3}},
		{"caps 25 50 75 100", [4]uint32{256, 256, 256, 256}, [4]uint32{25, 50, 75, 100}, [4]uint64{all, all, all, all}, [4]float64{25, 50, 62.5, 62.5}},
		{"caps 25 50", [4]uint32{256, 256, 256, 256}, [4]uint32{25, 50, 0, 0}, [4]uint64{all, all, all, all}, [4]float64{25, 50, 62.5, 62.5}},
		{"caps leave time idle", [4]uint32{256, 256, 256, 256}, [4]uint32{10, 20, 30, 40}, [4]uint64{all, all, all, all}, [4]float64{10, 20, 30, 40}},
		{"cap 1", [4]uint32{65535, 256, 256, 256}, [4]uint32{1, 0, 0, 0}, [4]uint64{all, all, all, all}, [4]float64{1, 199. / 3, 199. / 3, 199. / 3}},
		{"weight and cap", [4]uint32{1024, 256, 256, 256}, [4]uint32{40, 0, 0, 0}, [4]uint64{all, all, all, all}, [4]float64{40, 160. / 3, 160. / 3, 160. / 3}},
		{"pinned 1 and 3", [4]uint32{256, 256, 256, 256}, [4]uint32{}, [4]uint64{1, 2, 2, 2}, [4]float64{100, 100. / 3, 100. / 3, 100. / 3}},
		{"pinned with weights", [4]uint32{256, 512, 256, 768}, [4]uint32{}, [4]uint64{1, 1, 2, 2}, [4]float64{100. / 3, 200. / 3, 25, 75}},
		{"three pinned, one free", [4]uint32{256, 256, 256, 256}, [4]uint32{}, [4]uint64{1, 1, 1, all}, [4]float64{100. / 3, 100. / 3, 100. / 3, 100}},
		{"two and one pinned, one free", [4]uint32{256, 256, 256, 256}, [4]uint32{}, [4]uint64{1, 1, 2, 3}, [4]float64{50, 50, 50, 50}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, 2)
			for i := range tt.weight {
				id := uint16(i)
				m.add(id, VCPU, nil, nil)
				m.s.SetGroup(id, id, 0)
				m.s.SetWeight(id, tt.weight[i])
				m.s.SetCap(id, tt.cap[i], 0)
				m.s.SetAffinity(id, tt.hard[i], tt.hard[i], 0)
			}
			m.until(10 * second)
			for i, want := range tt.want {
				got := float64(m.threads[i].ran) / 1e8
				if math.Abs(got-want) > max(0.05*want, 0.05) {
					t.Errorf("guest %d got %.2f %% of a CPU, want %.2f", i, got, want)
				}
				if r := m.s.Runtime(uint16(i), m.now); r != m.threads[i].ran {
					t.Errorf("Runtime %d, ran %d", r, m.threads[i].ran)
				}
				if r := m.s.GroupRuntime(uint16(i), m.now); r != m.threads[i].ran {
					t.Errorf("GroupRuntime %d, ran %d", r, m.threads[i].ran)
				}
				if on := m.threads[i].on &^ tt.hard[i]; on != 0 {
					t.Errorf("guest %d ran on CPUs %#x", i, on)
				}
			}
			t.Logf("%d picks", m.picks)
		})
	}
}

// A domain's vcpus share its cap.
func TestCapOfManyVCPUs(t *testing.T) {
	m := newSim(t, 4)
	for id := range uint16(8) {
		m.add(id, VCPU, nil, nil)
		m.s.SetGroup(id, id/4, 0)
	}
	m.s.SetCap(0, 150, 0)
	m.until(10 * second)
	for g, want := range []int64{15 * second, 25 * second} {
		if r := m.s.GroupRuntime(uint16(g), m.now); r < want*95/100 || r > want*105/100 {
			t.Errorf("domain %d ran for %d ns, want %d", g, r, want)
		}
	}
}

// One vcpu that a CPU has to itself needs no timer.
func TestTickless(t *testing.T) {
	m := newSim(t, 2)
	m.add(0, VCPU, nil, nil)
	m.add(1, VCPU, nil, nil)
	m.until(second)
	if m.picks > 8 {
		t.Errorf("%d picks for two vcpus on two CPUs", m.picks)
	}
}
