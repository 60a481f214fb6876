package sched

import "testing"

// TestBusy: a thread that may have locks is not held up by its group's cap, neither when its
// budget ends nor when it wakes; as soon as it has none it waits.
func TestBusy(t *testing.T) {
	var s Scheduler
	s.Init()
	s.CPUOnline(0, 0)
	s.Add(0, VCPU, 0)
	s.SetGroup(0, 0, 0)
	s.SetCap(0, 10, 0) // 1 ms in 10 ms
	s.Wake(0, 0)
	step := func(what string, now int64, busy bool, st State, want int, late bool) int64 {
		t.Helper()
		s.SetBusy(0, busy)
		next, until, _ := s.Pick(0, now, st)
		if next != want || s.Late(0, now) != late {
			t.Fatalf("%s: %d runs, late %v; want %d, %v", what, next, s.Late(0, now), want, late)
		}
		return until
	}
	step("at first", 0, false, Running, 0, false)
	if until := step("in the host's code, over its budget", 3e6, true, Running, 0, true); until < 3e6+busyRun {
		t.Errorf("it is asked again after %d ns", until-3e6)
	}
	step("it waits for a lock", 4e6, true, Blocked, Idle, true)
	s.Wake(0, 5e6)
	step("it has the lock", 5e6, true, Running, 0, true)
	step("back in its guest", 6e6, false, Running, Idle, false)
	step("in debt", 19e6, false, Running, Idle, false)
	if next, _, _ := s.Pick(0, 60e6, Running); next != 0 {
		t.Error("it doesn't run when its debt is paid")
	}
}

// TestCapOfCalls: a cap holds for a thread that is in the host's code nearly all of its time.
func TestCapOfCalls(t *testing.T) {
	for _, percent := range []int64{1, 20, 60} {
		for _, host := range []int64{1e3, 300e3, 3e6} {
			const guest = 10e3
			var s Scheduler
			s.Init()
			s.CPUOnline(0, 0)
			s.Add(0, VCPU, 0)
			s.SetGroup(0, 0, 0)
			s.SetCap(0, uint32(percent), 0)
			s.Wake(0, 0)
			now, done, late := int64(0), int64(0), false // done: of the round that it is in
			pick := func() (next int, until int64) {
				s.SetBusy(0, done < host)
				next, until, _ = s.Pick(0, now, Running)
				if next == 0 {
					late = late || s.Late(0, now)
				}
				return next, until
			}
			next, until := pick()
			for now < 5e9 {
				if next == Idle {
					now = until
					next, until = pick()
					continue
				}
				left := host + guest - done
				if done < host {
					left = host - done
				}
				if until != 0 {
					left = min(left, until-now)
				}
				now, done = now+left, done+left
				switch {
				case done == host && late: // Rest
					late = false
					next, until = pick()
				case now == until:
					next, until = pick()
				}
				if done == host+guest {
					done = 0
				}
			}
			if got := float64(s.Runtime(0, now)) / float64(now) * 100; got < float64(percent)*0.9 || got > float64(percent)*1.05+0.1 {
				t.Errorf("cap %d %%, calls of %d us: %.2f %%", percent, host/1000, got)
			}
		}
	}
}
