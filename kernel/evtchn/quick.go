package evtchn

import "nidus/kernel/xenabi"

// An event that a vcpu sends to itself, by an IPI's port or by a channel to its own domain, takes a few atomic
// steps: here for callers that can do nothing else, as they have no goroutine's stack, and can't wait, allocate
// or notify. The steps and their order are those of sendFrom, receive and raise.

// Quick does EVTCHNOP_send for port n of the domain, if that raises a port of vcpu's, whose own thread calls it and
// looks for an upcall next. If not, nothing has happened, and it is for Hypercall. With poll, other vcpus wait for
// the port that it returns: WakePollers is left to do.
//
//go:nosplit
func (d *Domain) Quick(n uint32, vcpu int32) (done bool, poll uint32) {
	p := d.lookup(n)
	if p == nil || !p.mu.try() {
		return false, 0
	}
	raised, looped := n, !p.local && p.status == xenabi.EvtchnStatInterdomain && p.peer == d
	if looped {
		raised = p.peerPort
	} else if !p.local && p.status == xenabi.EvtchnStatIPI {
		done = d.quickRaise(n, p, vcpu)
	}
	p.mu.drop()
	if looped {
		to := d.lookup(raised)
		if to == nil || !to.mu.try() {
			return false, 0
		}
		done = to.status == xenabi.EvtchnStatInterdomain && to.peer == d && to.peerPort == n && !to.local && d.quickRaise(raised, to, vcpu)
		to.mu.drop()
	}
	// As in signal.send: the event is there first.
	if !done || d.pollers.Load() == 0 {
		return done, 0
	}
	return true, raised
}

// WakePollers notifies the vcpus that wait for port n in SCHEDOP_poll.
func (d *Domain) WakePollers(n uint32) { d.wakePollers(n) }

// quickRaise is raise, of a port of vcpu's. The port's lock is held.
//
//go:nosplit
func (d *Domain) quickRaise(n uint32, p *port, vcpu int32) bool {
	if p.vcpu != vcpu || d.cfg.SharedInfo.IsZero() {
		return false
	}
	if f := d.fifo.Load(); f != nil {
		return d.quickFIFO(f, n, p)
	}
	l := d.layout.Load()
	if int(n) >= l.NrEvtchn {
		return false
	}
	d.pend2L(l, n, p)
	return true
}

// quickFIFO is raiseFIFO, where the locks of the queues are free.
//
//go:nosplit
func (d *Domain) quickFIFO(f *fifo, n uint32, p *port) bool {
	pg, off, ok := f.word(n)
	cb := f.block(p.vcpu)
	if !ok || cb == nil {
		return false
	}
	q, old := &cb.queues[p.priority&(fifoQueues-1)], f.queue(p.queue)
	if !q.mu.try() {
		return false
	}
	if old != nil && old != q && !old.mu.try() {
		q.mu.drop()
		return false
	}
	if pg.Or32(off, fifoPending)&(fifoMasked|fifoLinked) == 0 && f.link(cb, q, old, n, p, pg, off) {
		d.announce(cb, p)
	}
	if old != nil && old != q {
		old.mu.drop()
	}
	q.mu.drop()
	return true
}
