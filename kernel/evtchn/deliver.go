package evtchn

import "nidus/kernel/xenabi"

// signal is what is left to do for an event after the locks are gone. The zero
// signal does nothing.
type signal struct {
	fn   func()
	d    *Domain // whose pollers to wake for port
	port uint32
	vcpu int32 // 1 + the vcpu to notify, or 0

	device bool // see Notifier
}

func (s signal) send() {
	switch {
	case s.fn != nil:
		s.fn()
	case s.d != nil:
		if s.vcpu != 0 {
			s.d.notify(int(s.vcpu-1), s.device)
		}
		if s.port != 0 && s.d.pollers.Load() != 0 {
			s.d.wakePollers(s.port)
		}
	}
}

// Send sends an event to the other end of port n (EVTCHNOP_send). What is sent
// to an unbound port is dropped. It returns EINVAL if n can't send.
func (d *Domain) Send(n uint32) error { return d.sendFrom(n, false) }

func (d *Domain) sendFrom(n uint32, guest bool) error {
	p := d.lookup(n)
	if p == nil {
		return xenabi.EINVAL
	}
	p.mu.Lock()
	if p.local && guest {
		p.mu.Unlock()
		return xenabi.EINVAL
	}
	switch p.status {
	case xenabi.EvtchnStatInterdomain:
		rd, rn, device := p.peer, p.peerPort, p.local
		p.mu.Unlock()
		rd.receive(rn, d, n, device)
		return nil
	case xenabi.EvtchnStatIPI:
		s := d.raise(n, p)
		p.mu.Unlock()
		s.send()
		return nil
	case xenabi.EvtchnStatUnbound:
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	return xenabi.EINVAL
}

// receive raises port n if it is still connected to port m of e. If not, the
// channel was closed meanwhile and the event goes nowhere. device: m is a local port.
func (d *Domain) receive(n uint32, e *Domain, m uint32, device bool) {
	p := d.lookup(n)
	p.mu.Lock()
	var s signal
	if p.status == xenabi.EvtchnStatInterdomain && p.peer == e && p.peerPort == m {
		s = d.raise(n, p)
		s.device = device
	}
	p.mu.Unlock()
	s.send()
}

// RaiseVIRQ raises virtual interrupt virq; for a global one vcpu does not
// matter. Nothing happens if the guest has not bound it.
func (d *Domain) RaiseVIRQ(vcpu int, virq uint32) {
	if virq >= xenabi.NrVIRQs || vcpu < 0 || vcpu >= len(d.vcpus) {
		return
	}
	global := xenabi.VIRQIsGlobal(virq)
	slot := &d.vcpus[vcpu].virqs[virq]
	if global {
		slot = &d.virqs[virq]
	}
	n := slot.Load()
	p := d.lookup(n)
	if p == nil {
		return
	}
	p.mu.Lock()
	var s signal
	if p.status == xenabi.EvtchnStatVIRQ && uint32(p.virq) == virq && (global || int(p.vcpu) == vcpu) {
		s = d.raise(n, p)
	}
	p.mu.Unlock()
	s.send()
}

// raise makes port n pending; p.mu is held. The caller does what the signal
// says after it has let the lock go.
func (d *Domain) raise(n uint32, p *port) signal {
	if p.local {
		p.latent = p.fn == nil
		return signal{fn: p.fn}
	}
	if d.cfg.SharedInfo.IsZero() {
		return signal{}
	}
	if f := d.fifo.Load(); f != nil {
		return d.raiseFIFO(f, n, p)
	}
	return d.raise2L(n, p)
}

// bit2L returns the place of port n's bit in an array of bits. Words are little
// endian, so 4 bytes at a time do for both widths.
//
//go:nosplit
func bit2L(array int, n uint32) (off int, bit uint32) {
	return array + int(n/32)*4, 1 << (n % 32)
}

func (d *Domain) raise2L(n uint32, p *port) signal {
	l := d.layout.Load()
	if int(n) >= l.NrEvtchn { // the guest became a 32-bit one
		return signal{}
	}
	fresh, vcpu := d.pend2L(l, n, p)
	if !fresh {
		return signal{} // whoever made it pending told the vcpu
	}
	return signal{d: d, port: n, vcpu: vcpu}
}

// pend2L sets port n's bit, and its vcpu's if the port isn't masked. It tells whether the first was clear, and
// returns 1 + the vcpu if that must be notified, or 0.
//
//go:nosplit
func (d *Domain) pend2L(l *xenabi.SharedInfo, n uint32, p *port) (fresh bool, vcpu int32) {
	off, bit := bit2L(l.EvtchnPending, n)
	if d.cfg.SharedInfo.Or32(off, bit)&bit != 0 {
		return false, 0
	}
	if off, bit := bit2L(l.EvtchnMask, n); d.cfg.SharedInfo.Load32(off)&bit == 0 {
		vcpu = d.select2L(l, n, p)
	}
	return true, vcpu
}

// select2L sets port n's bit in the selector of its vcpu, and returns 1 + the
// vcpu if that must be notified, or 0.
//
//go:nosplit
func (d *Domain) select2L(l *xenabi.SharedInfo, n uint32, p *port) int32 {
	vi := d.info(p.vcpu)
	if vi == nil {
		return 0
	}
	word := n / 64 // by a constant: a division costs what all else here does
	if l.Width != xenabi.Guest64 {
		word = n / 32
	}
	off, bit := bit2L(vi.off+l.VCPUEvtchnPendingSel, word)
	if vi.page.Or32(off, bit)&bit == 0 && vi.markPending() {
		return p.vcpu + 1
	}
	return 0
}

// Unmask clears port n's mask, and notifies its vcpu if it is pending
// (EVTCHNOP_unmask). It returns EINVAL if n is no port number.
func (d *Domain) Unmask(n uint32) error {
	if n == 0 || n > d.limit() {
		return xenabi.EINVAL
	}
	p := d.lookup(n)
	if p == nil {
		return nil // never opened: nothing can be pending
	}
	p.mu.Lock()
	var s signal
	switch f := d.fifo.Load(); {
	case p.status == xenabi.EvtchnStatClosed || p.local || d.cfg.SharedInfo.IsZero():
	case f != nil:
		s = d.unmaskFIFO(f, n, p)
	default:
		s = d.unmask2L(n, p)
	}
	p.mu.Unlock()
	s.send()
	return nil
}

func (d *Domain) unmask2L(n uint32, p *port) signal {
	l := d.layout.Load()
	if int(n) >= l.NrEvtchn {
		return signal{}
	}
	off, bit := bit2L(l.EvtchnMask, n)
	if d.cfg.SharedInfo.And32(off, ^bit)&bit == 0 {
		return signal{} // was not masked
	}
	if off, bit = bit2L(l.EvtchnPending, n); d.cfg.SharedInfo.Load32(off)&bit == 0 {
		return signal{}
	}
	return signal{d: d, vcpu: d.select2L(l, n, p)}
}

// isPending tells whether port n is pending; any n will do.
func (d *Domain) isPending(n uint32) bool {
	p := d.lookup(n)
	if p == nil || d.cfg.SharedInfo.IsZero() {
		return false
	}
	p.mu.Lock() // keeps the event array in place
	defer p.mu.Unlock()
	if f := d.fifo.Load(); f != nil {
		pg, off, ok := f.word(n)
		return ok && pg.Load32(off)&fifoPending != 0
	}
	l := d.layout.Load()
	if int(n) >= l.NrEvtchn {
		return false
	}
	off, bit := bit2L(l.EvtchnPending, n)
	return d.cfg.SharedInfo.Load32(off)&bit != 0
}

// clearPending forgets that port n is pending, when it is closed.
func (d *Domain) clearPending(n uint32) {
	if d.cfg.SharedInfo.IsZero() {
		return
	}
	if f := d.fifo.Load(); f != nil {
		if pg, off, ok := f.word(n); ok {
			pg.And32(off, ^uint32(fifoPending))
		}
		return
	}
	l := d.layout.Load()
	if int(n) >= l.NrEvtchn {
		return
	}
	off, bit := bit2L(l.EvtchnPending, n)
	d.cfg.SharedInfo.And32(off, ^bit)
}
