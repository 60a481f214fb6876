package svm

import (
	"errors"
	"testing"

	"nidus/kernel/virt"
)

func TestInjection(t *testing.T) {
	v, f := setup(t, full)
	v.Regs().RFLAGS |= virt.FlagIF
	if err := v.Inject(virt.Event{Vector: 0x40}); err != nil {
		t.Fatal(err)
	}
	if v.InterruptAllowed() || !errors.Is(v.Inject(virt.Event{Vector: 0x41}), virt.ErrEventPending) {
		t.Error("two interrupts at once")
	}
	// the delivery runs into a nested fault: the interrupt must come again
	f.run(t, virt.ReasonNestedFault, func(b *VMCB) {
		if b.EventInj != 0 || b.VIntr&vIRQ == 0 || b.VIntr&vVectorMask != 0x40<<vVectorShift || b.InterceptMisc1&misc1VINTR != 0 {
			t.Errorf("EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
		}
		b.ExitCode, b.ExitIntInfo = exitNPF, 0x80000040 // V_IRQ may still be set
	})
	// the handler answers with #PF: first the exception, then, when IF is set again, the interrupt
	if err := v.Inject(virt.Fault(virt.VectorPF, 2)); err != nil {
		t.Fatal(err)
	}
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) {
			if b.EventInj != 0x2_80000b0e {
				t.Errorf("EVENTINJ %#x", b.EventInj)
			}
			b.RFLAGS &^= virt.FlagIF
			b.ExitCode = exitINTR
		},
		func(b *VMCB) {
			if b.EventInj != 0 || b.InterceptMisc1&misc1VINTR == 0 || b.VIntr&vIRQ == 0 || b.Clean&(cleanIntr|cleanIntercepts) != 0 {
				t.Errorf("no window for the held interrupt: %#x %#x %#x", b.EventInj, b.InterceptMisc1, b.VIntr)
			}
			b.RFLAGS |= virt.FlagIF
			b.ExitCode = exitVINTR
		},
		func(b *VMCB) {
			if b.EventInj != 0 || b.VIntr&vIRQ == 0 || b.InterceptMisc1&misc1VINTR != 0 {
				t.Errorf("EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
			}
			b.ExitCode = exitINTR // before the guest took it
		},
		func(b *VMCB) {
			if b.VIntr&vIRQ == 0 || b.VIntr&vVectorMask != 0x40<<vVectorShift {
				t.Errorf("the interrupt is lost: VIntr %#x", b.VIntr)
			}
			b.VIntr &^= vIRQ // taken
			b.RFLAGS &^= virt.FlagIF
			b.ExitCode = exitINTR
		},
		func(b *VMCB) {
			if b.EventInj != 0 || b.VIntr&(vIRQ|vVectorMask) != 0x40<<vVectorShift {
				t.Errorf("the interrupt comes twice: EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
			}
			b.RFLAGS |= virt.FlagIF
			b.ExitCode = exitHLT
		})
	// INT n is executed again, not injected
	f.run(t, virt.ReasonNestedFault, func(b *VMCB) { b.ExitCode, b.ExitIntInfo = exitNPF, 0x80000480 })
	f.run(t, virt.ReasonHLT, func(b *VMCB) {
		if b.EventInj != 0 {
			t.Errorf("INT 80h injected: %#x", b.EventInj)
		}
		b.ExitCode = exitHLT
	})
}

// Where a virtual interrupt may be lost, the next exit looks whether what it stood
// for is still pending.
func TestDoubtfulInterrupt(t *testing.T) {
	for _, c := range []struct {
		id   identity
		want virt.Reason
	}{{tcg, virt.ReasonKick}, {full, virt.ReasonHLT}} {
		v, f := setup(t, c.id)
		v.Regs().RFLAGS |= virt.FlagIF
		if err := v.Inject(virt.Event{Vector: 0x40}); err != nil {
			t.Fatal(err)
		}
		steps := []func(*VMCB){func(b *VMCB) { b.VIntr &^= vIRQ; b.ExitCode = exitINTR }, exits(exitHLT)}
		if c.want == virt.ReasonKick {
			f.run(t, virt.ReasonKick, steps[0])
			steps = []func(*VMCB){exits(exitINTR), exits(exitHLT)} // once
		}
		f.run(t, virt.ReasonHLT, steps...)
	}
}

// A window stays asked for, whatever the processor made of it.
func TestInterruptWindowLost(t *testing.T) {
	v, f := setup(t, tcg)
	v.RequestInterruptWindow(true)
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) { b.VIntr &^= vIRQ; b.ExitCode = exitINTR },
		func(b *VMCB) {
			if b.VIntr&vIRQ == 0 || b.Clean&cleanIntr != 0 {
				t.Error("the window is lost")
			}
			b.ExitCode = exitHLT
		})
}

