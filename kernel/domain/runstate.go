package domain

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// runstate is where a vcpu's time went (vcpu.h, vcpu_runstate_info): running,
// runnable, blocked, offline, in ns. Waits are noted as they happen; what is left
// of the rest, after the thread's CPU time, was spent waiting for a CPU.
type runstate struct {
	state int
	since int64
	time  [4]int64

	page mm.Page // of the registered area
	gfn  mm.GFN
	off  int
	seen int64 // the thread's CPU time at the last look
}

// enter changes the state and tells the guest.
func (r *runstate) enter(v *VCPU, state int) {
	r.account(v)
	r.state = state
	r.write(v)
}

// account adds up to now.
func (r *runstate) account(v *VCPU) {
	now := v.Domain.Host.Clock.Now()
	d := now - r.since
	r.since = now
	if r.state == xenabi.RunstateRunning {
		ns, _, _ := v.CPUTime()
		ran := min(max(ns-r.seen, 0), d)
		r.seen = ns
		r.time[xenabi.RunstateRunning] += ran
		r.time[xenabi.RunstateRunnable] += d - ran
		return
	}
	if ns, _, _ := v.CPUTime(); ns > r.seen {
		r.seen = ns
	}
	r.time[r.state] += d
}

// Runstate returns vcpu_runstate_info as a guest of width w has it.
func (v *VCPU) Runstate(w xenabi.Width) []byte {
	v.runstate.account(v)
	return v.runstate.info().encode(w)
}

func (r *runstate) info() *runstateInfo {
	return &runstateInfo{state: int32(r.state), since: uint64(r.since), time: r.time}
}

type runstateInfo struct {
	state int32
	since uint64
	time  [4]int64
}

// encode: state, then (padding for 64-bit) entry time and the four times.
func (i *runstateInfo) encode(w xenabi.Width) []byte {
	off := 4
	if w == xenabi.Guest64 {
		off = 8
	}
	b := make([]byte, off+40)
	binary.LittleEndian.PutUint32(b, uint32(i.state))
	binary.LittleEndian.PutUint64(b[off:], i.since)
	for k, t := range i.time {
		binary.LittleEndian.PutUint64(b[off+8+8*k:], uint64(t))
	}
	return b
}

// write puts the state into the registered area. A guest that reads meanwhile
// sees XEN_RUNSTATE_UPDATE in the entry time, if it asked for it.
func (r *runstate) write(v *VCPU) {
	if r.page.IsZero() {
		return
	}
	w := v.Domain.Events.Width()
	off := 4
	if w == xenabi.Guest64 {
		off = 8
	}
	hi := r.off + off + 4 // the half of state_entry_time with the flag
	aligned := r.off&3 == 0
	if aligned {
		r.page.Or32(hi, 1<<31)
	}
	b := r.info().encode(w)
	binary.LittleEndian.PutUint32(b[off+4:], binary.LittleEndian.Uint32(b[off+4:])|1<<31)
	r.page.Write(r.off, b)
	if aligned {
		r.page.And32(hi, 1<<31-1)
	} else {
		r.page.Write(hi, []byte{byte(r.since >> 32), byte(r.since >> 40), byte(r.since >> 48), byte(r.since >> 56)})
	}
}

// SetRunstateArea registers where the guest wants its runstate: in one page of
// its own memory. The error is an xenabi.Errno.
func (v *VCPU) SetRunstateArea(a mm.GuestPhys) error {
	size := uint64(48)
	if v.Domain.Events.Width() == xenabi.Guest32 {
		size = 44
	}
	if a.Offset() > mm.PageSize-size {
		return xenabi.EINVAL
	}
	pg, err := v.Domain.Space.Pin(a.Frame())
	if err != nil {
		return xenabi.EFAULT
	}
	v.runstate.unpin(v)
	v.runstate.page, v.runstate.gfn, v.runstate.off = pg, a.Frame(), int(a.Offset())
	v.runstate.account(v)
	v.runstate.write(v)
	return nil
}

func (r *runstate) unpin(v *VCPU) {
	if !r.page.IsZero() {
		v.Domain.Space.Unpin(r.gfn)
		r.page = mm.Page{}
	}
}
