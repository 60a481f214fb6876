package pv

import (
	"math"

	"nidus/kernel/xenabi"
)

// vcpuOp is the hypercall of that name, of what sets the vcpu's own one-shot timer.
//
//go:nosplit
func (v *vcpu) vcpuOp() bool {
	r := &v.ctx.regs
	if r.RSI != v.gate.ID {
		return false
	}
	switch uint32(r.RDI) {
	case xenabi.VCPUOpStopSingleshotTimer:
		return v.setTimer(0)
	case xenabi.VCPUOpSetSingleshotTimer:
		var f frame // struct vcpu_set_singleshot_timer: timeout_abs_ns, flags
		if !guestRange(r.RDX, 16) || !load(&f, r.RDX, 2) {
			return false
		}
		at := max(f[0], 1)
		if uint32(f[1])&xenabi.VCPUSingleshotTimerFuture != 0 && at < uint64(now()) {
			return false
		}
		return v.setTimer(at)
	}
	return false
}

// setTimer sets the one-shot timer to system time at, in ns; 0 stops it. False: its thread has to come
// out of the guest sooner than it would.
//
//go:nosplit
func (v *vcpu) setTimer(at uint64) bool {
	t, d := v.gate.Timer, int64(min(at, math.MaxInt64))
	if t == nil || !t.Covers(d) {
		return false
	}
	t.At = d
	return true
}
