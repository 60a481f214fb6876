package domain_test

import (
	"sync/atomic"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
)

// TestEnter: the scheduler may hold a vcpu up in its guest and not in the host's code; one that
// it would have held up there waits before it enters.
func TestEnter(t *testing.T) {
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{VCPUs: 1})
	d.VCPUs[0].SetUp(true)
	ended := make(chan struct{})
	d.Start(false, func(v *domain.VCPU) {
		defer close(ended)
		place := m.Threads.Place()
		var e virt.Exit
		for i, c := range []struct{ says, rests uint32 }{{domain.InHost, 0}, {domain.HostLate, 1}, {domain.InHost, 1}} {
			if is := atomic.LoadUint32(place); is != domain.InHost {
				t.Errorf("entry %d: in the host's code it is said to be at %d", i, is)
			}
			atomic.StoreUint32(place, c.says)
			v.HV.Kick()
			v.Enter(&e)
			if n := m.Threads.Rests(); n != int(c.rests) {
				t.Errorf("entry %d: it has rested %d times, want %d", i, n, c.rests)
			}
		}
	})
	<-ended
}
