package virt

import "sync/atomic"

// EmulatedTSCKHz is the rate of a time-stamp counter that is emulated: whatever the
// processor's is, a tick is a nanosecond (xl.cfg(5), tsc_mode).
const EmulatedTSCKHz = 1_000_000

// EmulatedTSC is a domain's time-stamp counter where that is emulated. It keeps the latest
// value that any vcpu has read: vcpus on CPUs whose clocks disagree see no time go back.
type EmulatedTSC struct {
	Start int64 // when it was 0, in nanoseconds of the host's clock
	last  atomic.Uint64
}

// Read returns the counter when the host's clock is at now.
//
//go:nosplit
func (e *EmulatedTSC) Read(now int64) uint64 {
	t := uint64(now - e.Start)
	for {
		last := e.last.Load()
		if t <= last {
			return last
		}
		if e.last.CompareAndSwap(last, t) {
			return t
		}
	}
}
