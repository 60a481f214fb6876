package sched

import "testing"

// TestSpare: a host thread that wakes while another one runs lets a spared vcpu go on until that one blocks,
// and for patience at most; one that finds only vcpus takes a CPU at once.
func TestSpare(t *testing.T) {
	const vcpu, host, late = 1, 2, 3
	for _, tt := range []struct {
		name         string
		spared       bool
		first        int64 // how long the first host thread runs after the second one woke
		wait         int64 // for how long the second may wait, and must if it is to spare the vcpu
		disturbances int   // of the vcpu
	}{
		{"not spared", false, 50e3, 0, 1},
		{"the first blocks soon", true, 50e3, 50e3, 0},
		{"the first goes on", true, hostSlice, hostSlice - 100e3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, 2)
			m.add(vcpu, VCPU, nil, nil)
			m.s.Spare(vcpu, tt.spared)
			m.until(1e6)
			// Once each, as the next wake-ups are beyond the test's end.
			m.add(host, Host, fixed(100e3+tt.first), fixed(never)).wakeAt = m.now
			m.add(late, Host, fixed(10e3), fixed(never)).wakeAt = m.now + 100e3
			m.until(5e6)
			if w := m.threads[late].worst; w != tt.wait {
				t.Errorf("the second host thread waited for %d ns, want %d", w, tt.wait)
			}
			if m.threads[late].ran != 10e3 || m.threads[host].ran != 100e3+tt.first {
				t.Errorf("the host threads ran for %d and %d ns", m.threads[host].ran, m.threads[late].ran)
			}
			lost := m.now - m.threads[vcpu].ran
			if want := int64(tt.disturbances) * 10e3; lost != want {
				t.Errorf("the vcpu lost %d ns, want %d", lost, want)
			}
		})
	}
	t.Run("two go on", func(t *testing.T) {
		m := newSim(t, 2)
		m.add(vcpu, VCPU, nil, nil)
		m.s.Spare(vcpu, true)
		m.until(1e6)
		for id := range uint16(2) {
			m.add(host+10*id, Host, fixed(3e6), fixed(never)).wakeAt = m.now
		}
		m.add(late, Host, fixed(10e3), fixed(never)).wakeAt = m.now + 100e3
		m.until(5e6)
		if w := m.threads[late].worst; w <= 0 || w > patience {
			t.Errorf("the third host thread waited for %d ns, want at most %d", w, patience)
		}
	})
	t.Run("a vcpu that is not", func(t *testing.T) {
		m := newSim(t, 3)
		m.add(vcpu, VCPU, nil, nil)
		m.s.Spare(vcpu, true)
		m.add(vcpu+10, VCPU, nil, nil)
		m.until(1e6)
		m.add(host, Host, fixed(3e6), fixed(never)).wakeAt = m.now
		m.add(late, Host, fixed(10e3), fixed(never)).wakeAt = m.now + 100e3
		m.until(5e6)
		if w := m.threads[late].worst; w > 0 {
			t.Errorf("the second host thread waited for %d ns though a vcpu ran that is not spared", w)
		}
	})
	t.Run("no other", func(t *testing.T) {
		m := newSim(t, 1)
		m.add(vcpu, VCPU, nil, nil)
		m.s.Spare(vcpu, true)
		m.until(1e6)
		m.add(host, Host, fixed(10e3), fixed(never)).wakeAt = m.now
		m.until(2e6)
		if w := m.threads[host].worst; w != 0 {
			t.Errorf("the host thread waited for %d ns", w)
		}
	})
	for _, tt := range []struct {
		name    string
		spared  bool
		hard    uint64 // the vcpu's
		first   int64  // how long the first host thread runs
		waits   int64  // the vcpu
		second  int64  // and, at most, the second host thread
		patient bool   // the second has waited for a CPU before
	}{
		{"it comes back", true, 2, 400e3, 0, 400e3, false},
		{"it comes back, and the first goes on", true, 2, 10e6, 0, patience, false},
		{"it comes back, not spared", false, 2, 400e3, 390e3, 0, false},
		{"it may have the other CPU", true, 3, 400e3, 190e3, 0, false},
		{"one has waited for it", true, 2, 300e3, 290e3, 1220e3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, 2)
			begin := int64(1e6)
			if tt.patient {
				begin = 1550e3
			}
			m.add(vcpu, VCPU, fixed(begin), fixed(110e3))
			m.s.SetAffinity(vcpu, tt.hard, tt.hard, 0)
			m.s.Spare(vcpu, tt.spared)
			m.add(host, Host, fixed(tt.first), fixed(never)).wakeAt = begin - 100e3
			wake := begin + 100e3 // on the vcpu's CPU, which sleeps
			if tt.patient {
				wake = 330e3 // when another one waits for the first
				m.threads[host].wakeAt = 300e3
				m.add(host+10, Host, fixed(10e6), fixed(never)).wakeAt = 310e3
			}
			m.add(late, Host, fixed(400e3), fixed(never)).wakeAt = wake
			m.until(begin - 1)
			m.threads[vcpu].worst, m.threads[late].worst = 0, 0
			m.until(begin + 1300e3)
			if w := m.threads[vcpu].worst; w != tt.waits {
				t.Errorf("the vcpu waited for %d ns, want %d", w, tt.waits)
			}
			if w := m.threads[late].worst; w > tt.second || m.threads[late].ran != 400e3 {
				t.Errorf("the second host thread waited for %d ns, want at most %d, and ran for %d", w, tt.second, m.threads[late].ran)
			}
		})
	}
	t.Run("ends", func(t *testing.T) {
		m := newSim(t, 2)
		for id := range uint16(3) {
			m.add(id, VCPU, nil, nil)
			m.s.Spare(id, true)
			m.s.Spare(id, true)
		}
		m.s.Spare(0, false)
		m.s.SetClass(1, Host, 0)
		m.s.Remove(2, 0)
		if m.s.spares != 0 {
			t.Errorf("%d threads are spared", m.s.spares)
		}
	})
}

const never = 1000 * second // beyond any test's end
