package domain

import (
	"sync/atomic"

	"nidus/kernel/console"
	"nidus/kernel/pvclock"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm/pvmmu"
	"nidus/personalities/devices/lapic"
	"nidus/personalities/emulate"
	"nidus/personalities/msr"
	"nidus/personalities/paging"
	"nidus/personalities/pv/pvcpu"
)

// VCPU is one virtual processor. Its fields without a lock or an atomic belong to
// its own goroutine.
type VCPU struct {
	Domain *Domain
	ID     int
	HV     virt.VCPU
	APIC   *lapic.APIC
	MSR    *msr.File
	Walker paging.Walker // of the guest's tables: see View
	CPU    emulate.CPU
	PV     *pvcpu.CPU  // of a PV guest, else nil
	MMU    *pvmmu.VCPU // likewise

	// UpcallVector is HVMOP_set_evtchn_upcall_vector's; 0: none.
	UpcallVector uint8
	// Hypercall is package hypercall's own state, made at the first call.
	Hypercall any

	pending atomic.Uint32 // something to look at: the word that the vcpu waits on
	waiting atomic.Bool
	busy    atomic.Bool   // its goroutine may touch the guest
	signals atomic.Uint32 // INIT and SIPI
	nmi     atomic.Bool
	upcall  atomic.Bool // see TakeUpcall
	up      atomic.Bool // online
	blocked atomic.Bool
	place   atomic.Uint32 // InGuest, InHost or HostLate: the scheduler's word
	thread  atomic.Uint64
	sched   atomic.Pointer[Sched]

	machine  *pvMachine // of a PV guest
	timers   timers
	runstate runstate
	time     timeArea
	orders   orders
}

// Signals of the local APIC's bus.
const (
	signalSIPI = 1 << 8 // vector in the low byte
	signalINIT = 1 << 9
)

func newVCPU(d *Domain, m virt.Machine, id int, s Sched, constant virt.Constant) (*VCPU, error) {
	v := &VCPU{Domain: d, ID: id, APIC: d.APICs.APIC(id)}
	v.sched.Store(&s)
	v.place.Store(InHost)
	v.time.written = -pvclock.MaxAge // before the machine was on
	v.runstate.since = d.Host.Clock.Now()
	v.runstate.state = xenabi.RunstateOffline
	intercept := virt.InterceptCR8 | virt.InterceptCR0Write | virt.InterceptCR4Write
	if d.Policy.Config.TSCEmulated {
		intercept |= virt.InterceptRDTSC
	}
	var err error
	v.HV, err = m.NewVCPU(virt.Config{
		Maps: d.Maps, NestedRoot: d.Space.P2M().Root(), Intercept: intercept,
		Fetch: v.Fetch, Notify: d.Host.Thread.Notify, NotifySoon: d.Host.Thread.NotifySoon, Constant: constant,
	})
	if err != nil {
		return nil, err
	}
	if err := v.HV.SetTSC(-d.tscBase, 1<<32); err != nil {
		v.HV.Close()
		return nil, err
	}
	if d.PV != nil {
		v.newPVCPU()
	}
	return v, nil
}

// unpin lets go of the guest's memory.
func (v *VCPU) unpin() {
	v.runstate.unpin(v)
	v.time.unpin(v)
}

// Enter runs the guest until it exits. A domain that is over its cap waits here, where its
// vcpu has no locks, and in the guest.
func (v *VCPU) Enter(e *virt.Exit) {
	if v.place.Swap(InGuest) == HostLate {
		v.Domain.Host.Thread.Rest()
	}
	v.HV.Run(e)
	v.place.Store(InHost)
}

// Notify makes the vcpu look at what there is for it: it leaves its guest, or
// stops waiting. Anyone may call it, at any time.
func (v *VCPU) Notify() { v.notify(virt.VCPU.Kick) }

// notify is Notify with how to make the vcpu leave its guest.
func (v *VCPU) notify(kick func(virt.VCPU)) {
	v.pending.Store(1)
	if v.waiting.Load() {
		v.Domain.Host.Thread.Wake(word(&v.pending))
		return
	}
	kick(v.HV)
}

func (v *VCPU) signal(s uint32) {
	for {
		o := v.signals.Load()
		n := o | s
		if s&signalSIPI != 0 { // the latest vector counts
			n = o&^0xff | s
		}
		if v.signals.CompareAndSwap(o, n) {
			break
		}
	}
	v.Notify()
}

// TakeSignals returns INIT and SIPI that have come, and forgets them.
func (v *VCPU) TakeSignals() (init, sipi bool, vector uint8) {
	s := v.signals.Swap(0)
	return s&signalINIT != 0, s&signalSIPI != 0, uint8(s)
}

// TakeUpcall tells whether an upcall may have become pending since the last time:
// what UpcallVector is to be posted for. It can be true without need, but not
// false when evtchn_upcall_pending was set anew, however fast the guest was to
// clear it before.
func (v *VCPU) TakeUpcall() bool { return v.upcall.Swap(false) }