func TestInterruptWindow(t *testing.T) {
	v, f := setup(t, tcg)
	v.RequestInterruptWindow(true)
	f.run(t, virt.ReasonInterruptWindow, func(b *VMCB) {
		if b.VIntr&vIRQ == 0 || b.InterceptMisc1&misc1VINTR == 0 {
			t.Error("no window")
		}
		b.RFLAGS |= virt.FlagIF
		b.ExitCode = exitVINTR
	})
	if !v.InterruptAllowed() {
		t.Error("window without leave")
	}
	v.SetShadow(true)
	if v.InterruptAllowed() || v.NMIAllowed() {
		t.Error("interrupt in the shadow")
	}
	v.SetShadow(false)
	v.RequestInterruptWindow(false)
	f.run(t, virt.ReasonHLT, func(b *VMCB) {
		if b.VIntr&vIRQ != 0 {
			t.Error("window stays")
		}
		b.ExitCode = exitHLT
	})
}

// TestOffer: a guest takes what is offered without an exit for it, once, whatever else there is to deliver.
func TestOffer(t *testing.T) {
	v, f := setup(t, full)
	offered := func(b *VMCB) bool {
		return b.EventInj == 0 && b.VIntr&(vIRQ|vVectorMask) == vIRQ|0xf3<<vVectorShift && b.InterceptMisc1&misc1VINTR == 0
	}
	none := func(b *VMCB) bool { return b.VIntr&(vIRQ|vVectorMask) == 0xf3<<vVectorShift } // its last vector stays
	expect := func(what string, is func(*VMCB) bool, code uint64, change func(*VMCB)) func(*VMCB) {
		return func(b *VMCB) {
			if !is(b) || b.Clean&cleanIntr != 0 && !none(b) {
				t.Errorf("%s: EVENTINJ %#x VIntr %#x intercepts %#x", what, b.EventInj, b.VIntr, b.InterceptMisc1)
			}
			b.ExitCode = code
			change(b)
		}
	}
	stays, taken := func(*VMCB) {}, func(b *VMCB) { b.VIntr &^= vIRQ }
	if !v.Offer(0xf3) {
		t.Fatal("refused")
	}
	f.run(t, virt.ReasonHLT, expect("offered", offered, exitINTR, stays), expect("again", offered, exitHLT, stays))
	f.run(t, virt.ReasonHLT, expect("still", offered, exitINTR, taken), expect("taken", none, exitHLT, stays))
	v.Offer(0xf3)
	v.Offer(0)
	f.run(t, virt.ReasonHLT, expect("withdrawn", none, exitHLT, stays))

	// Its delivery runs into a nested fault: it comes again as an event.
	v.Offer(0xf3)
	f.run(t, virt.ReasonNestedFault, expect("cut short", offered, exitNPF, func(b *VMCB) { b.ExitIntInfo = 0x800000f3 }))
	v.Regs().RFLAGS |= virt.FlagIF
	f.run(t, virt.ReasonHLT, expect("again as an event", offered, exitINTR, taken), expect("once", none, exitHLT, stays))

	// An exception goes before it, and a window.
	v.Regs().RFLAGS &^= virt.FlagIF
	v.Offer(0xf3)
	if err := v.Inject(virt.Fault(virt.VectorGP, 0)); err != nil {
		t.Fatal(err)
	}
	v.Regs().RFLAGS &^= virt.FlagIF
	f.run(t, virt.ReasonHLT,
		expect("behind an exception", func(b *VMCB) bool { return b.EventInj != 0 && b.InterceptMisc1&misc1VINTR != 0 }, exitVINTR, stays),
		expect("then", offered, exitHLT, stays))
	v.RequestInterruptWindow(true)
	f.run(t, virt.ReasonInterruptWindow, expect("behind a window", func(b *VMCB) bool { return b.InterceptMisc1&misc1VINTR != 0 }, exitVINTR, stays))
	v.RequestInterruptWindow(false)
	f.run(t, virt.ReasonHLT, expect("behind it", offered, exitHLT, taken))

	// Where it may be lost, the next exit looks.
	v, f = setup(t, tcg)
	v.Offer(0xf3)
	f.run(t, virt.ReasonKick, expect("doubtful", offered, exitINTR, taken))
}

