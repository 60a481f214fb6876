package pv_test

import (
	"testing"

	"nidus/kernel/evtchn"
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// notified counts what is told to vcpus.
type notified [sideID + 1]int

func (n *notified) NotifyVCPU(v int, _ bool) { n[v]++ }

// addEvents gives a side's guest event channels, with a port for IPIs to each vcpu: the first is 1.
func (s *side) addEvents(t *testing.T) (*evtchn.Domain, *notified) {
	t.Helper()
	var told notified
	d, err := new(evtchn.Hub).NewDomain(evtchn.Config{ID: 1, VCPUs: len(told), SharedInfo: mm.NewPage(), Notifier: &told, PV: true})
	if err != nil {
		t.Fatal(err)
	}
	for v := range uint32(len(told)) {
		if _, err := d.BindIPI(v); err != nil {
			t.Fatal(err)
		}
	}
	pg, off, _ := d.VCPUInfo(sideID)
	s.place.Store(&pv.Info{Page: pg, Off: off})
	s.events = d
	s.setGuest(nil)
	return d, &told
}

// TestEvents: an event that a vcpu sends to itself is delivered without leaving to Go; all other calls are Go's,
// and have done nothing.
func TestEvents(t *testing.T) {
	const own, other = sideID + 1, sideID
	for _, x := range []struct {
		what     string
		cmd, arg uint64
		port     uint64
		sent     bool
	}{
		{"to itself", xenabi.EvtchnOpSend, kernelStack, own, true},
		{"to itself, with a neighbour behind it", xenabi.EvtchnOpSend, kernelStack, own | 1<<32, true},
		{"to another vcpu", xenabi.EvtchnOpSend, kernelStack, other, false},
		{"to port 0", xenabi.EvtchnOpSend, kernelStack, 0, false},
		{"to no port", xenabi.EvtchnOpSend, kernelStack, 1<<32 - 1, false},
		{"from nowhere", xenabi.EvtchnOpSend, 0x1000, own, false},
		{"from the hypervisor", xenabi.EvtchnOpSend, xenabi.HypervisorVirtEnd64 - 8, own, false},
		{"another operation", xenabi.EvtchnOpUnmask, kernelStack, own, false},
		{"no operation", xenabi.EvtchnOpSend | 1<<32, kernelStack, own, false},
	} {
		s := newSide(1, false)
		s.memory.Simulate()
		d, told := s.addEvents(t)
		s.cpu.UserMode, s.cpu.Event = false, pv.Callback{Address: kernelCode}
		s.hw.SetRoot(kernelRoot, false)
		s.memory.Root = kernelRoot
		words := s.memory.Words[kernelRoot]
		words[kernelStack], words[xenabi.HypervisorVirtEnd64-8] = x.port, x.port
		r := s.hw.Regs()
		*r = virt.Regs{RAX: xenabi.HypercallEventChannelOp, RDI: x.cmd, RSI: x.arg, RSP: kernelStack + 0x700, RIP: 0x1234, RFLAGS: virt.FlagIF | virt.FlagFixed}
		r.RCX, r.R11 = r.RIP, r.RFLAGS
		before := *r
		got := s.hw.FastExit(pv.VecSyscall, 0, 0)
		pending, _ := d.AnyPending([]uint32{own})
		if got != map[bool]uint64{false: pv.FastRefused, true: pv.FastReturn}[x.sent] || pending != x.sent || d.PendingUpcall(sideID) ||
			x.sent && r.RIP != kernelCode || !x.sent && *r != before {
			t.Errorf("%s: %d, pending %v, %+v", x.what, got, pending, *r)
		}
		if *told != (notified{}) {
			t.Errorf("%s: notified %v", x.what, *told)
		}
		if !x.sent {
			continue
		}
		// A second one changes nothing: the first is pending.
		*r = before
		if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got != pv.FastSysret || r.RAX != 0 || r.RIP != before.RIP {
			t.Errorf("%s, again: %d, %+v", x.what, got, *r)
		}
	}
}

// TestEventPolled: a vcpu that waits for the port is woken, by Go.
func TestEventPolled(t *testing.T) {
	s := newSide(1, false)
	s.memory.Simulate()
	d, told := s.addEvents(t)
	s.cpu.UserMode = false
	s.hw.SetRoot(kernelRoot, false)
	s.memory.Root = kernelRoot
	s.memory.Words[kernelRoot][kernelStack] = sideID + 1
	if ready, err := d.BeginPoll(0, []uint32{sideID + 1}); ready || err != nil {
		t.Fatal(ready, err)
	}
	*s.hw.Regs() = virt.Regs{RAX: xenabi.HypercallEventChannelOp, RDI: xenabi.EvtchnOpSend, RSI: kernelStack, RSP: kernelStack + 0x700}
	s.place.Load().SetMasked(true)
	if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got != pv.FastLook || s.hw.Regs().RAX != 0 {
		t.Errorf("%d, want %d", got, pv.FastLook)
	}
	s.hw.Settle()
	if told[0] != 1 {
		t.Errorf("notified %v", *told)
	}
	s.hw.Regs().RAX = xenabi.HypercallStackSwitch
	if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got < pv.FastReturn {
		t.Errorf("it is settled, and looked for again: %d", got)
	}
}