// SetUpcallVector sets UpcallVector; what is pending already counts as new. The
// vcpu's own goroutine calls it.
func (v *VCPU) SetUpcallVector(vector uint8) {
	v.UpcallVector = vector
	v.upcall.Store(true)
}

// TakeNMI tells whether an NMI is to be delivered, and forgets it.
func (v *VCPU) TakeNMI() bool { return v.nmi.Swap(false) }

// NMIPending tells whether TakeNMI would be true.
func (v *VCPU) NMIPending() bool { return v.nmi.Load() }

// Up tells whether the vcpu is online.
func (v *VCPU) Up() bool { return v.up.Load() }

// SetUp brings the vcpu online, or takes it offline.
func (v *VCPU) SetUp(on bool) {
	if on {
		v.orders.inited.Store(true)
	}
	v.up.Store(on)
	v.Notify()
}

// Down takes the vcpu offline; the last one takes the domain with it, which is how
// a guest without another way powers off.
func (v *VCPU) Down() {
	for _, o := range v.Domain.VCPUs {
		if o != v && o.Up() {
			v.SetUp(false)
			return
		}
	}
	v.Domain.Host.Log.Printf(console.LevelInfo, "d%dv%d, the last one, went down at rip %#x", v.Domain.ID, v.ID, v.HV.Regs().RIP)
	v.Domain.Shutdown(xenabi.ShutdownPoweroff)
}

// Blocked tells whether the vcpu waits for an event.
func (v *VCPU) Blocked() bool { return v.blocked.Load() }

// Thread is the id of the vcpu's thread; 0: it has ended, or not begun.
func (v *VCPU) Thread() uint64 { return v.thread.Load() }

// Sched returns the vcpu's share.
func (v *VCPU) Sched() Sched { return *v.sched.Load() }

// SetSched changes it.
func (v *VCPU) SetSched(s Sched) {
	v.sched.Store(&s)
	if t := v.thread.Load(); t != 0 {
		v.Domain.Host.Thread.Update(t, s)
	}
}

// CPUTime returns how long the vcpu has run, in ns, where, and whether now.
func (v *VCPU) CPUTime() (ns int64, cpu int, running bool) {
	if t := v.thread.Load(); t != 0 && v.Domain.State() != Dying {
		return v.Domain.Host.Thread.CPUTime(t)
	}
	return 0, -1, false
}

// Ready waits until the vcpu may run its guest: the domain alive and not paused,
// the vcpu online or told to start. False: the goroutine has to end.
func (v *VCPU) Ready() bool {
	for {
		v.busy.Store(true)
		v.pending.Store(0)
		switch s := v.Domain.State(); {
		case s == Dying:
			v.busy.Store(false)
			return false
		case s == Alive && !v.Domain.Paused() && (v.up.Load() || v.signals.Load() != 0):
			if v.runstate.state != xenabi.RunstateRunning { // it never waited
				v.runstate.enter(v, xenabi.RunstateRunning)
			}
			v.takeOrders()
			return true
		}
		v.busy.Store(false)
		state := xenabi.RunstateOffline
		if v.up.Load() {
			state = xenabi.RunstateBlocked
		}
		v.wait(state, 0)
	}
}

// MustStop tells whether the vcpu's loop has to go back to Ready.
func (v *VCPU) MustStop() bool {
	return v.Domain.State() != Alive || v.Domain.Paused() || !v.up.Load() || v.signals.Load() != 0 || v.orders.due.Load()
}

// Clear forgets that something is pending: the caller looks at everything next.
func (v *VCPU) Clear() { v.pending.Store(0) }

// Noticed tells whether there was a Notify since the last time, which comes with all that
// MustStop tells, and forgets it: the caller looks at everything next.
func (v *VCPU) Noticed() bool { return v.pending.Load() != 0 && v.pending.Swap(0) != 0 }

// Block waits until Notify, the vcpu's next timer, or the time at (0: none). What
// came since Clear ends it at once.
func (v *VCPU) Block(at int64) {
	if t := v.nextTimer(); t != 0 && (at == 0 || t < at) {
		at = t
	}
	v.blocked.Store(true)
	v.busy.Store(false)
	v.wait(xenabi.RunstateBlocked, at)
	v.busy.Store(true)
	v.blocked.Store(false)
}

// wait blocks in a runstate unless something is pending.
func (v *VCPU) wait(state int, at int64) {
	v.runstate.enter(v, state)
	v.waiting.Store(true)
	if v.pending.Load() == 0 {
		v.Domain.Host.Thread.Wait(word(&v.pending), 0, at)
		v.timers.Armed = 0
	}
	v.waiting.Store(false)
	v.runstate.enter(v, xenabi.RunstateRunning)
}
