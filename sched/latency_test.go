package sched

import (
	"math/rand"
	"testing"
)

// Host threads that block run at once, whatever guests do.
func TestHostLatency(t *testing.T) {
	m := newSim(t, 2)
	rnd := rand.New(rand.NewSource(1))
	for id := range uint16(8) {
		m.add(id, VCPU, nil, nil)
		m.s.SetGroup(id, id, 0)
		m.s.SetWeight(id, 65535)
	}
	for id := uint16(100); id < 104; id++ {
		m.add(id, Host, func() int64 { return 1000 + rnd.Int63n(100e3) }, func() int64 { return 1e6 + rnd.Int63n(5e6) })
	}
	m.until(10 * second)
	for id := 100; id < 104; id++ {
		if w := m.threads[id].worst; w > 500e3 {
			t.Errorf("host thread %d waited for %d ns", id, w)
		}
	}
}

// Host threads, however they behave, don't keep vcpus waiting for long, nor the
// other way round.
func TestNobodyStarves(t *testing.T) {
	for _, tt := range []struct {
		name       string
		run, sleep func() int64
		yields     bool
		least      float64 // what the host must get of its CPUs
		most       float64
	}{
		{"spinning", nil, nil, false, 0.4, 0.93},
		{"9.9 ms, then a breath", fixed(9.9e6), fixed(1000), false, 0.4, 0.96},
		{"0.1 ms, then a breath", fixed(100e3), fixed(1000), false, 0.4, 0.96},
		{"yielding", fixed(100e3), nil, true, 0.05, 0.96},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, 2)
			for id := range uint16(4) {
				m.add(id, VCPU, nil, nil)
			}
			for id := uint16(10); id < 14; id++ {
				m.add(id, Host, tt.run, tt.sleep).yields = tt.yields
			}
			m.until(10 * second)
			host := int64(0)
			for id := range 4 {
				if th := m.threads[id]; th.ran < second/20 || th.worst > 250e6 {
					t.Errorf("vcpu %d ran for %d ns, waited for up to %d", id, th.ran, th.worst)
				}
			}
			for id := 10; id < 14; id++ {
				host += m.threads[id].ran
				if w := m.threads[id].worst; w > 50e6 {
					t.Errorf("host thread %d waited for up to %d ns", id, w)
				}
			}
			if f := float64(host) / float64(20*second); f < tt.least || f > tt.most {
				t.Errorf("host threads got %.3f of the CPUs", f)
			}
		})
	}
}

// Many host threads, each of which rests enough, leave vcpus their minimum.
func TestGuard(t *testing.T) {
	m := newSim(t, 1)
	m.add(0, VCPU, nil, nil)
	for id := uint16(10); id < 30; id++ {
		m.add(id, Host, fixed(100e3), fixed(500e3))
	}
	m.until(10 * second)
	least := 10 * second * guardSlice / (guardLimit + guardSlice) * 95 / 100
	if th := m.threads[0]; th.ran < least || th.ran > 2*least || th.worst > 2*guardLimit {
		t.Errorf("the vcpu ran for %d ns, at least %d expected, and waited for up to %d", th.ran, least, th.worst)
	}
	for id := 10; id < 30; id++ {
		if w := m.threads[id].worst; w > 4e6 {
			t.Errorf("host thread %d waited for %d ns", id, w)
		}
	}
}

// A vcpu that sleeps a lot gets a CPU soon after it wakes, and no more than its
// share.
func TestSleeper(t *testing.T) {
	m := newSim(t, 1)
	for id := range uint16(3) {
		m.add(id, VCPU, nil, nil)
	}
	m.add(3, VCPU, fixed(200e3), fixed(5e6))
	m.until(second)
	m.threads[3].worst = 0 // its first turn came after all others'
	m.until(10 * second)
	if w := m.threads[3].worst; w > 2e6 {
		t.Errorf("the sleeper waited for %d ns", w)
	}
	// One that slept for long has not saved up.
	m.add(4, VCPU, nil, nil)
	m.threads[4].wakeAt = 10 * second
	before := m.threads[0].ran
	m.until(11 * second)
	if d := m.threads[0].ran - before; d < 220e6 || d > 270e6 {
		t.Errorf("beside a newcomer, a vcpu got %d ns of 1 s", d)
	}
}

// A thread that was far ahead on its own CPU competes fairly where it is moved,
// and is moved at once.
func TestMove(t *testing.T) {
	m := newSim(t, 2)
	for id := range uint16(4) {
		m.add(id, VCPU, nil, nil)
		m.s.SetAffinity(id, 1, 1, 0)
	}
	m.s.SetAffinity(3, 2, 2, 0)
	m.until(10 * second)
	m.kick(m.s.SetAffinity(3, 1, 1, m.now))
	before := m.threads[3].ran
	m.until(11 * second)
	if d := m.threads[3].ran - before; d < 230e6 || d > 270e6 {
		t.Errorf("moved to a CPU of four, it got %d ns of 1 s", d)
	}
	if !m.s.CPUIdle(1) || m.s.CPUIdle(0) {
		t.Error("CPU 1 should idle, CPU 0 not")
	}
}

// Soft affinity is kept while its CPUs have time, and given up rather than idle.
func TestSoftAffinity(t *testing.T) {
	m := newSim(t, 2)
	all := ^uint64(0)
	m.add(0, VCPU, nil, nil)
	m.add(1, VCPU, nil, nil)
	m.s.SetAffinity(0, all, 2, 0)
	m.s.SetAffinity(1, all, 1, 0)
	m.until(second)
	if m.threads[0].on != 2 || m.threads[1].on != 1 {
		t.Errorf("ran on CPUs %#x and %#x", m.threads[0].on, m.threads[1].on)
	}
	m.kick(m.s.SetAffinity(0, all, 1, m.now))
	m.until(2 * second)
	for id := range 2 {
		if r := m.threads[id].ran; r < 2*second-10e6 {
			t.Errorf("thread %d ran for %d ns", id, r)
		}
	}
}

