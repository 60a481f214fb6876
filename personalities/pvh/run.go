// Package pvh runs guests that start in protected mode at a note of their ELF
// file (PVH): a vcpu's loop between two entries, its exits, and the making of
// such a domain.
//
// Specifications: Xen's docs/misc/pvh and public headers; AMD APM volume 2
// (24593) and Intel SDM volume 3 for what instructions do.
package pvh

import (
	"nidus/kernel/domain"
	"nidus/kernel/virt"
)

// vcpu is a vcpu's loop: what it keeps between exits.
type vcpu struct {
	*domain.VCPU
	exit    virt.Exit
	window  bool // an interrupt window is requested
	offered bool // the callback's vector is offered
	halted  bool // HLT was executed, and nothing has ended it yet
	missing int  // exits in a row whose instruction could not be read
}

// Run is a vcpu's goroutine, from Start until the domain is destroyed.
func Run(v *domain.VCPU) {
	r := &vcpu{VCPU: v}
	r.MSR = newMSRs(v)
	for v.Ready() {
		r.takeSignals()
		for !v.MustStop() {
			r.Clear()
			if v.MustStop() { // what came before Clear
				break
			}
			r.Timers()
			r.UpdateTime(false)
			if r.halted && !r.wakes() {
				r.Block(0)
				continue
			}
			r.halted = false
			r.inject()
			r.Enter(&r.exit)
			r.handle()
		}
	}
}

// takeSignals does what INIT, SIPI and VCPUOP_initialise ask for.
func (v *vcpu) takeSignals() {
	init, sipi, vector := v.TakeSignals()
	if init {
		v.APIC.Reset()
		v.reset()
		v.Reset()
	}
	if s := v.TakeBoot(); s != nil {
		v.halted = false
		if err := v.HV.Load(s); err != nil {
			v.Domain.Crash(v.VCPU, "start state: "+err.Error())
		}
	}
	if sipi && !v.Initialised() { // a processor takes it only after INIT (SDM vol. 3, 8.4.2)
		v.reset()
		v.HV.SetSegment(virt.CS, virt.Segment{
			Base: uint64(vector) << 12, Selector: uint16(vector) << 8, Limit: 0xffff,
			Attr: virt.AttrPresent | virt.AttrCode | 0xb, // code, readable, accessed
		})
		v.HV.Regs().RIP = 0
		v.SetUp(true)
	}
}

// reset puts the vcpu into the state after INIT (APM vol. 2, 14.1.3).
func (v *vcpu) reset() {
	var s virt.State
	v.HV.Save(&s)
	offset, ratio := s.TSCOffset, s.TSCRatio
	s.Reset()
	s.TSCOffset, s.TSCRatio = offset, ratio
	if err := v.HV.Load(&s); err != nil {
		v.Domain.Crash(v.VCPU, "reset state: "+err.Error())
	}
	v.halted = false
}

// wakes tells whether something ends HLT: with interrupts off, only an NMI does.
func (v *vcpu) wakes() bool {
	return v.NMIPending() || v.HV.Regs().RFLAGS&virt.FlagIF != 0 && v.hasWork()
}

// hasWork tells whether something waits to be delivered to the guest.
func (v *vcpu) hasWork() bool {
	return v.upcall() || v.APIC.HasPending() || v.NMIPending()
}

// upcall tells whether the guest is to be called at its callback vector.
func (v *vcpu) upcall() bool {
	if !v.Domain.Events.PendingUpcall(v.ID) {
		return false
	}
	if v.UpcallVector != 0 {
		if v.TakeUpcall() { // by the local APIC, once for each time
			v.APIC.Post(v.UpcallVector)
		}
		return false
	}
	return v.Domain.CallbackVector() != 0
}

// inject delivers what is pending, or asks to be told when the guest takes it.
func (v *vcpu) inject() {
	if v.NMIPending() {
		if v.HV.NMIAllowed() {
			v.TakeNMI()
			v.event(virt.Event{Kind: virt.NMI, Vector: 2})
		} else {
			v.HV.RequestNMIWindow(true)
		}
	}
	upcall, other := v.upcall(), v.APIC.HasPending()
	due := upcall || other
	allowed := due && v.HV.InterruptAllowed()
	// An upcall can be given ahead: nothing changes when the guest takes it, whereas the APIC has to know.
	offer := upcall && !other && !allowed
	if v.offered && !offer {
		v.HV.Offer(0)
	}
	v.offered = offer && v.HV.Offer(v.Domain.CallbackVector())
	if !allowed {
		v.setWindow(due && !v.offered)
		return
	}
	if upcall {
		v.event(virt.Event{Kind: virt.Interrupt, Vector: v.Domain.CallbackVector()})
	} else if vector, ok := v.APIC.PendingVector(); ok {
		if !v.APIC.Ack(vector) {
			vector = v.APIC.SpuriousVector()
		}
		v.event(virt.Event{Kind: virt.Interrupt, Vector: vector})
	}
	// more may wait behind it
	more := v.APIC.HasPending()
	if more {
		v.ExitSoon() // the window is looked at then
	}
	v.setWindow(more)
}

// setWindow asks to be told when the guest would take an interrupt, or no longer.
func (v *vcpu) setWindow(on bool) {
	if on != v.window {
		v.window = on
		v.HV.RequestInterruptWindow(on)
	}
}

// event delivers an event; what can't be delivered ends the guest, as it would a
// processor.
func (v *vcpu) event(e virt.Event) {
	switch err := v.HV.Inject(e); err {
	case nil:
	case virt.ErrTripleFault:
		v.tripleFault()
	default:
		v.Domain.Crash(v.VCPU, e.String()+": "+err.Error())
	}
}
