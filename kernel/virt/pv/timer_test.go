package pv_test

import (
	"math"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
)

// TestTimer: a vcpu's timer is set where its thread comes out of the guest early enough for it; all other calls
// are Go's, and have done nothing.
func TestTimer(t *testing.T) {
	const armed, set = pv.Clock + 1000, 77
	type args struct{ nr, rdi, rsi, rdx, at, flags uint64 }
	at := func(at, flags uint64) args {
		return args{xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, sideID, kernelStack, at, flags}
	}
	for _, x := range []struct {
		what string
		args args
		want int64 // what the timer is then; set: refused
	}{
		{"later", at(armed+1, 0), armed + 1},
		{"when it is armed", at(armed, 0), armed},
		{"sooner", at(armed-1, 0), set},
		{"at once", at(0, 0), set},
		{"never", at(math.MaxUint64, 0), math.MaxInt64},
		{"in the future", at(armed, 1), armed},
		{"in the past", at(pv.Clock-1, 1), set},
		{"of another vcpu", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, sideID + 1, kernelStack, armed, 0}, set},
		{"of nobody", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, sideID | 1<<32, kernelStack, armed, 0}, set},
		{"nowhere", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, sideID, 0x1000, armed, 0}, set},
		{"the hypervisor's", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, sideID, xenabi.HypervisorVirtEnd64 - 8, armed, 0}, set},
		{"stopped", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpStopSingleshotTimer, sideID, 0, 0, 0}, 0},
		{"stopped, of another vcpu", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpStopSingleshotTimer, 0, 0, 0, 0}, set},
		{"another operation", args{xenabi.HypercallVCPUOp, xenabi.VCPUOpUp, sideID, 0, 0, 0}, set},
		{"set_timer_op", args{xenabi.HypercallSetTimerOp, armed + 5, 0, 0, 0, 0}, armed + 5},
		{"set_timer_op, sooner", args{xenabi.HypercallSetTimerOp, armed - 5, 0, 0, 0, 0}, set},
		{"set_timer_op, stopped", args{xenabi.HypercallSetTimerOp, 0, 0, 0, 0, 0}, 0},
	} {
		s := newSide(1, false)
		s.memory.Simulate()
		s.SetUpcallMask(true)
		s.cpu.UserMode, s.timer = false, virt.Timer{At: set, Armed: armed}
		s.hw.SetRoot(kernelRoot, false)
		s.memory.Root = kernelRoot
		words := s.memory.Words[kernelRoot]
		for _, a := range []uint64{kernelStack, xenabi.HypervisorVirtEnd64 - 8} {
			words[a], words[a+8] = x.args.at, x.args.flags|1<<32
		}
		r := s.hw.Regs()
		r.RAX, r.RDI, r.RSI, r.RDX = x.args.nr, x.args.rdi, x.args.rsi, x.args.rdx
		done := s.hw.FastExit(pv.VecSyscall, 0, 0) >= pv.FastReturn
		if s.timer.At != x.want || done != (x.want != set) || done && r.RAX != 0 {
			t.Errorf("%s: %v, the timer is at %d", x.what, done, s.timer.At)
		}
		*r = virt.Regs{RAX: x.args.nr, RDI: x.args.rdi, RSI: x.args.rsi, RDX: x.args.rdx}
		if s.timer.Armed = 0; s.hw.FastExit(pv.VecSyscall, 0, 0) >= pv.FastReturn && s.timer.At != 0 {
			t.Errorf("%s: set where nothing is armed", x.what)
		}
	}
}
