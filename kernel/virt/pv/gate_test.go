package pv_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"nidus/kernel/evtchn"
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/msr"
	"nidus/personalities/pv/pvcpu"
)

const (
	kernelRoot, userRoot = 0x100, 0x200
	kernelStack          = 0xffff888000004000
	kernelCode           = kernelStack + 0x100
	infoOffset           = 64
)

// constant is the hypercall that always has one answer.
var constant = virt.Constant{Number: xenabi.HypercallXenVersion, Answer: 0x40011}

// side is a vcpu in one of two worlds that begin alike.
type side struct {
	pvcpu.Machine // what isn't needed
	hw            pv.Bare
	cpu           *pvcpu.CPU
	memory        pv.Memory
	info          mm.Page
	place         atomic.Pointer[pv.Info]
	tsc           virt.EmulatedTSC
	timer         virt.Timer
	assist        *atomic.Uint64
	events        *evtchn.Domain
}

// sideID is the vcpu's number.
const sideID = 5

// setGuest makes the loop do what it can for the side's guest.
func (s *side) setGuest(mmu *pvmmu.VCPU) {
	s.hw.SetGuest(pv.Guest{ID: sideID, Gate: &s.cpu.Gate, Assist: s.assist, Info: &s.place, TSC: &s.tsc, Timer: &s.timer, MMU: mmu, Events: s.events})
}

func (s *side) Regs() *virt.Regs                         { return s.hw.Regs() }
func (s *side) Segment(r virt.SegReg) virt.Segment       { return s.hw.Segment(r) }
func (s *side) SetSegment(r virt.SegReg, x virt.Segment) { s.hw.SetSegment(r, x) }
func (s *side) Get(r virt.SysReg) uint64                 { return s.hw.Get(r) }
func (s *side) Set(r virt.SysReg, x uint64)              { _ = s.hw.Set(r, x) }
func (s *side) SetRoot(m mm.MFN, user bool)              { s.hw.SetRoot(m, user); s.memory.Root = m }
func (s *side) flag(off int) uint8                       { return s.info.Load8(infoOffset + off) }
func (s *side) UpcallPending() bool                      { return s.flag(xenabi.VCPUEvtchnUpcallPending) != 0 }
func (s *side) UpcallMask() bool                         { return s.flag(xenabi.VCPUEvtchnUpcallMask) != 0 }
func (s *side) SetCR2(a uint64)                          { s.info.Store64(infoOffset+16, a) }
func (s *side) CopyIn(a mm.GuestVirt, dst []byte) error  { return s.copy(a, dst, false) }
func (s *side) CopyOut(a mm.GuestVirt, src []byte) error { return s.copy(a, src, true) }
func (s *side) TSC() uint64                              { return s.tsc.Read(pv.Clock) }
func (s *side) CPUID(leaf, sub uint32) (a, b, c, d uint32) {
	return leaf ^ 0x11, sub ^ 0x22, leaf + sub, ^leaf
}
func (s *side) SetUpcallMask(on bool) {
	b := uint8(0)
	if on {
		b = 1
	}
	s.info.Store8(infoOffset+xenabi.VCPUEvtchnUpcallMask, b)
}

// copy fails for the hypervisor's addresses, as the real one does.
func (s *side) copy(a mm.GuestVirt, b []byte, write bool) error {
	words := s.memory.Words[s.memory.Root]
	for i := 0; i < len(b); i += 8 {
		at := uint64(a) + uint64(i)
		var word [8]byte
		w, ok := words[at]
		if !ok || at >= xenabi.HypervisorVirtStart64 && at < xenabi.HypervisorVirtEnd64 {
			return errors.New("not there")
		}
		if write {
			copy(word[:], b[i:])
			words[at] = binary.LittleEndian.Uint64(word[:])
		} else {
			binary.LittleEndian.PutUint64(word[:], w)
			copy(b[i:], word[:])
		}
	}
	return nil
}