// A thread that had to leave the CPU it prefers returns when that idles.
func TestSoftReturn(t *testing.T) {
	m := newSim(t, 2)
	all := ^uint64(0)
	m.add(0, VCPU, nil, nil)
	m.s.SetAffinity(0, all, 2, 0)
	m.add(1, VCPU, fixed(50e6), fixed(100*second))
	m.s.SetAffinity(1, 2, 2, 0)
	m.until(second)
	if m.threads[0].on != 3 {
		t.Errorf("ran on CPUs %#x before", m.threads[0].on)
	}
	m.threads[0].on = 0
	if m.cpus[1].cur != 0 || !m.s.CPUIdle(0) {
		t.Errorf("CPUs run %d and %d", m.cpus[0].cur, m.cpus[1].cur)
	}
}

// A signal reaches a vcpu that waits, even one over its cap.
func TestBoost(t *testing.T) {
	m := newSim(t, 1)
	for id := range uint16(16) {
		m.add(id, VCPU, nil, nil)
		m.s.SetGroup(id, id, 0)
		m.s.SetCap(id, 5, 0)
	}
	rnd := rand.New(rand.NewSource(1))
	for range 200 {
		m.until(m.now + 1 + rnd.Int63n(20e6))
		id := uint16(rnd.Intn(16))
		if m.cpus[0].cur == int(id) {
			continue
		}
		m.threads[id].asked, m.threads[id].worst = m.now, 0
		m.kick(m.s.Boost(id, m.now))
		m.until(m.now + 600e3)
		if th := m.threads[id]; th.asked >= 0 && th.asked < m.now-550e3 || th.worst > 550e3 {
			t.Fatalf("%d: thread %d did not run in time after Boost", m.now, id)
		}
	}
}

// A Wake between the block and the Pick is not lost.
func TestWakeBeforePick(t *testing.T) {
	var s Scheduler
	s.Init()
	s.CPUOnline(0, 0)
	s.Add(7, Host, 0)
	s.Wake(7, 0)
	if id, _, _ := s.Pick(0, 0, Blocked); id != 7 {
		t.Fatal("not picked")
	}
	s.Wake(7, 5)
	if id, _, _ := s.Pick(0, 10, Blocked); id != 7 {
		t.Error("wake lost")
	}
	if id, _, _ := s.Pick(0, 20, Blocked); id != Idle {
		t.Error("one wake counted twice")
	}
}

// Random threads, calls, arguments and interrupt delays: the invariants hold.
func TestRandom(t *testing.T) {
	for seed := range int64(12) {
		rnd := rand.New(rand.NewSource(seed))
		ncpu := []int{1, 2, 3, 8, 64}[rnd.Intn(5)]
		m := newSim(t, ncpu)
		m.delay = func() int64 { return rnd.Int63n(5000) }
		set := func() uint64 { return rnd.Uint64() & rnd.Uint64() & (1<<ncpu - 1) }
		for step := range 600 {
			m.until(m.now + rnd.Int63n(2e6))
			id, g := uint16(rnd.Intn(60)), uint16(rnd.Intn(10))
			th := &m.threads[id]
			switch rnd.Intn(13) {
			case 0, 1, 2:
				if !th.exists {
					m.add(id, Class(rnd.Intn(2)), func() int64 { return rnd.Int63n(8e6) }, func() int64 { return rnd.Int63n(8e6) })
					if rnd.Intn(3) == 0 {
						th.run = nil
					}
				}
			case 3:
				if th.exists && step%3 == 0 {
					th.exists = false
					for i := range ncpu {
						if m.cpus[i].cur == int(id) {
							m.cpus[i].cur = Idle
						}
					}
					m.kick(m.s.Remove(id, m.now))
				}
			case 4:
				m.kick(m.s.SetGroup(id, g, m.now))
			case 5:
				m.s.SetWeight(g, uint32(rnd.Intn(70000)))
			case 6:
				m.kick(m.s.SetCap(g, uint32(rnd.Intn(200)), m.now))
			case 7:
				m.kick(m.s.SetAffinity(id, set(), set(), m.now))
			case 8:
				m.kick(m.s.SetClass(id, Class(rnd.Intn(3)), m.now))
			case 9:
				m.kick(m.s.Boost(id, m.now))
			case 10:
				m.kick(m.s.ResetGroup(g, m.now))
			case 11:
				m.s.Wake(0xffff, m.now)
				m.s.Boost(MaxThreads, m.now)
				m.s.SetWeight(MaxGroups, 1)
				m.s.SetCap(NoGroup, 1, m.now)
				m.s.SetAffinity(id, 0, 0, m.now)
				m.s.CPUOnline(-1, m.now)
				m.s.Pick(-1, m.now, Running)
				m.s.Pick(64, m.now, Running)
			case 12:
				m.s.Spare(id, rnd.Intn(3) != 0)
			}
		}
		m.invariants()
		spares := 0
		for id := range m.s.threads {
			if th := &m.s.threads[id]; th.where != absent && th.spared {
				spares++
			}
		}
		if m.s.spares != spares {
			t.Fatalf("%d threads are spared, counted as %d", spares, m.s.spares)
		}
	}
}
