//go:build !tamago

package svm

import (
	"errors"
	"testing"

	"nidus/kernel/virt"
)

// fakeCPU plays the processor: each entry runs the next step.
type fakeCPU struct {
	v      *vcpu
	on     uint64
	steps  []func(b *VMCB)
	msrs   map[uint32]uint64
	runs   int
	tscAux uint64
	verws  int // since the last entry
}

func (f *fakeCPU) cpu() uint64                   { return f.on }
func (f *fakeCPU) writeMSR(msr uint32, v uint64) { f.msrs[msr] = v }
func (f *fakeCPU) setTSCAux(v uint64)            { f.tscAux = v }
func (f *fakeCPU) clearBuffers()                 { f.verws++ }
func (f *fakeCPU) enter(*context) {
	b := f.v.vmcb
	b.ExitIntInfo, b.ExitInfo1, b.ExitInfo2 = 0, 0, 0
	f.runs++
	if len(f.steps) == 0 {
		panic("the guest ran longer than the test")
	}
	s := f.steps[0]
	f.steps = f.steps[1:]
	s(b)
}

func exits(code uint64) func(*VMCB) { return func(b *VMCB) { b.ExitCode = code } }

func setup(t *testing.T, id identity) (*vcpu, *fakeCPU) {
	m, err := newMachine(newHeapPages(), 2, id, 0xffff)
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.newMapsAndVCPU()
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeCPU{v: v, msrs: map[uint32]uint64{}}
	simulated = f
	t.Cleanup(func() { simulated = nil })
	return v, f
}

func (f *fakeCPU) run(t *testing.T, want virt.Reason, steps ...func(*VMCB)) *virt.Exit {
	t.Helper()
	f.steps = steps
	var e virt.Exit
	f.v.Run(&e)
	if e.Reason != want || len(f.steps) != 0 {
		t.Fatalf("%s with %d steps left, want %s", &e, len(f.steps), want)
	}
	return &e
}

func TestRunThroughInterrupts(t *testing.T) {
	v, f := setup(t, full)
	var asid [3]uint32
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) { asid[0] = b.ASID; b.ExitCode = exitINTR; f.on = 1 }, // moves to another CPU
		func(b *VMCB) {
			asid[1] = b.ASID
			if b.Clean != 0 || b.TLBControl != tlbFlushAll {
				t.Errorf("first entry on a CPU with clean %#x, TLB control %d", b.Clean, b.TLBControl)
			}
			b.ExitCode = exitNMI
		},
		func(b *VMCB) {
			if b.Clean != cleanAll || b.TLBControl != tlbKeep || b.ASID != asid[1] {
				t.Errorf("same CPU again: clean %#x, TLB control %d, ASID %d", b.Clean, b.TLBControl, b.ASID)
			}
			v.RequestFlush()
			b.ExitCode = exitINTR
		},
		func(b *VMCB) {
			if b.ASID == asid[1] || b.Clean&cleanASID != 0 {
				t.Error("RequestFlush kept the tag")
			}
			b.RAX, b.RIP, b.ExitCode = 7, 0x1234, exitHLT
		})
	if r := v.Regs(); r.RAX != 7 || r.RIP != 0x1234 || v.FlushPending() {
		t.Errorf("%+v", r)
	}
	if f.msrs[msrTSCRatio] != 1<<32 {
		t.Errorf("TSC ratio %#x", f.msrs[msrTSCRatio])
	}
}

func TestKick(t *testing.T) {
	v, f := setup(t, tcg)
	var told []uint64
	v.cfg.Notify = func(cpu uint64) { told = append(told, cpu) }
	v.Kick()
	f.run(t, virt.ReasonKick)
	if f.runs != 0 || told != nil {
		t.Errorf("%d entries, notified %v", f.runs, told)
	}
	f.on = 1
	f.run(t, virt.ReasonKick, func(b *VMCB) { v.Kick(); b.ExitCode = exitINTR })
	if len(told) != 1 || told[0] != 1 {
		t.Errorf("notified %v", told)
	}
	f.run(t, virt.ReasonCPUID, exits(exitCPUID)) // one kick, one return
	f.on = 2
	f.run(t, virt.ReasonInvalidState) // a CPU that the machine doesn't know
}

// TestKickSoon: under TCG a guest that runs is kicked later, unless it was in the host, where the next entry
// finds the kick; elsewhere at once.
func TestKickSoon(t *testing.T) {
	for _, tt := range []struct {
		id         identity
		soon, told int
	}{{tcg, 1, 0}, {full, 0, 1}} {
		v, f := setup(t, tt.id)
		soon, told := 0, 0
		v.cfg.Notify = func(uint64) { told++ }
		v.cfg.NotifySoon = func(kick, running *uint32, cpu *uint64) {
			if soon++; *kick != 1 || *running != 1 || *cpu != 1 {
				t.Errorf("kick %d, running %d on CPU %d", *kick, *running, *cpu)
			}
		}
		v.KickSoon()
		f.run(t, virt.ReasonKick)
		if f.runs != 0 || soon+told != 0 {
			t.Errorf("%d entries, %d and %d kicks of a vcpu in the host", f.runs, soon, told)
		}
		f.on = 1
		f.run(t, virt.ReasonKick, func(b *VMCB) { v.KickSoon(); b.ExitCode = exitINTR })
		if soon != tt.soon || told != tt.told {
			t.Errorf("%d later and %d at once", soon, told)
		}
	}
}

