package domain

// What the local APICs see of the domain: lapic.VCPUs and lapic.Clock.

// Kick implements lapic.VCPUs.
func (d *Domain) Kick(v int) { d.VCPUs[v].Notify() }

// NMI implements lapic.VCPUs.
func (d *Domain) NMI(v int) {
	d.VCPUs[v].nmi.Store(true)
	d.VCPUs[v].Notify()
}

// EOI implements lapic.VCPUs: there is no IO-APIC.
func (d *Domain) EOI(int, uint8) {}

// INIT implements lapic.VCPUs.
func (d *Domain) INIT(v int) { d.VCPUs[v].signal(signalINIT) }

// SIPI implements lapic.VCPUs.
func (d *Domain) SIPI(v int, vector uint8) { d.VCPUs[v].signal(signalSIPI | uint32(vector)) }

// Now implements lapic.Clock.
func (d *Domain) Now() uint64 { return uint64(d.Host.Clock.Now()) }

// TSCDeadline implements lapic.Clock.
func (d *Domain) TSCDeadline(tsc uint64) uint64 {
	ahead := tsc - d.guestTSC()
	if int64(ahead) <= 0 {
		return d.Now()
	}
	return d.Now() + d.scale.Nanos(ahead)
}