func TestNMI(t *testing.T) {
	v, f := setup(t, tcg)
	nmi := virt.Event{Kind: virt.NMI, Vector: 2}
	if err := v.Inject(nmi); err != nil {
		t.Fatal(err)
	}
	v.RequestNMIWindow(true)
	f.run(t, virt.ReasonNMIWindow,
		func(b *VMCB) {
			if b.EventInj != 0x80000202 || b.InterceptMisc1&misc1IRET == 0 {
				t.Errorf("%#x %#x", b.EventInj, b.InterceptMisc1)
			}
			b.RIP, b.ExitCode = 0x50, exitINTR
		},
		func(b *VMCB) {
			if v.NMIAllowed() {
				t.Error("NMI in an NMI's handler")
			}
			b.RIP, b.ExitCode = 0x60, exitIRET
		},
		func(b *VMCB) { b.ExitCode = exitINTR }, // still at IRET
		func(b *VMCB) { b.RIP, b.ExitCode = 0x10, exitINTR })
	// an NMI that is cut short comes again, and masks then
	if err := v.Inject(nmi); err != nil {
		t.Fatal(err)
	}
	v.RequestNMIWindow(false)
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) { b.ExitCode, b.ExitIntInfo = exitINTR, 0x80000202 },
		func(b *VMCB) {
			if b.EventInj != 0x80000202 {
				t.Error("NMI lost")
			}
			b.ExitCode = exitHLT
		})
}

// An exception that the guest raises before it takes the virtual interrupt, and
// whose delivery runs into a nested fault, does not take the interrupt's place.
func TestVirtualInterruptNotTaken(t *testing.T) {
	v, f := setup(t, full)
	v.Regs().RFLAGS |= virt.FlagIF
	if err := v.Inject(virt.Event{Vector: 0x40}); err != nil {
		t.Fatal(err)
	}
	f.run(t, virt.ReasonNestedFault, func(b *VMCB) { b.ExitCode, b.ExitIntInfo = exitNPF, 0x2_80000b0e })
	if !errors.Is(v.Inject(virt.Event{Vector: 0x41}), virt.ErrEventPending) {
		t.Error("a second interrupt, with one held")
	}
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) {
			if b.EventInj != 0x2_80000b0e || b.InterceptMisc1&misc1VINTR == 0 && b.VIntr&vIRQ != 0 {
				t.Errorf("EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
			}
			b.ExitCode = exitINTR
		},
		func(b *VMCB) {
			if b.EventInj != 0 || b.VIntr&vIRQ == 0 || b.VIntr&vVectorMask != 0x40<<vVectorShift || b.InterceptMisc1&misc1VINTR != 0 {
				t.Errorf("the interrupt is lost: EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
			}
			b.VIntr &^= vIRQ
			b.ExitCode = exitHLT
		})
	if !v.pending.Empty() {
		t.Errorf("%+v is left", v.pending)
	}
}

// QEMU's TCG tells a virtual interrupt that a nested fault cut short as an
// exception with the interrupt's vector.
func TestVirtualInterruptCutShortByTCG(t *testing.T) {
	v, f := setup(t, tcg)
	v.Regs().RFLAGS |= virt.FlagIF
	if err := v.Inject(virt.Event{Vector: 0xf3}); err != nil {
		t.Fatal(err)
	}
	f.run(t, virt.ReasonNestedFault, func(b *VMCB) { b.ExitCode, b.ExitIntInfo = exitNPF, 0x800003f3 })
	f.run(t, virt.ReasonHLT,
		func(b *VMCB) {
			if b.EventInj != 0 || b.VIntr&vIRQ == 0 || b.VIntr&vVectorMask != 0xf3<<vVectorShift {
				t.Errorf("EVENTINJ %#x VIntr %#x", b.EventInj, b.VIntr)
			}
			b.VIntr &^= vIRQ
			b.ExitCode = exitHLT
		})
	if !v.pending.Empty() {
		t.Errorf("%+v is left", v.pending)
	}
}
