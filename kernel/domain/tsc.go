package domain

// GuestTSC is the guest's time-stamp counter now.
func (v *VCPU) GuestTSC() uint64 { return v.Domain.guestTSC() }

func (d *Domain) guestTSC() uint64 {
	if d.Policy.Config.TSCEmulated {
		return d.emulated.Read(d.Host.Clock.Now())
	}
	return d.Host.Clock.TSC() - d.tscBase
}

// tscStable tells whether the vcpus' counters agree at every moment.
func (d *Domain) tscStable() bool { return d.Policy.Config.TSCReliable || d.Policy.Config.TSCEmulated }
