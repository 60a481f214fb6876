package evtchn

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// A local port's events go to a function in the hypervisor, so that a backend
// in the image (xenstore, console, block) is the peer of a guest's channel
// without any shared page. The function is called without locks held, from
// whatever goroutine sends, also at once when the port is bound; it must not
// block. A guest can neither close nor use a local port of its domain.

// BindLocal is BindInterdomain for a backend: events for the new port call fn.
// A nil fn leaves them waiting for SetLocal.
func (d *Domain) BindLocal(remote mm.DomID, remotePort uint32, fn func()) (uint32, error) {
	return d.bindInterdomain(remote, remotePort, true, fn)
}

// AllocLocal is AllocUnbound for a backend: domain remote binds to the port,
// and its events call fn.
func (d *Domain) AllocLocal(remote mm.DomID, fn func()) (uint32, error) {
	return d.allocUnbound(remote, true, fn)
}

// SetLocal gives a local port a new function, as when a backend restarts. If
// events came while there was none, fn is called at once. nil makes events wait.
func (d *Domain) SetLocal(n uint32, fn func()) error {
	p := d.lookup(n)
	if p == nil {
		return xenabi.EINVAL
	}
	p.mu.Lock()
	if !p.local || p.status == xenabi.EvtchnStatClosed {
		p.mu.Unlock()
		return xenabi.EINVAL
	}
	p.fn = fn
	call := fn != nil && p.latent
	if call {
		p.latent = false
	}
	p.mu.Unlock()
	if call {
		fn()
	}
	return nil
}

// CloseLocal closes a local port.
func (d *Domain) CloseLocal(n uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.lookup(n); p == nil || !p.local {
		return xenabi.EINVAL
	}
	return d.close(n, true)
}