// newSide makes a world by random numbers; the same seed makes the same.
func newSide(seed uint64, hostView bool) *side {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...uint64) uint64 { return of[r.IntN(len(of))] }
	s := &side{hw: pv.NewBare(hostView, constant), info: mm.NewPage()}
	s.tsc.Start = 0x1000
	var assist atomic.Uint64
	assist.Store(pick(0, 0, 1<<xenabi.VMAssistTypeArchitecturalIOPL))
	s.cpu = pvcpu.New(s, 0, xenabi.Guest64, &assist, msr.Features{LongMode: true})
	g := &s.cpu.Gate
	g.UserMode = r.IntN(2) == 0
	g.Root, g.UserRoot = kernelRoot, mm.MFN(pick(userRoot, userRoot, userRoot, 0))
	g.KernelSP = pick(kernelStack+0x800, kernelStack+0x808, kernelStack+64, kernelStack+32, xenabi.HypervisorVirtEnd64-8, xenabi.HypervisorVirtEnd64+32, 1<<47+16, 1<<63, 24, ^uint64(7))
	g.Syscall64 = pv.Callback{Address: pick(0x1000, 0xffffffff81000000), MaskEvents: r.IntN(2) == 0}
	g.Traps[virt.VectorPF] = pv.Trap{Address: pick(0xffffffff82000000, 0xffffffff82000000, 0), Flags: uint8(pick(0, pvcpu.TrapMaskEvents))}
	g.IOPL, g.NMIMasked = uint8(r.IntN(4)), r.IntN(8) == 0
	regs := s.hw.Regs()
	for i := range uint8(16) {
		*regs.GPR(i) = r.Uint64()
	}
	regs.RAX = pick(xenabi.HypercallIret, xenabi.HypercallIret, constant.Number, xenabi.HypercallStackSwitch, xenabi.HypercallSetSegmentBase, xenabi.HypercallSchedOp)
	regs.RDI = pick(0, 1, 2, 3, 4, 1<<32|1, r.Uint64())
	regs.RSI = pick(0, kernelStack, 1<<47, ^uint64(0), r.Uint64())
	regs.RCX = pick(0, 1, 2, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 1<<32|0xc0000102)
	regs.RIP = pick(0x400000, kernelCode, kernelCode, kernelStack+0xff8, xenabi.HypervisorVirtStart64-64, xenabi.HypervisorVirtStart64+8, 0xffffffff81001000)
	regs.RFLAGS = r.Uint64()&0x250dd5 | virt.FlagIF | 2
	regs.RSP = pick(kernelStack+0x700, kernelStack+0x700, kernelStack+0x708, kernelStack+0xfc0, kernelStack+8, xenabi.HypervisorVirtStart64-32, xenabi.HypervisorVirtEnd64-64, 1<<47-16, 0, ^uint64(0)-15)
	s.hw.Selectors(pick(pv.SelCode64, pv.SelCode32, 0x33), pick(pv.SelData, 0x2b))
	s.hw.SetSegment(virt.GS, virt.Segment{Base: r.Uint64() >> 20})
	_ = s.hw.Set(virt.KernelGSBase, r.Uint64()>>20)
	s.info.Store64(infoOffset, r.Uint64()&0x101)
	s.memory.Words = map[mm.MFN]map[uint64]uint64{kernelRoot: {}, userRoot: {}, 0: {}}
	for at := uint64(kernelStack); at < kernelStack+0x1000; at += 8 {
		s.memory.Words[kernelRoot][at] = r.Uint64()
	}
	s.memory.Waiting = r.IntN(2) == 0
	code := pick(0x310f, 0x320f, 0xa20f_6e6578_0b0f, 0xa20f_6e6578_0b0f, 0xa20f_6e6579_0b0f, 0xa20f, r.Uint64()) | r.Uint64()<<56
	s.memory.Words[kernelRoot][kernelCode] = code
	s.memory.Words[userRoot][0x400000], s.memory.Words[userRoot][0x400008] = code, r.Uint64()
	for _, hole := range []uint64{xenabi.HypervisorVirtStart64 - 64, xenabi.HypervisorVirtEnd64 - 128, 1<<47 - 64} { // reachable, by a supervisor
		for i := range uint64(16) {
			s.memory.Words[kernelRoot][hole+8*i] = r.Uint64()
		}
	}
	f := s.memory.Words[kernelRoot]
	at := kernelStack + uint64(0x700) + pick(0, 8)
	f[at+3*8] = pick(0, pv.InSyscall, 0x1000)
	f[at+4*8] = pick(0x400000, 0xffffffff81002000, 1<<48)
	f[at+5*8] = r.Uint64()&^0xffff | pick(0xe033, 0xe030, 0x33, 0x10, 0xe023)
	s.SetRoot(kernelRoot, false)
	if g.UserMode {
		g.UserRoot = userRoot
		s.SetRoot(userRoot, true)
	}
	s.place.Store(&pv.Info{Page: s.info, Off: infoOffset})
	s.assist = &assist
	s.setGuest(nil)
	s.hw.SetIntercept(virt.Intercept(pick(0, uint64(virt.InterceptRDTSC))))
	s.cpu.SetCR4(pick(0, 0, 1<<2))
	for range 2 {
		leaf, sub := uint32(pick(uint64(uint32(regs.RAX)), r.Uint64()&31)), uint32(pick(uint64(uint32(regs.RCX)), 1))
		a, b, c, d := s.CPUID(leaf, sub)
		s.hw.LearnCPUID(leaf, sub, a, b, c, d)
	}
	return s
}

