package evtchn

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// AllocUnbound returns a fresh port that domain remote may bind to
// (EVTCHNOP_alloc_unbound); mm.DomIDSelf is d. It returns ENOSPC when all ports
// are taken.
func (d *Domain) AllocUnbound(remote mm.DomID) (uint32, error) {
	return d.allocUnbound(remote, false, nil)
}

func (d *Domain) allocUnbound(remote mm.DomID, local bool, fn func()) (uint32, error) {
	if remote == mm.DomIDSelf {
		remote = d.cfg.ID
	}
	if remote >= mm.DomIDFirstReserved {
		return 0, xenabi.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, p, err := d.alloc()
	if err != nil {
		return 0, err
	}
	d.take(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(xenabi.EvtchnStatUnbound, 0)
	p.peerDom, p.local, p.fn = remote, local, fn
	return n, nil
}

// open gives a closed port its new status; p.mu is held.
func (p *port) open(status uint8, vcpu int32) {
	p.status, p.vcpu, p.priority, p.latent = status, vcpu, xenabi.EvtchnFIFOPriorityDefault, false
}

// BindInterdomain returns a fresh port, connected to port remotePort of domain
// remote, which must be unbound and wait for d. The new port is pending at
// once, in case the other side sent before (EVTCHNOP_bind_interdomain). It
// returns ESRCH if there is no such domain and EINVAL if there is no such port.
func (d *Domain) BindInterdomain(remote mm.DomID, remotePort uint32) (uint32, error) {
	return d.bindInterdomain(remote, remotePort, false, nil)
}

func (d *Domain) bindInterdomain(remote mm.DomID, remotePort uint32, local bool, fn func()) (uint32, error) {
	rd := d
	if remote != mm.DomIDSelf && remote != d.cfg.ID {
		if rd = d.hub.Domain(remote); rd == nil {
			return 0, xenabi.ESRCH
		}
	}
	rp := rd.lookup(remotePort)
	if rp == nil {
		return 0, xenabi.EINVAL
	}
	n, sig, err := d.connect(rd, remotePort, rp, local, fn)
	sig.send()
	return n, err
}

func (d *Domain) connect(rd *Domain, rn uint32, rp *port, local bool, fn func()) (uint32, signal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, p, err := d.alloc()
	if err != nil {
		return 0, signal{}, err
	}
	if p == rp { // a closed port of our own
		return 0, signal{}, xenabi.EINVAL
	}
	lockPair(d, n, p, rd, rn, rp)
	defer p.mu.Unlock()
	defer rp.mu.Unlock()
	// A local port of d may be bound by d's backends only, and a local remote
	// port by anybody whom it waits for.
	if rp.status != xenabi.EvtchnStatUnbound || rp.peerDom != d.cfg.ID {
		return 0, signal{}, xenabi.EINVAL
	}
	d.take(n)
	p.open(xenabi.EvtchnStatInterdomain, 0)
	p.peer, p.peerDom, p.peerPort, p.local, p.fn = rd, rd.cfg.ID, rn, local, fn
	rp.status = xenabi.EvtchnStatInterdomain
	rp.peer, rp.peerPort = d, n
	return n, d.raise(n, p), nil
}

// BindVIRQ returns a fresh port for virtual interrupt virq of vcpu
// (EVTCHNOP_bind_virq). It returns EINVAL for an unknown virq or a global one
// that is not bound on vcpu 0, ENOENT for an unknown vcpu and EEXIST if virq is
// bound already.
func (d *Domain) BindVIRQ(virq, v uint32) (uint32, error) {
	if virq >= xenabi.NrVIRQs || xenabi.VIRQIsGlobal(virq) && v != 0 {
		return 0, xenabi.EINVAL
	}
	if !d.validVCPU(v) {
		return 0, xenabi.ENOENT
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slot := &d.vcpus[v].virqs[virq]
	if xenabi.VIRQIsGlobal(virq) {
		slot = &d.virqs[virq]
	}
	if slot.Load() != 0 {
		return 0, xenabi.EEXIST
	}
	n, p, err := d.alloc()
	if err != nil {
		return 0, err
	}
	d.take(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(xenabi.EvtchnStatVIRQ, int32(v))
	p.virq = uint8(virq)
	slot.Store(n)
	return n, nil
}

// BindIPI returns a fresh port that vcpu gets what is sent to it
// (EVTCHNOP_bind_ipi).
func (d *Domain) BindIPI(v uint32) (uint32, error) {
	if !d.validVCPU(v) {
		return 0, xenabi.ENOENT
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, p, err := d.alloc()
	if err != nil {
		return 0, err
	}
	d.take(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(xenabi.EvtchnStatIPI, int32(v))
	return n, nil
}

// Close closes port n for the guest; the other end of an interdomain channel
// becomes unbound (EVTCHNOP_close). It returns EINVAL if n is not open, or a
// local port.
func (d *Domain) Close(n uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.close(n, false)
}

// close closes port n; d.mu is held.
func (d *Domain) close(n uint32, local bool) error {
	p := d.lookup(n)
	if p == nil {
		return xenabi.EINVAL
	}
	for {
		p.mu.Lock()
		if p.status == xenabi.EvtchnStatClosed || p.local && !local {
			p.mu.Unlock()
			return xenabi.EINVAL
		}
		if p.status != xenabi.EvtchnStatInterdomain {
			d.closeSingle(n, p)
			p.mu.Unlock()
			return nil
		}
		// The peer's lock may come first: let go, and look again.
		rd, rn := p.peer, p.peerPort
		p.mu.Unlock()
		if rp := rd.lookup(rn); d.disconnect(n, p, rd, rn, rp) {
			return nil
		}
	}
}

// closeSingle closes a port without a peer; d.mu and p.mu are held.
func (d *Domain) closeSingle(n uint32, p *port) {
	if p.status == xenabi.EvtchnStatVIRQ {
		if xenabi.VIRQIsGlobal(uint32(p.virq)) {
			d.virqs[p.virq].Store(0)
		} else {
			d.vcpus[p.vcpu].virqs[p.virq].Store(0)
		}
	}
	d.release(n, p)
}

// disconnect closes p if its peer is still rp, and tells whether it was.
func (d *Domain) disconnect(n uint32, p *port, rd *Domain, rn uint32, rp *port) bool {
	lockPair(d, n, p, rd, rn, rp)
	defer p.mu.Unlock()
	defer rp.mu.Unlock()
	if p.status != xenabi.EvtchnStatInterdomain || p.peer != rd || p.peerPort != rn {
		return false
	}
	rp.status, rp.peer, rp.peerPort = xenabi.EvtchnStatUnbound, nil, 0
	d.release(n, p)
	return true
}

// Status is what EVTCHNOP_status tells about a port.
type Status struct {
	Status   uint32 // xenabi.EvtchnStat*
	VCPU     uint32
	PeerDom  mm.DomID // unbound and interdomain
	PeerPort uint32   // interdomain
	VIRQ     uint32   // virq
}

// Status returns port n's status (EVTCHNOP_status), or EINVAL if n is no port
// number.
func (d *Domain) Status(n uint32) (Status, error) {
	if n == 0 || n > d.limit() {
		return Status{}, xenabi.EINVAL
	}
	p := d.lookup(n)
	if p == nil {
		return Status{Status: xenabi.EvtchnStatClosed}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{
		Status: uint32(p.status), VCPU: uint32(p.vcpu),
		PeerDom: p.peerDom, PeerPort: p.peerPort, VIRQ: uint32(p.virq),
	}, nil
}

// BindVCPU makes port n notify vcpu (EVTCHNOP_bind_vcpu). It returns ENOENT for
// an unknown vcpu, and EINVAL for a port whose vcpu can't change.
func (d *Domain) BindVCPU(n, v uint32) error {
	if !d.validVCPU(v) {
		return xenabi.ENOENT
	}
	p := d.lookup(n)
	if p == nil {
		return xenabi.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.status {
	case xenabi.EvtchnStatUnbound, xenabi.EvtchnStatInterdomain:
	case xenabi.EvtchnStatVIRQ:
		if !xenabi.VIRQIsGlobal(uint32(p.virq)) {
			return xenabi.EINVAL
		}
	default:
		return xenabi.EINVAL
	}
	if p.local {
		return xenabi.EINVAL
	}
	p.vcpu = int32(v)
	return nil
}

// Reset closes every port but the local ones, and returns to the 2-level ABI
// (EVTCHNOP_reset). A registered vcpu_info stays. No vcpu of the domain should
// use event channels meanwhile: what it binds may be closed again.
func (d *Domain) Reset() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dying {
		return xenabi.EINVAL
	}
	d.closeAll(false)
	d.dropFIFO()
	return nil
}
