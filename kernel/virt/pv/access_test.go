package pv_test

import (
	"bytes"
	"testing"

	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

func TestCopy(t *testing.T) {
	for _, c := range []struct {
		name    string
		at      uint64
		n       int
		hide    func(*side) // makes it impossible
		in, out bool
	}{
		{"words", kernelStack, 64, nil, true, true},
		{"a byte", kernelStack + 7, 1, nil, true, true},
		{"odd", kernelStack + 3, 29, nil, true, true},
		{"end of the page", kernelStack + 0xff8, 8, nil, true, true},
		{"nothing", kernelStack, 0, nil, false, false},
		{"too much", kernelStack, 1025, nil, false, false},
		{"from the page before, which isn't there", kernelStack - 8, 16, nil, false, false},
		{"across pages", kernelStack + 0xff8, 16, func(s *side) { s.memory.Words[kernelRoot][kernelStack+0x1000] = 1 }, true, false},
		{"nowhere", 0x1000, 8, nil, false, false},
		{"the hypervisor's", xenabi.HypervisorVirtStart64 - 8, 16, nil, false, false},
		{"the hypervisor's last", xenabi.HypervisorVirtEnd64 - 8, 16, nil, false, false},
		{"not canonical", 1<<47 - 8, 16, nil, false, false},
		{"around the end", ^uint64(7), 16, nil, false, false},
		{"other tables are loaded", kernelStack, 8, func(s *side) { s.memory.Root = userRoot }, false, false},
		{"a flush is due", kernelStack, 8, func(s *side) { s.hw.RequestFlush() }, false, false},
		{"a page's flush is due", kernelStack, 8, func(s *side) { s.hw.FlushPage(kernelStack) }, false, false},
		{"before there is a gate", kernelStack, 8, func(s *side) {
			s.hw = pv.NewBare(true, constant)
			s.setGuest(nil)
			s.hw.SetRoot(kernelRoot, false)
		}, false, false},
	} {
		s := newSide(2, false)
		s.memory.Simulate()
		s.SetRoot(kernelRoot, false)
		if c.hide != nil {
			c.hide(s)
		}
		b := make([]byte, c.n)
		for i := range b {
			b[i] = byte(i) ^ 0x5a
		}
		if ok := s.hw.CopyOut(mm.GuestVirt(c.at), b); ok != c.out {
			t.Errorf("%s: CopyOut: %v", c.name, ok)
		}
		got := make([]byte, c.n)
		if ok := s.hw.CopyIn(got, mm.GuestVirt(c.at)); ok != c.in {
			t.Errorf("%s: CopyIn: %v", c.name, ok)
		}
		if c.in && c.out && !bytes.Equal(got, b) {
			t.Errorf("%s: wrote % x, read % x", c.name, b, got)
		}
		if s.hw.Running() {
			t.Errorf("%s: counts as running afterwards", c.name)
		}
	}
}
