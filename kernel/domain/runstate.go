package domain

import (
	"encoding/binary"
	"sync"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// runstate is where a vcpu's time went (vcpu.h, vcpu_runstate_info): running,
// runnable, blocked, offline, in ns. Waits are noted as they happen; what is left
// of the rest, after the thread's CPU time, was spent waiting for a CPU.
type runstate struct {
	mu    sync.Mutex // another vcpu's hypercall may look, or register the area
	state int
	since int64
	time  [4]int64

	pages [2]mm.Page // of the registered area, which may reach over a page's end
	gfns  [2]mm.GFN
	off   int
	buf   [48]byte
	seen  int64 // the thread's CPU time at the last look
}

// enter changes the state and tells the guest.
func (r *runstate) enter(v *VCPU, state int) {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// Runstate returns vcpu_runstate_info as a guest of width w has it. Any goroutine
// may call it.
func (v *VCPU) Runstate(w xenabi.Width) []byte {
	r := &v.runstate
	r.mu.Lock()
	defer r.mu.Unlock()
	r.account(v)
	return append([]byte(nil), r.encode(w)...)
}

// stateEntryTime is where vcpu_runstate_info has it.
func stateEntryTime(w xenabi.Width) int { return xenabi.SharedInfoOf(w).RunstateStateEntryTime }

// encode: state, then (padding for 64-bit) entry time and the four times.
func (r *runstate) encode(w xenabi.Width) []byte {
	off := stateEntryTime(w)
	b := r.buf[:off+40]
	clear(b)
	binary.LittleEndian.PutUint32(b, uint32(r.state))
	binary.LittleEndian.PutUint64(b[off:], uint64(r.since))
	for k, t := range r.time {
		binary.LittleEndian.PutUint64(b[off+8+8*k:], uint64(t))
	}
	return b
}

// write puts the state into the registered area. A guest that reads meanwhile
// sees XEN_RUNSTATE_UPDATE in the entry time, if it asked for it.
func (r *runstate) write(v *VCPU) {
	if r.pages[0].IsZero() {
		return
	}
	w := v.Domain.Events.Width()
	b := r.encode(w)
	if r.off+len(b) > mm.PageSize && r.pages[1].IsZero() {
		return // it grew when the guest changed its width: there is no room
	}
	flag := stateEntryTime(w) + 7 // the byte of the entry time with the flag
	top := b[flag]
	b[flag] = top | xenabi.RunstateUpdate>>56
	r.store8(flag, b[flag])
	n := min(len(b), mm.PageSize-r.off)
	r.pages[0].Write(r.off, b[:n])
	if n < len(b) {
		r.pages[1].Write(0, b[n:])
	}
	r.store8(flag, top)
}

func (r *runstate) store8(at int, v uint8) {
	if at += r.off; at < mm.PageSize {
		r.pages[0].Store8(at, v)
	} else {
		r.pages[1].Store8(at-mm.PageSize, v)
	}
}

// SetRunstateArea registers where the guest wants its runstate: from a on, and if
// that reaches over the page's end, further from the start of the frame next. The
// error is an xenabi.Errno. Any goroutine may call it.
func (v *VCPU) SetRunstateArea(a mm.GuestPhys, next mm.GFN) error {
	gfns := [2]mm.GFN{a.Frame(), next}
	n := 1
	if a.Offset() > mm.PageSize-uint64(xenabi.SharedInfoOf(v.Domain.Events.Width()).RunstateSize) {
		n = 2
	}
	var pages [2]mm.Page
	for i := range n {
		var err error
		if pages[i], err = v.Domain.Space.Pin(gfns[i]); err != nil {
			if i == 1 {
				v.Domain.Space.Unpin(gfns[0])
			}
			return xenabi.EFAULT
		}
	}
	r := &v.runstate
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unpin(v)
	r.pages, r.gfns, r.off = pages, gfns, int(a.Offset())
	r.account(v)
	r.write(v)
	return nil
}

func (r *runstate) unpin(v *VCPU) {
	for i, pg := range r.pages {
		if !pg.IsZero() {
			v.Domain.Space.Unpin(r.gfns[i])
			r.pages[i] = mm.Page{}
		}
	}
}