// by returns what an exit does as package pvcpu has it, which is what Go does; elsewhere is
// true if that isn't all of it.
func (s *side) by(vec, code, cr2 uint64) (err error, elsewhere bool) {
	kernel := s.cpu.Kernel()
	switch {
	case vec == virt.VectorPF:
		_ = s.hw.Set(virt.CR2, cr2)
		return s.cpu.Exception(virt.Fault(virt.VectorPF, uint32(code))), code&4 == 0 || kernel && code&3 == 3
	case vec == pv.VecSyscall && !kernel:
		return s.cpu.Syscall(false), false
	case vec == virt.VectorGP || vec == virt.VectorUD:
		return s.cpu.Exception(virt.Fault(uint8(vec), uint32(code))), false
	}
	r := s.Regs()
	switch r.RAX { // as package hypercall
	case xenabi.HypercallIret:
		return s.cpu.Iret(), false
	case xenabi.HypercallStackSwitch:
		s.cpu.SetStack(uint16(r.RDI), r.RSI)
		r.RAX = 0
	case xenabi.HypercallSetSegmentBase:
		r.RAX = uint64(-int64(s.cpu.SetSegmentBase(uint32(r.RDI), r.RSI)))
	case xenabi.HypercallSchedOp:
		r.RAX = 0
		return nil, uint32(r.RDI) != xenabi.SchedOpYield || s.memory.Waiting
	case constant.Number:
		if r.RDI != constant.Arg {
			return nil, true
		}
		r.RAX = constant.Answer
	default:
		return nil, true
	}
	return nil, false
}

func (s *side) state() []any {
	var info [4096]byte
	s.info.Read(0, info[:])
	return []any{s.hw.Snapshot(), s.cpu.State, info, s.memory.Words[kernelRoot], s.memory.Words[userRoot], s.memory.Root}
}

