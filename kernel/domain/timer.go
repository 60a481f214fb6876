package domain

import (
	"nidus/kernel/pvclock"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/devices/lapic"
)

// timers are a vcpu's, in system time (ns since boot); 0 is off.
type timers struct {
	virt.Timer
	period int64
	next   int64 // of the periodic one
}

// MinPeriod is the shortest period of the periodic timer, in ns (Xen's).
const MinPeriod = 1_000_000

// SetSingleshot sets VCPUOP_set_singleshot_timer's deadline; 0 stops it.
func (v *VCPU) SetSingleshot(at int64) { v.timers.At = at }

// SetPeriodic starts the periodic timer; 0 stops it.
func (v *VCPU) SetPeriodic(period int64) {
	v.timers.period = period
	v.timers.next = v.Domain.Host.Clock.Now() + period
}

// nextTimer is when the vcpu's next timer fires; 0: never.
func (v *VCPU) nextTimer() int64 {
	t := &v.timers
	at := t.At
	if t.period != 0 && (at == 0 || t.next < at) {
		at = t.next
	}
	if d := v.APIC.NextDeadline(); d != lapic.None && (at == 0 || int64(d) < at) {
		at = int64(d)
	}
	return at
}

// TimersMoved tells whether the thread's deadline is too late for what is the next timer now.
func (v *VCPU) TimersMoved() bool { return !v.timers.Covers(v.nextTimer()) }

// Timers fires what is due, and arms the thread for the next one, unless it is armed for
// something sooner still: then it is armed anew when that has come.
func (v *VCPU) Timers() {
	t := &v.timers
	at := v.nextTimer()
	if at == 0 && t.Armed == 0 {
		return
	}
	now := v.Domain.Host.Clock.Now()
	if at != 0 && at <= now {
		if t.At != 0 && t.At <= now {
			t.At = 0
			v.Domain.Events.RaiseVIRQ(v.ID, xenabi.VIRQTimer)
		}
		if t.period != 0 && t.next <= now {
			t.next += (now-t.next)/t.period*t.period + t.period
			v.Domain.Events.RaiseVIRQ(v.ID, xenabi.VIRQTimer)
		}
		v.APIC.Poll()
		at = v.nextTimer()
	}
	if t.Armed <= now {
		t.Armed = 0
	}
	v.arm(at)
}

// arm makes the vcpu leave its guest at time at, if not sooner; 0 is no time.
func (v *VCPU) arm(at int64) {
	if t := &v.timers; !t.Covers(at) {
		t.Armed = at
		v.Domain.Host.Thread.Deadline(at, v.HV.KickWord())
	}
}

// ExitSoon makes the vcpu leave its guest before long, whatever that does.
func (v *VCPU) ExitSoon() {
	const soon = 100_000
	v.arm(v.Domain.Host.Clock.Now() + soon)
}

// timeArea is where the vcpu's vcpu_time_info is besides vcpu_info, and when it
// was written.
type timeArea struct {
	written int64
	page    mm.Page
	gfn     mm.GFN
	off     int
}

// UpdateTime writes the vcpu's vcpu_time_info, if it is old or force is set.
func (v *VCPU) UpdateTime(force bool) {
	d := v.Domain
	now := d.Host.Clock.Now()
	if !force && now-v.time.written < pvclock.MaxAge/2 {
		return
	}
	v.time.written = now
	tsc := v.GuestTSC()
	c := pvclock.Clock{Scale: d.scale, Epoch: tsc, Base: uint64(d.Host.Clock.Now())}
	flags := uint8(0)
	if d.tscStable() {
		flags = pvclock.FlagTSCStable
	}
	if pg, off, ok := d.Events.VCPUInfo(v.ID); ok {
		c.Update(pg, off+pvclock.VCPUInfoTime, tsc, flags)
	}
	if !v.time.page.IsZero() {
		c.Update(v.time.page, v.time.off, tsc, flags)
	}
}

// SetTimeArea registers a second vcpu_time_info at a (8-byte aligned, in one page
// of the guest's own memory). The error is an xenabi.Errno.
func (v *VCPU) SetTimeArea(a mm.GuestPhys) error {
	if err := checkTimeArea(a); err != nil {
		return err
	}
	pg, err := v.Domain.Space.Pin(a.Frame())
	if err != nil {
		return xenabi.EFAULT
	}
	v.time.unpin(v)
	v.time.page, v.time.gfn, v.time.off = pg, a.Frame(), int(a.Offset())
	v.UpdateTime(true)
	return nil
}

func checkTimeArea(a mm.GuestPhys) error {
	if a&7 != 0 || a.Offset() > mm.PageSize-pvclock.TimeInfoSize {
		return xenabi.EINVAL
	}
	return nil
}

func (t *timeArea) unpin(v *VCPU) {
	if !t.page.IsZero() {
		v.Domain.Space.Unpin(t.gfn)
		t.page = mm.Page{}
	}
}
