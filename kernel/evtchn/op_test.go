package evtchn

import (
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// call does an operation as a guest would: structure to bytes and back.
func call(d *Domain, cmd uint32, a xenabi.Struct) error {
	b := make([]byte, MaxArgSize)
	xenabi.Encode(xenabi.Guest64, b, a)
	size, _, _ := ArgSize(cmd)
	err := d.Hypercall(cmd, b[:size])
	xenabi.Decode(xenabi.Guest64, b, a)
	return err
}

func TestArgSizes(t *testing.T) {
	for cmd, s := range map[uint32]xenabi.Struct{
		xenabi.EvtchnOpBindInterdomain: new(xenabi.EvtchnBindInterdomain),
		xenabi.EvtchnOpBindVIRQ:        new(xenabi.EvtchnBindVIRQ),
		xenabi.EvtchnOpBindPIRQ:        new(xenabi.EvtchnBindPIRQ),
		xenabi.EvtchnOpClose:           new(xenabi.EvtchnPort),
		xenabi.EvtchnOpSend:            new(xenabi.EvtchnPort),
		xenabi.EvtchnOpStatus:          new(xenabi.EvtchnStatus),
		xenabi.EvtchnOpAllocUnbound:    new(xenabi.EvtchnAllocUnbound),
		xenabi.EvtchnOpBindIPI:         new(xenabi.EvtchnBindIPI),
		xenabi.EvtchnOpBindVCPU:        new(xenabi.EvtchnBindVCPU),
		xenabi.EvtchnOpUnmask:          new(xenabi.EvtchnPort),
		xenabi.EvtchnOpReset:           new(xenabi.EvtchnReset),
		xenabi.EvtchnOpInitControl:     new(xenabi.EvtchnInitControl),
		xenabi.EvtchnOpExpandArray:     new(xenabi.EvtchnExpandArray),
		xenabi.EvtchnOpSetPriority:     new(xenabi.EvtchnSetPriority),
	} {
		for _, w := range []xenabi.Width{xenabi.Guest32, xenabi.Guest64} {
			if n, _, ok := ArgSize(cmd); !ok || n != xenabi.Size(w, s) || n > MaxArgSize {
				t.Errorf("op %d, %d-bit: %d bytes, header has %d", cmd, w.Bits(), n, xenabi.Size(w, s))
			}
		}
	}
}

func TestHypercall(t *testing.T) {
	const self = uint16(mm.DomIDSelf)
	var h Hub
	g := newGuest(t, &h, 1, nil)
	dom0 := newGuest(t, &h, 0, func(c *Config) { c.Privileged = true })

	if err := g.d.Hypercall(14, make([]byte, 64)); err != xenabi.ENOSYS {
		t.Errorf("unknown operation: %v", err)
	}
	if err := g.d.Hypercall(^uint32(0), nil); err != xenabi.ENOSYS {
		t.Errorf("unknown operation: %v", err)
	}
	if err := g.d.Hypercall(xenabi.EvtchnOpStatus, make([]byte, 23)); err != xenabi.EFAULT {
		t.Errorf("short argument: %v", err)
	}
	if err := call(g.d, xenabi.EvtchnOpBindPIRQ, new(xenabi.EvtchnBindPIRQ)); err != xenabi.EPERM {
		t.Errorf("bind_pirq: %v", err)
	}

	alloc := xenabi.EvtchnAllocUnbound{DomID: 1, RemoteDomID: self}
	if err := call(dom0.d, xenabi.EvtchnOpAllocUnbound, &alloc); err != nil || alloc.Port == 0 {
		t.Fatalf("alloc_unbound for another domain: %v, port %d", err, alloc.Port)
	}
	if s := must(g.d.Status(alloc.Port)); s.PeerDom != 0 || s.Status != xenabi.EvtchnStatUnbound {
		t.Errorf("unbound port: %+v", s)
	}
	for _, c := range []struct {
		a    xenabi.EvtchnAllocUnbound
		want error
	}{
		{xenabi.EvtchnAllocUnbound{DomID: 0}, xenabi.EPERM},
		{xenabi.EvtchnAllocUnbound{DomID: 9}, xenabi.ESRCH},
		{xenabi.EvtchnAllocUnbound{DomID: self, RemoteDomID: uint16(mm.DomIDXen)}, xenabi.EINVAL},
	} {
		if err := call(g.d, xenabi.EvtchnOpAllocUnbound, &c.a); err != c.want {
			t.Errorf("alloc_unbound %+v: %v, want %v", c.a, err, c.want)
		}
	}
	bind := xenabi.EvtchnBindInterdomain{RemoteDomID: 1, RemotePort: alloc.Port}
	if err := call(dom0.d, xenabi.EvtchnOpBindInterdomain, &bind); err != nil || bind.LocalPort == 0 {
		t.Fatalf("bind_interdomain: %v, %+v", err, bind)
	}
	st := xenabi.EvtchnStatus{DomID: 1, Port: alloc.Port}
	if err := call(dom0.d, xenabi.EvtchnOpStatus, &st); err != nil ||
		st.Status != xenabi.EvtchnStatInterdomain || st.PeerDomID != 0 || st.PeerPort != bind.LocalPort {
		t.Errorf("status: %v, %+v", err, st)
	}
	st = xenabi.EvtchnStatus{DomID: 0, Port: 1}
	if err := call(g.d, xenabi.EvtchnOpStatus, &st); err != xenabi.EPERM {
		t.Errorf("status of another domain: %v", err)
	}
	virq := xenabi.EvtchnBindVIRQ{VIRQ: xenabi.VIRQDebug, VCPU: 2}
	if err := call(g.d, xenabi.EvtchnOpBindVIRQ, &virq); err != nil {
		t.Fatal(err)
	}
	st = xenabi.EvtchnStatus{DomID: self, Port: virq.Port}
	if err := call(g.d, xenabi.EvtchnOpStatus, &st); err != nil || st.Status != xenabi.EvtchnStatVIRQ ||
		st.VCPU != 2 || st.PeerDomID != xenabi.VIRQDebug {
		t.Errorf("status of a virq: %v, %+v", err, st)
	}
	ipi := xenabi.EvtchnBindIPI{VCPU: 1}
	if err := call(g.d, xenabi.EvtchnOpBindIPI, &ipi); err != nil {
		t.Fatal(err)
	}
	if err := call(g.d, xenabi.EvtchnOpSend, &xenabi.EvtchnPort{Port: ipi.Port}); err != nil {
		t.Fatal(err)
	}
	g.expect(ipi.Port)
	init := xenabi.EvtchnInitControl{ControlGFN: 1, Offset: 64, VCPU: 0}
	if err := call(g.d, xenabi.EvtchnOpInitControl, &init); err != nil || init.LinkBits != 17 {
		t.Errorf("init_control: %v, %+v", err, init)
	}
	if err := call(g.d, xenabi.EvtchnOpExpandArray, &xenabi.EvtchnExpandArray{ArrayGFN: 1 << 60}); err != xenabi.EINVAL {
		t.Errorf("expand_array: %v", err)
	}
	if err := call(g.d, xenabi.EvtchnOpReset, &xenabi.EvtchnReset{DomID: 0}); err != xenabi.EPERM {
		t.Errorf("reset of another domain: %v", err)
	}
	if err := call(dom0.d, xenabi.EvtchnOpReset, &xenabi.EvtchnReset{DomID: 1}); err != nil || g.d.PortsInUse() != 0 {
		t.Errorf("reset: %v, %d ports left", err, g.d.PortsInUse())
	}
}
