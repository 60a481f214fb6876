package domain

import (
	"sync"
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// orders is what other vcpus' hypercalls want of this one. Its own goroutine
// carries them out, in Ready, because the fields they change are its own. There
// is one place for each kind: the latest order counts, and a guest that gives
// many fills nothing.
type orders struct {
	due    atomic.Bool // MustStop
	inited atomic.Bool // VCPUOP_initialise has been done, or the vcpu was up
	boot   atomic.Pointer[virt.State]
	pvBoot atomic.Pointer[xenabi.VCPUGuestContext]
	making atomic.Bool // a PV vcpu's state is being made

	mu       sync.Mutex
	timeArea *mm.GuestPhys
	period   *int64
	upcall   *uint8
	refresh  bool // write vcpu_time_info
}

func (v *VCPU) order(give func(*orders)) {
	o := &v.orders
	o.mu.Lock()
	give(o)
	o.mu.Unlock()
	o.due.Store(true)
	v.Notify()
}

// OrderTimeArea is SetTimeArea for a vcpu that is not the calling goroutine's.
// It tells now whether there is memory.
func (v *VCPU) OrderTimeArea(a mm.GuestPhys) error {
	if err := checkTimeArea(a); err != nil {
		return err
	}
	if _, err := v.Domain.Space.Pin(a.Frame()); err != nil {
		return xenabi.EFAULT
	}
	v.Domain.Space.Unpin(a.Frame())
	v.order(func(o *orders) { o.timeArea = &a })
	return nil
}

// OrderPeriodic is SetPeriodic for a vcpu that is not the calling goroutine's.
func (v *VCPU) OrderPeriodic(period int64) { v.order(func(o *orders) { o.period = &period }) }

// OrderUpcallVector sets UpcallVector of a vcpu that is not the calling
// goroutine's.
func (v *VCPU) OrderUpcallVector(vector uint8) { v.order(func(o *orders) { o.upcall = &vector }) }

// OrderTime makes the vcpu write its vcpu_time_info, whose place is new.
func (v *VCPU) OrderTime() { v.order(func(o *orders) { o.refresh = true }) }

// takeOrders carries out what was ordered.
func (v *VCPU) takeOrders() {
	o := &v.orders
	if !o.due.Swap(false) {
		return
	}
	o.mu.Lock()
	area, period, upcall, refresh := o.timeArea, o.period, o.upcall, o.refresh
	o.timeArea, o.period, o.upcall, o.refresh = nil, nil, nil, false
	o.mu.Unlock()
	if area != nil {
		// The guest may have taken the memory away since: then there is no area.
		_ = v.SetTimeArea(*area)
	}
	if period != nil {
		v.SetPeriodic(*period)
	}
	if upcall != nil {
		v.SetUpcallVector(*upcall)
	}
	if refresh {
		v.UpdateTime(true)
	}
}

// SetBoot gives a vcpu that has never run the state to start in
// (VCPUOP_initialise). It returns false if it was initialised before. The exit
// loop loads the state when the vcpu comes up: see TakeBoot.
func (v *VCPU) SetBoot(s *virt.State) bool {
	if v.up.Load() || !v.orders.inited.CompareAndSwap(false, true) {
		return false
	}
	s.TSCOffset, s.TSCRatio = -v.Domain.tscBase, 1<<32 // as newVCPU has it
	v.orders.boot.Store(s)
	return true
}

// TakeBoot returns the state that SetBoot set, once, and nil otherwise. The exit
// loop calls it when Ready has returned true, and gives the state to HV.Load; a
// processor that refuses it is the guest's fault: Crash.
func (v *VCPU) TakeBoot() *virt.State {
	if v.orders.boot.Load() == nil {
		return nil
	}
	return v.orders.boot.Swap(nil)
}

// BeginPVBoot lets one caller give a PV vcpu that has never run the state to start in:
// EndPVBoot. It returns false if that is done already, or somebody is at it.
func (v *VCPU) BeginPVBoot() bool {
	o := &v.orders
	if v.up.Load() || o.inited.Load() || !o.making.CompareAndSwap(false, true) {
		return false
	}
	if v.up.Load() || o.inited.Load() { // the other one has just ended
		o.making.Store(false)
		return false
	}
	return true
}

// EndPVBoot ends BeginPVBoot, with the state, or nil if there is none after all.
func (v *VCPU) EndPVBoot(g *xenabi.VCPUGuestContext) {
	o := &v.orders
	if g != nil {
		o.pvBoot.Store(g)
		o.inited.Store(true)
	}
	o.making.Store(false)
}

// TakePVBoot returns the state that EndPVBoot was given, once, and nil otherwise: see
// TakeBoot. It is for pvcpu.CPU.Start.
func (v *VCPU) TakePVBoot() *xenabi.VCPUGuestContext {
	if v.orders.pvBoot.Load() == nil {
		return nil
	}
	return v.orders.pvBoot.Swap(nil)
}

// Reset takes the vcpu offline as INIT does: a SIPI brings it back, or
// VCPUOP_initialise and VCPUOP_up.
func (v *VCPU) Reset() {
	v.orders.inited.Store(v.orders.boot.Load() != nil) // a state that was set since stands
	v.SetUp(false)
}

// Initialised tells whether the vcpu has a state to run in, so that VCPUOP_up
// may bring it online.
func (v *VCPU) Initialised() bool { return v.orders.inited.Load() }
