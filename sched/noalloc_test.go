package sched

import (
	"os/exec"
	"strings"
	"testing"
)

// forbidden is what the compiler says of allocations and write barriers.
func forbidden(out string) (bad []string) {
	for _, l := range strings.Split(out, "\n") {
		if strings.Contains(l, "write barrier") || strings.Contains(l, "escapes to heap") || strings.Contains(l, "moved to heap") {
			bad = append(bad, l)
		}
	}
	return bad
}

// full is a scheduler with n CPUs and all threads runnable vcpus, but the last,
// which is a blocked host thread.
func full(n int) *Scheduler {
	s := new(Scheduler)
	s.Init()
	for i := range n {
		s.CPUOnline(i, 0)
	}
	for id := range uint16(MaxThreads - 1) {
		s.Add(id, VCPU, 0)
		s.SetGroup(id, id%MaxGroups, 0)
		s.Wake(id, 0)
	}
	s.Add(MaxThreads-1, Host, 0)
	for i := range n {
		s.Pick(i, 0, Running)
	}
	return s
}

func BenchmarkPick(b *testing.B) {
	s := full(64)
	now := int64(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += 5e6 / 64
		s.Pick(i&63, now, Running)
	}
}

func BenchmarkWakePickBlock(b *testing.B) {
	s := full(64)
	now := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 1e6
		k := s.Wake(MaxThreads-1, now)
		if k == 0 {
			b.Fatal("no kick")
		}
		c := lowest(k)
		s.Pick(c, now, Running)
		s.Pick(c, now+1000, Blocked)
	}
}

func TestNoAllocation(t *testing.T) {
	s := full(64)
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += 1e6
		c := lowest(s.Wake(MaxThreads-1, now))
		s.Pick(c, now, Running)
		s.Pick(c, now, Blocked)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The package must not allocate nor have write barriers: it runs where Go's
// runtime doesn't.
func TestCompiles(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go tool")
	}
	for _, flag := range []string{"-d=wb=1", "-m"} {
		out, err := exec.Command(goTool, "build", "-gcflags="+flag, ".").CombinedOutput()
		if err != nil {
			t.Skipf("go build: %v\n%s", err, out)
		}
		if flag == "-m" && !strings.Contains(string(out), "can inline") {
			t.Errorf("%s: the compiler says nothing: %s", flag, out)
		}
		for _, bad := range forbidden(string(out)) {
			t.Errorf("%s: %s", flag, bad)
		}
	}
}
