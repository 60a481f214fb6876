package pv_test

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
)

// TestFastExit lets the same exits be done by fastExit and by pass with the upcall that follows: the same
// comes of them, the flags are a guest's, and SYSRET is taken where it leaves what IRET would.
func TestFastExit(t *testing.T) {
	done := map[uint64]int{}
	for seed := range uint64(8000) {
		r := rand.New(rand.NewPCG(seed, 2))
		vec := []uint64{pv.VecSyscall, pv.VecSyscall, virt.VectorPF, virt.VectorGP, virt.VectorUD}[r.IntN(5)]
		code, cr2 := uint64(r.IntN(32)), r.Uint64()
		a, b := newSide(seed, false), newSide(seed, false)
		flags := r.Uint64()&^0xffff | virt.FlagTF*uint64(r.IntN(2))
		for _, s := range []*side{a, b} {
			s.cpu.Event = pv.Callback{Address: []uint64{0xffffffff83000000, 0}[seed%8/7]}
			regs := s.Regs()
			switch {
			case vec != pv.VecSyscall:
				continue
			case r.IntN(2) == 0:
				regs.RFLAGS |= flags & 0x250dd5
			}
			s.hw.Selectors(pv.SelCode64, pv.SelData)
			regs.RCX, regs.R11 = regs.RIP, regs.RFLAGS // as SYSCALL leaves them
			if seed%16 == 0 {
				regs.RIP = 1 << 47 // behind a SYSCALL at the end of the lower half
				regs.RCX = regs.RIP
			}
		}
		a.Regs().RFLAGS = b.Regs().RFLAGS
		a.Regs().R11 = b.Regs().R11
		words := maps.Clone(b.memory.Words[kernelRoot])
		b.memory.Simulate()
		got := b.hw.FastExit(vec, code, cr2)
		done[got]++
		if got == pv.FastRefused {
			b.memory.Words[kernelRoot] = words // a frame that didn't fit
			a.memory.Root = b.memory.Root
		} else {
			a.memory.Simulate()
			if !a.hw.Pass(vec, code, cr2) {
				t.Fatalf("seed %d: %d, but pass refuses", seed, got)
			}
			if due := a.hw.Due(); (got == pv.FastLook) != (due && !a.hw.Deliver()) {
				t.Fatalf("seed %d: %d, an event was due: %v", seed, got, due)
			}
			b.memory.Root = a.memory.Root
		}
		regs := b.Regs()
		if got >= pv.FastReturn {
			a.Regs().RFLAGS = a.Regs().RFLAGS&0x250dd5 | virt.FlagIF | virt.FlagFixed
		}
		if x, y := a.state(), b.state(); !reflect.DeepEqual(x, y) {
			t.Fatalf("seed %d, %d:\n%+v\n%+v", seed, got, x, y)
		}
		cs, ss := b.hw.Segment(virt.CS).Selector, b.hw.Segment(virt.SS).Selector
		if got == pv.FastSysret && (vec != pv.VecSyscall || regs.RCX != regs.RIP || regs.R11 != regs.RFLAGS || !virt.Canonical(regs.RIP) || cs != pv.SelCode64 || ss != pv.SelData) {
			t.Fatalf("seed %d: SYSRET with %+v, %#x, %#x", seed, *regs, cs, ss)
		}
	}
	for _, x := range []uint64{pv.FastRefused, pv.FastLook, pv.FastReturn, pv.FastSysret} {
		if done[x] < 40 {
			t.Errorf("of the answers, %v", done)
		}
	}
}

// TestNoInfo: a vcpu has no vcpu_info before it registers one, if it is the 33rd or later. All it
// does until then is Go's.
func TestNoInfo(t *testing.T) {
	for _, nr := range []uint64{xenabi.HypercallStackSwitch, xenabi.HypercallSetSegmentBase, xenabi.HypercallIret, constant.Number} {
		s := newSide(1, false)
		s.memory.Simulate()
		s.cpu.UserMode = false
		s.place.Store(nil)
		*s.Regs() = virt.Regs{RAX: nr}
		if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got != pv.FastRefused {
			t.Errorf("hypercall %d: %d", nr, got)
		}
	}
}

// TestFastCalls: the entry code doesn't ask for hypercalls that are not in FastCalls, so none of them may be
// done here, and each that is in it can be.
func TestFastCalls(t *testing.T) {
	var done uint64
	for seed := range uint64(200) {
		for nr := range uint64(64) {
			s := newSide(seed, false)
			s.memory.Simulate()
			s.memory.Waiting = false
			if s.cpu.UserMode {
				break
			}
			r := s.Regs()
			r.RAX, r.RSP = nr, kernelStack+0x700
			switch nr {
			case xenabi.HypercallSchedOp:
				r.RDI = xenabi.SchedOpYield
			case xenabi.HypercallEventChannelOp:
				s.addEvents(t)
				s.memory.Words[kernelRoot][kernelStack] = sideID + 1
				r.RDI, r.RSI = xenabi.EvtchnOpSend, kernelStack
			case xenabi.HypercallVCPUOp:
				r.RDI, r.RSI = xenabi.VCPUOpStopSingleshotTimer, sideID
			case xenabi.HypercallSetTimerOp:
				r.RDI = 0
			}
			if s.hw.Pass(pv.VecSyscall, 0, 0) {
				done |= 1 << nr
			}
		}
	}
	// Of page tables there are none here: TestTables.
	const tables = 1<<xenabi.HypercallMMUUpdate | 1<<xenabi.HypercallUpdateVAMapping
	if done != pv.FastCalls&^tables {
		t.Errorf("done: %#x, asked for: %#x", done, uint64(pv.FastCalls))
	}
}
