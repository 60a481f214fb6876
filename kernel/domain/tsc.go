package domain

import "sync/atomic"

// EmulatedTSCKHz is the rate of a time-stamp counter that is emulated: whatever the
// processor's is, a tick is a nanosecond (xl.cfg(5), tsc_mode).
const EmulatedTSCKHz = 1_000_000

// emulatedTSC is the latest value that any vcpu of the domain has read: vcpus on
// CPUs whose clocks disagree see no time go back.
type emulatedTSC struct{ last atomic.Uint64 }

func (e *emulatedTSC) read(now uint64) uint64 {
	for {
		last := e.last.Load()
		if now <= last {
			return last
		}
		if e.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// GuestTSC is the guest's time-stamp counter now.
func (v *VCPU) GuestTSC() uint64 { return v.Domain.guestTSC() }

func (d *Domain) guestTSC() uint64 {
	if d.Policy.Config.TSCEmulated {
		return d.emulated.read(uint64(d.Host.Clock.Now() - d.Created))
	}
	return d.Host.Clock.TSC() - d.tscBase
}

// tscStable tells whether the vcpus' counters agree at every moment.
func (d *Domain) tscStable() bool { return d.Policy.Config.TSCReliable || d.Policy.Config.TSCEmulated }