func TestDebugAndAlignment(t *testing.T) {
	v, f := setup(t, tcg)
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) {
			if b.InterceptDR != ^uint32(0) || b.InterceptExc&excAlways != excAlways {
				t.Error("debug registers or #DB, #AC, #MC not intercepted")
			}
			b.ExitCode = exitDR0Write
		},
		func(b *VMCB) {
			if b.InterceptDR != 0 || v.ctx.drLive == 0 {
				t.Error("debug registers not switched")
			}
			b.DR7, b.ExitCode = 1, exitINTR
		},
		func(b *VMCB) {
			if v.ctx.drLive == 0 {
				t.Error("breakpoints are on, but not switched")
			}
			b.DR7, b.ExitCode = 0x400, exitExc0+virt.VectorAC
		},
		func(b *VMCB) {
			if v.ctx.drLive != 0 || b.InterceptDR != ^uint32(0) {
				t.Error("switching goes on")
			}
			if b.EventInj != 0x80000b11 {
				t.Errorf("#AC not passed on: %#x", b.EventInj)
			}
			b.ExitCode = exitHLT
		})
	v.SetExceptions(1 << virt.VectorDB)
	f.run(t, virt.ReasonException, exits(exitExc0+virt.VectorDB))
	f.run(t, virt.ReasonException, exits(exitExc0+virt.VectorMC))
	// #AC while #DF is delivered is benign; a guest can't make an exception storm fatal to us
	f.run(t, virt.ReasonShutdown, exits(exitSHUTDOWN))
}

func TestSkip(t *testing.T) {
	v, f := setup(t, tcg)
	code := []byte{0xf3, 0x0f, 0x01, 0xd9, 0x90}
	v.cfg.Fetch = func(b []byte) int { return copy(b, code) }
	v.Regs().RIP = 0xfffffffe
	v.SetShadow(true)
	e := f.run(t, virt.ReasonHypercall, exits(exitVMMCALL))
	if err := v.Skip(e); err != nil || v.Regs().RIP != 2 || v.Shadow() {
		t.Errorf("%v, RIP %#x", err, v.Regs().RIP)
	}
	e = f.run(t, virt.ReasonCPUID, exits(exitCPUID))
	if err := v.Skip(e); !errors.Is(err, virt.ErrFetch) || v.Regs().RIP != 2 {
		t.Errorf("skipped VMMCALL as CPUID: %v", err)
	}
	v.cfg.Fetch = func([]byte) int { return 0 }
	if err := v.Skip(e); !errors.Is(err, virt.ErrFetch) {
		t.Error(err)
	}
	code = []byte{0x0f, 0x01, 0xf9}
	v.cfg.Fetch = func(b []byte) int { return copy(b, code) }
	v.Regs().RFLAGS |= virt.FlagTF
	e = f.run(t, virt.ReasonRDTSCP, exits(exitRDTSC)) // TCG
	if err := v.Skip(e); err != nil || v.Regs().RIP != 5 || v.Get(virt.DR6)&(1<<14) == 0 {
		t.Errorf("%v RIP %#x", err, v.Regs().RIP)
	}
	v.Regs().RFLAGS &^= virt.FlagTF
	code = []byte{0x0f, 0x22, 0xdf}
	e = f.run(t, virt.ReasonCR, func(b *VMCB) {
		if b.EventInj != 0x80000301 {
			t.Errorf("no single-step trap: %#x", b.EventInj)
		}
		b.ExitCode = exitCR0Write + 3
	})
	if e.CR != (virt.CRAccess{CR: 3, Write: true, GPR: 7}) || e.Length != 3 {
		t.Errorf("%+v", e.CR)
	}
}