// TestPass lets the same exits be done by the loop and by package pvcpu: what the loop does is
// the same, and what it doesn't do it leaves alone.
func TestPass(t *testing.T) {
	var done [4]int
	for seed := range uint64(12000) {
		r := rand.New(rand.NewPCG(seed, 2))
		kind := r.IntN(len(done))
		vec := []uint64{pv.VecSyscall, virt.VectorPF, virt.VectorGP, virt.VectorUD}[kind]
		code, cr2 := uint64(r.IntN(32)), r.Uint64()
		if kind == 3 || kind == 2 && r.IntN(4) != 0 {
			code = 0
		}
		a, b := newSide(seed, false), newSide(seed, false)
		if vec == pv.VecSyscall { // as the entry code notes them
			a.hw.Selectors(pv.SelCode64, pv.SelData)
			b.hw.Selectors(pv.SelCode64, pv.SelData)
		}
		if kind >= 2 && r.IntN(4) != 0 { // code that is there
			for _, s := range []*side{a, b} {
				s.hw.Selectors(pv.SelCode64, pv.SelData)
				s.Regs().RFLAGS &^= virt.FlagTF
				s.Regs().RIP = kernelCode
				if !s.cpu.Kernel() {
					s.Regs().RIP = 0x400000
				}
			}
		}
		before, words := b.state(), maps.Clone(b.memory.Words[kernelRoot])
		b.memory.Simulate()
		if !b.hw.Pass(vec, code, cr2) {
			b.memory.Words[kernelRoot] = words // a frame that didn't fit, which nobody sees
			before[3] = words
			if after := b.state(); !reflect.DeepEqual(before, after) {
				t.Fatalf("seed %d: not done, but changed:\n%+v\n%+v", seed, before, after)
			}
			continue
		}
		done[kind]++
		err, elsewhere := a.by(vec, code, cr2)
		if err != nil || elsewhere {
			t.Fatalf("seed %d: done, but the guest is to be ended (%v) or there is more to do (%v)", seed, err, elsewhere)
		}
		if b.hw.Due() != a.cpu.EventDue() {
			t.Fatalf("seed %d: event due: %v", seed, b.hw.Due())
		}
		// The loop leaves it to the next entry to load a process's page tables.
		b.memory.Root = a.memory.Root
		if x, y := a.state(), b.state(); !reflect.DeepEqual(x, y) {
			for i := range x {
				if !reflect.DeepEqual(x[i], y[i]) {
					t.Errorf("seed %d, part %d:\n%+v\n%+v", seed, i, x[i], y[i])
				}
			}
			t.FailNow()
		}
	}
	if done[0] < 700 || done[1] < 250 || done[2] < 100 || done[3] < 200 {
		t.Errorf("done by the loop: %d of SYSCALL, %d page faults, %d of #GP, %d of #UD", done[0], done[1], done[2], done[3])
	}
}

// TestUpcall does the same with events.
func TestUpcall(t *testing.T) {
	done := 0
	for seed := range uint64(3000) {
		a, b := newSide(seed, false), newSide(seed, false)
		for _, s := range []*side{a, b} {
			s.info.Store8(infoOffset+xenabi.VCPUEvtchnUpcallPending, 1)
			s.SetUpcallMask(false)
			s.cpu.Event = pv.Callback{Address: []uint64{0xffffffff83000000, 0}[seed%8/7], MaskEvents: seed%2 == 0}
		}
		if seed%16 == 1 {
			b.hw.RequestFlush()
		}
		before, words := b.state(), maps.Clone(b.memory.Words[kernelRoot])
		b.memory.Simulate()
		if !b.hw.Upcall() {
			b.memory.Words[kernelRoot], before[3] = words, words
			if after := b.state(); !reflect.DeepEqual(before, after) {
				t.Fatalf("seed %d: not done, but changed:\n%+v\n%+v", seed, before, after)
			}
			continue
		}
		done++
		if did, err := a.cpu.DeliverEvent(); !did || err != nil {
			t.Fatalf("seed %d: %v, %v", seed, did, err)
		}
		b.memory.Root = a.memory.Root
		if x, y := a.state(), b.state(); !reflect.DeepEqual(x, y) || b.hw.Due() || b.hw.Running() {
			t.Fatalf("seed %d:\n%+v\n%+v", seed, x, y)
		}
	}
	if done < 500 || done > 2500 {
		t.Errorf("%d done", done)
	}
}

// TestNoPass: where the guest's memory isn't there after an exit, or before its kernel's state
// is known, Go does all.
func TestNoPass(t *testing.T) {
	for seed := range uint64(1000) {
		s := newSide(seed, true)
		s.memory.Simulate()
		if s.hw.Pass(pv.VecSyscall, 0, 0) || s.hw.Pass(virt.VectorPF, 6, 0) || pv.NewBare(false, constant).Pass(pv.VecSyscall, 0, 0) {
			t.Fatalf("seed %d: done by the loop", seed)
		}
	}
}
