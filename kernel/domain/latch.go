package domain

import (
	"nidus/kernel/pvclock"
	"nidus/kernel/xenabi"
)

// LatchWidth changes the layout of shared_info to that of guests of width w, as
// Xen does when the hypercall page is written or the callback is set, and moves
// the wall clock along. Nothing happens if the layout is that already.
func (d *Domain) LatchWidth(w xenabi.Width) error {
	if d.Events.Width() == w {
		return nil
	}
	if err := d.Events.SetWidth(w); err != nil {
		return err
	}
	layout := pvclock.Shared64
	if w == xenabi.Guest32 {
		layout = pvclock.Shared32
	}
	sec, nsec := pvclock.BootTime(uint64(d.Host.Clock.Wall()), uint64(d.Host.Clock.Now()))
	pvclock.UpdateWallclock(d.shared.page, layout, sec, nsec)
	return nil
}

// LatchReason decides the reason of the coming shutdown, whatever Shutdown says
// then (SCHEDOP_shutdown_code). Only the first one counts: false for another.
func (d *Domain) LatchReason(reason uint32) bool {
	return d.State() < Ended && d.latched.CompareAndSwap(0, reason+1)
}