func TestSaveLoad(t *testing.T) {
	v, _ := setup(t, full)
	var s, back virt.State
	s.Reset()
	for i := range s.Sys {
		switch virt.SysReg(i) {
		case virt.XCR0:
			s.Sys[i] = 3
		case virt.CR8:
			s.Sys[i] = 5
		default:
			s.Sys[i] = uint64(i)*3 + 1
		}
	}
	s.Sys[virt.EFER] = virt.EFERLME | virt.EFERSCE
	for i := range s.Seg {
		s.Seg[i] = virt.Segment{Base: uint64(i) << 20, Limit: uint32(i) + 5, Selector: uint16(i * 8), Attr: 0x93 | 3<<5}
	}
	s.Regs = virt.Regs{RAX: 1, R15: 15, RIP: 99, RFLAGS: 2}
	s.Shadow, s.NMIMasked, s.TSCOffset, s.TSCRatio = true, true, 12345, 3<<31
	s.HasEvent, s.Event = true, virt.Fault(virt.VectorPF, 2)
	s.HasHeld, s.Held = true, virt.Event{Vector: 0x33}
	s.FPU = make([]byte, v.FPUSize())
	s.FPU[25], s.FPU[28], s.FPU[29], s.FPU[512], s.FPU[100] = 0x1f, 0xff, 0xff, 3, 77
	if err := v.Load(&s); err != nil {
		t.Fatal(err)
	}
	v.Save(&back)
	if a, b := s.String(), back.String(); a != b {
		t.Errorf("loaded\n%s\nsaved\n%s", a, b)
	}
	if back.TSCOffset != s.TSCOffset || back.TSCRatio != s.TSCRatio || string(back.FPU) != string(s.FPU) || v.vmcb.EFER&virt.EFERSVME == 0 {
		t.Error("TSC, FPU or SVME")
	}
	for name, spoil := range map[string]func(*virt.State){
		"version": func(s *virt.State) { s.Version = 9 },
		"xcr0":    func(s *virt.State) { s.Sys[virt.XCR0] = 0x80 },
		"aux":     func(s *virt.State) { s.Sys[virt.TSCAux] = 1 << 32 },
		"cr8":     func(s *virt.State) { s.Sys[virt.CR8] = 16 },
		"ratio":   func(s *virt.State) { s.TSCRatio = 1 << 40 },
		"mxcsr":   func(s *virt.State) { s.FPU[27] = 1 },
		"xsave":   func(s *virt.State) { s.FPU[520] = 1 },
		"event":   func(s *virt.State) { s.Event.Kind = 7 },
		"held":    func(s *virt.State) { s.Held = virt.Fault(14, 0) },
	} {
		bad := s
		bad.FPU = append([]byte(nil), s.FPU...)
		spoil(&bad)
		if err := v.Load(&bad); !errors.Is(err, virt.ErrBadState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	v, f := setup(t, full)
	var e virt.Exit
	step := []func(*VMCB){exits(exitVMMCALL)}
	if n := testing.AllocsPerRun(100, func() { f.steps = step; v.Run(&e) }); n != 0 {
		t.Errorf("%v allocations for an exit", n)
	}
}

// QEMU's TCG lets into registers what a processor does not, or takes it for an
// invalid state.
func TestWhatEmulatedProcessorsTake(t *testing.T) {
	v, f := setup(t, tcg)
	code := []byte{0x41, 0x0f, 0x22, 0xd8} // mov cr3, r8
	v.cfg.Fetch = func(b []byte) int { return copy(b, code) }
	v.SetSegment(virt.CS, virt.Segment{Attr: virt.AttrLong | virt.AttrPresent | virt.AttrCode | 0xb})
	if err := v.Set(virt.EFER, virt.EFERLME|virt.EFERLMA); err != nil {
		t.Fatal(err)
	}
	e := f.run(t, virt.ReasonCR, exits(exitInvalid32))
	if e.CR != (virt.CRAccess{CR: 3, Write: true, GPR: 8}) || e.Length != 4 {
		t.Errorf("a refused MOV to CR3: %+v, length %d", e.CR, e.Length)
	}
	code = []byte{0x0f, 0x22, 0xc7} // mov cr0, rdi
	e = f.run(t, virt.ReasonCR, exits(exitCR0Sel))
	if e.CR != (virt.CRAccess{CR: 0, Write: true, GPR: 7}) || e.Length != 3 {
		t.Errorf("a selective exit for CR0: %+v, length %d", e.CR, e.Length)
	}
	f.run(t, virt.ReasonInvalidState, exits(exitInvalid)) // refused: RIP stays
	// #GP is not given up when the entry is refused, and is delivered only once
	// when the guest ran.
	if err := v.Inject(virt.Fault(virt.VectorGP, 0)); err != nil {
		t.Fatal(err)
	}
	f.run(t, virt.ReasonInvalidState, exits(exitInvalid32))
	f.run(t, virt.ReasonInvalidState, func(b *VMCB) {
		if b.EventInj != 0x80000b0d {
			t.Errorf("a refused entry lost its event: %#x", b.EventInj)
		}
		b.RIP += 9
		b.ExitCode = exitInvalid32
	})
	f.run(t, virt.ReasonHLT, func(b *VMCB) {
		if b.EventInj != 0 {
			t.Errorf("delivered again: %#x", b.EventInj)
		}
		b.DR6, b.DR7, b.ExitCode = 1<<40|1, 1<<32|0x400, exitHLT
	})
	f.run(t, virt.ReasonHLT, func(b *VMCB) {
		if b.DR6 != 1 || b.DR7 != 0x400 || b.Clean&cleanDR != 0 {
			t.Errorf("DR6 %#x DR7 %#x: VMRUN refuses bits above 31", b.DR6, b.DR7)
		}
		b.ExitCode = exitHLT
	})
}

// TestTSCAux: the guest finds its own at each entry, also behind a PV guest.
func TestTSCAux(t *testing.T) {
	v, f := setup(t, tcg)
	if err := v.Set(virt.TSCAux, 7); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.tscAux = 99
		f.run(t, virt.ReasonCPUID, func(b *VMCB) {
			if f.tscAux != 7 {
				t.Errorf("enters with %d", f.tscAux)
			}
			b.ExitCode = exitCPUID
		})
	}
}
