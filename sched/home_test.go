package sched

import "testing"

// TestHome: a host thread that wakes while several CPUs idle leaves the one alone where a vcpu
// slept, until that vcpu runs elsewhere or is gone; where there is no other, it takes that.
func TestHome(t *testing.T) {
	const vcpu, host, second = 1, 2, 3
	s := new(Scheduler)
	s.Init()
	for i := range 2 {
		s.CPUOnline(i, 0)
		s.Pick(i, 0, Running)
	}
	s.Add(vcpu, VCPU, 0)
	s.Add(host, Host, 0)
	s.Add(second, Host, 0)
	// turn wakes a thread, which runs on one of the CPUs, and blocks again.
	now := int64(0)
	begin := func(id uint16) int {
		now += 1000
		k := s.Wake(id, now)
		for i := range 2 {
			if k>>i&1 != 0 {
				if next, _, _ := s.Pick(i, now, Running); next == int(id) {
					return i
				}
			}
		}
		t.Fatalf("thread %d does not run: kicks %#b", id, k)
		return -1
	}
	end := func(cpu int) { now += 1000; s.Pick(cpu, now, Blocked) }

	home := begin(vcpu)
	end(home)
	for range 3 {
		if got := begin(host); got == home {
			t.Fatalf("the host thread runs on CPU %d, where the vcpu slept", got)
		} else {
			end(got)
		}
	}
	a := begin(host)
	if got := begin(second); got != home {
		t.Errorf("the second host thread runs on CPU %d", got)
	}
	end(home)
	end(a)
	if got := begin(vcpu); got != home {
		t.Errorf("the vcpu comes back on CPU %d", got)
	}
	end(home)
	s.SetAffinity(vcpu, 1<<a, ^uint64(0), now)
	if got := begin(vcpu); got != a {
		t.Fatalf("the vcpu runs on CPU %d", got)
	}
	end(a)
	if got := begin(host); got != home {
		t.Errorf("the host thread runs on CPU %d, the vcpu's is %d now", got, a)
	}
	end(home)
	s.Remove(vcpu, now)
	if s.homes != 0 {
		t.Errorf("homes %#b of no vcpu", s.homes)
	}
}
