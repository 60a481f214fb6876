package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	err := fmt.Errorf("pause: %w", Errorf(ErrNoDomain, "no domain %q", "x"))
	if !errors.Is(err, ErrNoDomain) || errors.Is(err, ErrExists) {
		t.Error("errors.Is doesn't see the kind")
	}
	if err.Error() != `pause: no domain "x"` {
		t.Error(err)
	}
	if CodeOf(err) != ErrNoDomain || CodeOf(nil) != 0 || CodeOf(errors.New("x")) != ErrInternal {
		t.Error("CodeOf")
	}
	for c := ErrNoDomain; c < endCodes; c++ {
		if c.Error() == "" || strings.HasPrefix(c.Error(), "error ") {
			t.Errorf("code %d has no text", uint16(c))
		}
	}
	if Code(999).Error() != "error 999" {
		t.Error(Code(999))
	}
}

func TestStateString(t *testing.T) {
	for _, tt := range []struct {
		s    State
		r    ShutdownReason
		want string
	}{
		{0, 0, "------"},
		{StateRunning, 0, "r-----"},
		{StateBlocked | StatePaused, 0, "-bp---"},
		{StateShutdown, ShutdownPowerOff, "---s--"},
		{StateShutdown, ShutdownCrash, "---sc-"},
		{StateShutdown | StateDying, ShutdownReboot, "---s-d"},
	} {
		if got := (DomainInfo{State: tt.s, Reason: tt.r}).StateString(); got != tt.want {
			t.Errorf("%v %v: %s, want %s", tt.s, tt.r, got, tt.want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "Domain-0", "every.thing_1", "5x", strings.Repeat("x", MaxNameLen)} {
		if err := CheckName(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "0", "12", "a b", "a\tb", "a/b", "ä", "a\x00", "\x7f", `a"`, strings.Repeat("x", MaxNameLen+1)} {
		if err := CheckName(bad); !errors.Is(err, ErrBadArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestUUID(t *testing.T) {
	const s = "59e1cf6c-6ab9-4879-90e7-adc8d1c63bf5"
	for _, in := range []string{s, strings.ReplaceAll(s, "-", ""), strings.ToUpper(s)} {
		if u, err := ParseUUID(in); err != nil || u.String() != s {
			t.Errorf("%q: %v %v", in, u, err)
		}
	}
	for _, in := range []string{"", s[1:], s + "0", strings.Replace(s, "5", "g", 1), "59e1cf6c6-ab9-4879-90e7-adc8d1c63bf5", strings.Repeat("-", 36)} {
		if _, err := ParseUUID(in); !errors.Is(err, ErrBadArgument) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// TestCPUList checks the examples of xl.cfg(5), cpus, on 16 CPUs in 4 nodes.
func TestCPUList(t *testing.T) {
	node := func(cpu int) int { return cpu / 4 }
	for in, want := range map[string]string{
		"all":                   "0-15",
		"0-3,5,^1":              "0,2-3,5",
		"all,^7":                "0-6,8-15",
		"nodes:0-3,^node:2":     "0-7,12-15",
		"1,node:1,^6":           "1,4-5,7",
		"all,^node:1":           "0-3,8-15",
		"3-8,^5":                "3-4,6-8",
		"node:0,node:2,^9-11,5": "0-3,5,8",
		"node:^1,all,nodes:^1":  "0-3,8-15",
		" 2 , 3":                "2-3",
		"16":                    "error", "^1": "error", "all,^all": "error", "node:9": "error",
	} {
		l, err := ParseCPUList(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		s, err := l.Resolve(16, node)
		got := s.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", in, got, err, want)
		}
		if again, err := ParseCPUList(l.String()); err != nil || again.String() != l.String() {
			t.Errorf("%q: %q doesn't come back: %v", in, l.String(), err)
		}
	}
	for _, bad := range []string{"", ",", "a", "-1", "1-", "3-1", "99999", "^^1", "node:", "node:^^1", "1 2", strings.Repeat("1,", 3000)} {
		if _, err := ParseCPUList(bad); !errors.Is(err, ErrBadArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCPUSet(t *testing.T) {
	s := AllCPUs(130)
	if s.Count() != 130 || s.String() != "0-129" || s.Format(130) != "all" || s.Format(131) != "0-129" || s.Has(130) || s.Has(-1) || s.Has(1<<20) {
		t.Error(s)
	}
	s.Remove(64)
	s.Remove(1 << 20)
	if s.Format(130) != "0-63,65-129" {
		t.Error(s)
	}
	if (CPUSet{}).String() != "none" || CPUSet(nil).Count() != 0 {
		t.Error("empty set")
	}
}

func TestSchedParams(t *testing.T) {
	for p, ok := range map[SchedParams]bool{{1, 0}: true, {65535, 65535}: true, {0, 0}: false, {65536, 0}: false, {256, -1}: false, {256, 65536}: false} {
		if err := p.Check(); (err == nil) != ok {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestTrigger(t *testing.T) {
	for i := TriggerNMI; i <= TriggerS3Resume; i++ {
		if got, err := ParseTrigger(i.String()); err != nil || got != i {
			t.Error(i, got, err)
		}
	}
	if _, err := ParseTrigger("boom"); !errors.Is(err, ErrBadArgument) {
		t.Error(err)
	}
}

func FuzzCPUList(f *testing.F) {
	for _, s := range []string{"all,^7", "nodes:0-3,^node:2", "0-4095", "^", "node:^1"} {
		f.Add(s, 16)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 1 + int(uint(n)%MaxCPUs)
		l, err := ParseCPUList(s)
		if err != nil {
			return
		}
		set, err := l.Resolve(n, nil)
		if err == nil && (set.Count() == 0 || set.Count() > n) {
			t.Fatalf("%q on %d CPUs: %v", s, n, set)
		}
		if again, err := ParseCPUList(l.String()); err != nil || again.String() != l.String() {
			t.Fatalf("%q became %q: %v", s, l.String(), err)
		}
	})
}
