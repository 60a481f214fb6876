package sched

import "testing"

// Demotion ends when a host thread has blocked for long enough, or with the
// period.
func TestDemotion(t *testing.T) {
	var s Scheduler
	s.Init()
	s.CPUOnline(0, 0)
	s.Add(1, VCPU, 0)
	s.Add(2, Host, 0)
	s.Wake(1, 0)
	s.Wake(2, 0)
	now, host := int64(0), int64(0)
	pick := func(st State) int {
		t.Helper()
		id, until, _ := s.Pick(0, now, st)
		if id == Idle {
			t.Fatalf("%d: idle", now)
		}
		if id == 2 {
			host += until - now
		}
		now = until
		return id
	}
	for s.threads[2].level == levelHost && now < second {
		pick(Running)
	}
	if host != spinLimit {
		t.Errorf("demoted after %d ns, want %d", host, spinLimit)
	}
	demoted := s.threads[2].since
	for s.threads[2].demoted && now < second {
		pick(Running)
	}
	if d := s.cpus[0].since - demoted; d < spinPeriod || d > spinPeriod+2*vcpuSlice {
		t.Errorf("demoted for %d ns, want %d", d, spinPeriod)
	}
	for !s.threads[2].demoted && now < second {
		pick(Running)
	}
	for pick(Running) != 2 {
	}
	for _, tt := range []struct {
		sleep   int64
		demoted bool
	}{{spinRest / 2, true}, {spinRest, false}} {
		if pick(Blocked) != 1 {
			t.Fatal("the vcpu should run")
		}
		now = s.threads[2].stamp + tt.sleep
		s.Wake(2, now)
		if got := s.threads[2].demoted; got != tt.demoted {
			t.Errorf("after %d ns of sleep: demoted %v", tt.sleep, got)
		}
		for pick(Running) != 2 {
		}
	}
}

// A host thread that blocks for more than a third of the time doesn't spin.
func TestRestless(t *testing.T) {
	for _, tt := range []struct {
		sleep   int64
		demoted bool
	}{{400e3, true}, {600e3, false}} {
		m := newSim(t, 1)
		m.add(1, Host, fixed(1e6), fixed(tt.sleep))
		demoted := false
		for m.now < second {
			m.until(m.now + 1e6)
			demoted = demoted || m.s.threads[1].demoted
		}
		if demoted != tt.demoted {
			t.Errorf("1 ms of work and %d us of sleep in turn: demoted %v", tt.sleep/1000, demoted)
		}
	}
}

// A vcpu that wants a bit less than its share gets it.
func TestPartTime(t *testing.T) {
	m := newSim(t, 1)
	for id := range uint16(2) {
		m.add(id, VCPU, nil, nil)
	}
	m.add(2, VCPU, fixed(2e6), fixed(6e6)) // 25 %, were it alone
	m.until(10 * second)
	if r := m.threads[2].ran; r < 20*second/10 {
		t.Errorf("ran for %d ns of 10 s", r)
	}
}
