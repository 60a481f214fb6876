package pvh

import (
	"testing"
	"time"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/machine/mca"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/cpuid"
)

// guest is a vcpu whose exits a test makes one by one, on its own goroutine.
type guest struct {
	*vcpu
	hv *domaintest.VCPU
}

func newGuest(t *testing.T) guest {
	m := domaintest.New(t, 1024)
	t.Cleanup(func() { m.CheckFree(t) })
	d := m.Domain(t, domaintest.Options{Spare: 8})
	v := &vcpu{VCPU: d.VCPUs[0]}
	v.MSR = newMSRs(v.VCPU)
	v.SetUp(true)
	domaintest.Long(t, v.VCPU)
	return guest{v, v.HV.(*domaintest.VCPU)}
}

// does handles an exit and returns what was injected for it.
func (g guest) does(e virt.Exit) []virt.Event {
	g.hv.Injected = nil
	g.exit = e
	g.handle()
	return g.hv.Injected
}

func faulted(ev []virt.Event, vector uint8) bool {
	return len(ev) == 1 && ev[0] == virt.Fault(vector, 0)
}

func TestRegisterExits(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	r.RAX, r.RCX = 0x40000000, 0
	if ev := g.does(virt.Exit{Reason: virt.ReasonCPUID}); ev != nil || r.RBX != 0x566e6558 || r.RCX != 0x65584d4d || r.RDX != 0x4d4d566e {
		t.Errorf("Xen's signature: %#x %#x %#x %v", r.RBX, r.RCX, r.RDX, ev)
	}
	for _, write := range []bool{false, true} {
		rip := r.RIP
		r.RCX = 0xdeadbeef
		if ev := g.does(virt.Exit{Reason: virt.ReasonMSR, Write: write}); !faulted(ev, virt.VectorGP) || r.RIP != rip {
			t.Errorf("unknown MSR, write %v: %v", write, ev)
		}
	}
	r.RCX, r.RAX, r.RDX = 0xc0000082, 0xffff_ffff_1234_5678, 0xffffffff // LSTAR
	if ev := g.does(virt.Exit{Reason: virt.ReasonMSR, Write: true}); ev != nil || g.HV.Get(virt.LSTAR) != 0xffffffff_12345678 {
		t.Errorf("LSTAR %#x %v", g.HV.Get(virt.LSTAR), ev)
	}
	r.RAX, r.RDX = 1, 2
	if g.does(virt.Exit{Reason: virt.ReasonMSR}); r.RAX != 0x12345678 || r.RDX != 0xffffffff {
		t.Errorf("LSTAR reads %#x %#x", r.RAX, r.RDX)
	}
	cr8 := func(write bool) virt.Exit {
		return virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{CR: 8, Write: write, GPR: 3}}
	}
	if r.RBX = 0x10; !faulted(g.does(cr8(true)), virt.VectorGP) {
		t.Error("CR8 took a reserved bit")
	}
	r.RBX = 0xa
	g.does(cr8(true))
	r.RBX = 0
	if g.does(cr8(false)); r.RBX != 0xa {
		t.Errorf("CR8 is %#x", r.RBX)
	}
	for _, c := range []struct{ rcx, rax uint64 }{{1, 1}, {0, 0}, {0, 2}, {0, 1 << 5}} {
		if r.RCX, r.RAX, r.RDX = c.rcx, c.rax, 0; !faulted(g.does(virt.Exit{Reason: virt.ReasonXSETBV}), virt.VectorGP) {
			t.Errorf("XSETBV %+v", c)
		}
	}
	for reason, vector := range map[virt.Reason]uint8{virt.ReasonRDPMC: virt.VectorGP, virt.ReasonMonitor: virt.VectorUD,
		virt.ReasonMwait: virt.VectorUD, virt.ReasonVirtInsn: virt.VectorUD} {
		if ev := g.does(virt.Exit{Reason: reason}); !faulted(ev, vector) {
			t.Errorf("%v: %v", reason, ev)
		}
	}
	if g.Domain.Ended() {
		t.Error(g.Domain.Failure())
	}
}

// Every port at every size: nothing is there but the PIT's zeroes.
func TestPorts(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	const old = 0x1122334455667788
	for port := range 1 << 16 {
		for size, want := range map[uint8]uint64{1: 0x11223344556677ff, 2: 0x112233445566ffff, 4: 0xffffffff} {
			if port >= 0x40 && port <= 0x42 {
				want = map[uint8]uint64{1: old &^ 0xff, 2: old &^ 0xffff, 4: 0}[size]
			}
			r.RAX = old
			if g.does(virt.Exit{Reason: virt.ReasonIO, IO: virt.IO{Port: uint16(port), Size: size, In: true}}); r.RAX != want {
				t.Fatalf("IN %#x size %d: %#x, want %#x", port, size, r.RAX, want)
			}
			if g.does(virt.Exit{Reason: virt.ReasonIO, IO: virt.IO{Port: uint16(port), Size: size}}); r.RAX != want {
				t.Fatalf("OUT %#x changed RAX", port)
			}
		}
	}
}

func TestNestedFaults(t *testing.T) {
	const hole = 0x50000000
	for name, f := range map[string]virt.NestedFault{
		"fetch": {GPA: hole, Fetch: true}, "walk": {GPA: hole, Walk: true}, "our table": {GPA: hole, Reserved: true, Present: true},
	} {
		g := newGuest(t)
		if g.does(virt.Exit{Reason: virt.ReasonNestedFault, Fault: f}); !g.Domain.Ended() || g.Domain.Reason() != xenabi.ShutdownCrash {
			t.Errorf("%s: the domain goes on", name)
		}
	}
	g := newGuest(t)
	r := g.HV.Regs()
	code := func(b ...byte) {
		t.Helper()
		if err := g.Domain.Space.WritePhys(0x10000, b); err != nil {
			t.Fatal(err)
		}
		r.RIP = 0x10000
	}
	at := func(a mm.GuestPhys) virt.Exit {
		return virt.Exit{Reason: virt.ReasonNestedFault, Fault: virt.NestedFault{GPA: a}}
	}
	page := func(a mm.GuestPhys) {
		domaintest.SetPTE(t, g.VCPU, 0x30, uint64(a)|domaintest.PTEPresent|domaintest.PTEWrite)
	}
	r.RDI = 0x30000
	page(hole)
	code(0x48, 0x8b, 0x07) // mov rax, [rdi]
	if ev := g.does(at(hole)); ev != nil || r.RAX != ^uint64(0) || r.RIP != 0x10003 {
		t.Errorf("a hole reads %#x, RIP %#x %v", r.RAX, r.RIP, ev)
	}
	code(0x48, 0x89, 0x07) // mov [rdi], rax
	if ev := g.does(at(hole)); ev != nil || r.RIP != 0x10003 || g.Domain.Ended() {
		t.Errorf("a write to a hole: %v", ev)
	}
	page(0xfee00000)
	r.RDI, r.RAX = 0x30080, 0x30 // TPR
	code(0x89, 0x07)             // mov [rdi], eax
	if g.does(at(0xfee00080)); g.APIC.CR8() != 3 {
		t.Errorf("task priority %d", g.APIC.CR8())
	}
	code(0x83, 0x0f, 0x40) // or dword [rdi], 0x40
	if g.does(at(0xfee00080)); g.APIC.CR8() != 7 {
		t.Errorf("task priority %d after OR", g.APIC.CR8())
	}
	// memory on demand comes when it is touched, by the guest or by emulation
	if err := g.Domain.Space.MapPoD(0x5000, 2); err != nil {
		t.Fatal(err)
	}
	rip := r.RIP
	if g.does(at(0x5000000)); r.RIP != rip || !g.Domain.Space.P2M().Lookup(0x5000).Type.IsRAM() {
		t.Error("no memory on demand")
	}
	b := [2]byte{1, 2}
	if g.readPhys(0x5001000, b[:]); b != [2]byte{} {
		t.Errorf("memory on demand reads % x", b)
	}
}

func TestTripleFaultAndMachineCheck(t *testing.T) {
	for param, want := range map[uint64]uint32{xenabi.ShutdownReboot: xenabi.ShutdownReboot, xenabi.ShutdownCrash: xenabi.ShutdownCrash, 99: xenabi.ShutdownCrash} {
		g := newGuest(t)
		if g.does(virt.Exit{Reason: virt.ReasonException, Event: virt.Fault(virt.VectorMC, 0)}); g.Domain.Ended() || g.hv.Injected != nil {
			t.Error("the host's machine check reached the guest")
		}
		g.Domain.SetParam(xenabi.HVMParamTripleFaultReason, param)
		if g.does(virt.Exit{Reason: virt.ReasonShutdown}); !g.Domain.Ended() || g.Domain.Reason() != want {
			t.Errorf("reason %d for %d", g.Domain.Reason(), param)
		}
	}
	for verdict, ends := range map[mca.Verdict]bool{mca.GoOn: false, mca.EndDomain: true} {
		g := newGuest(t)
		g.Domain.Host.MachineCheck = func(running mm.DomID) mca.Verdict {
			if running != g.Domain.ID {
				t.Errorf("d%d ran", running)
			}
			return verdict
		}
		if g.does(virt.Exit{Reason: virt.ReasonException, Event: virt.Fault(virt.VectorMC, 0)}); g.Domain.Ended() != ends {
			t.Errorf("verdict %d: ended is %v", verdict, !ends)
		}
	}
	g := newGuest(t)
	if g.does(virt.Exit{Reason: virt.ReasonUnknown}); !g.Domain.Ended() || g.Domain.Reason() != xenabi.ShutdownCrash {
		t.Error("an unknown exit")
	}
}

// The local APIC gets the upcall's vector once for each time that the upcall
// becomes pending, also when the guest clears it and an event sets it again
// between two exits.
func TestUpcallVector(t *testing.T) {
	g := newGuest(t)
	g.HV.Regs().RFLAGS |= virt.FlagIF
	if !g.APIC.WriteMMIO(0xf0, 4, 0x1ff) { // software enable
		t.Fatal("APIC")
	}
	g.SetUpcallVector(0xf0)
	pg, off, ok := g.Domain.Events.VCPUInfo(0)
	if !ok {
		t.Fatal("no vcpu_info")
	}
	injected := func() []virt.Event {
		g.hv.Injected = nil
		g.inject()
		return g.hv.Injected
	}
	want := virt.Event{Kind: virt.Interrupt, Vector: 0xf0}
	for i := range 3 { // each a port of its own, so that it isn't pending yet
		n, err := g.Domain.Events.BindIPI(0)
		if err != nil {
			t.Fatal(err)
		}
		// The guest took its events before; no exit has seen that.
		pg.Store8(off+xenabi.VCPUEvtchnUpcallPending, 0)
		pg.Write(off+8, make([]byte, 8))
		if err := g.Domain.Events.Send(n); err != nil {
			t.Fatal(err)
		}
		if ev := injected(); len(ev) != 1 || ev[0] != want {
			t.Fatalf("event %d: %v", i, ev)
		}
		g.APIC.WriteMMIO(0xb0, 4, 0) // EOI
		if ev := injected(); ev != nil {
			t.Fatalf("event %d was told twice: %v", i, ev)
		}
	}
}

// TestOffer: an upcall is given ahead to a guest that has interrupts off, and taken back if there is none any more;
// a window is asked for where that can't be, or the local APIC has something, too.
func TestOffer(t *testing.T) {
	g := newGuest(t)
	const vector = 0xf3
	g.Domain.SetParam(xenabi.HVMParamCallbackIRQ, xenabi.HVMParamCallbackTypeVector<<56|vector)
	if !g.APIC.WriteMMIO(0xf0, 4, 0x1ff) { // software enable
		t.Fatal("APIC")
	}
	pg, off, ok := g.Domain.Events.VCPUInfo(0)
	if !ok {
		t.Fatal("no vcpu_info")
	}
	for i, c := range []struct {
		pending, on, apic, cant bool
		offered                 uint8
		window                  bool
		injected                int
	}{
		{},
		{pending: true, offered: vector},
		{pending: true, on: true, injected: 1},
		{pending: true, offered: vector},
		{},
		{pending: true, cant: true, window: true},
		{pending: true, offered: vector},
		{pending: true, apic: true, window: true},
		{pending: true, on: true, apic: true, window: true, injected: 1},
		{apic: true, window: true},
	} {
		g.HV.Regs().RFLAGS &^= virt.FlagIF
		if c.on {
			g.HV.Regs().RFLAGS |= virt.FlagIF
		}
		b := uint8(0)
		if c.pending {
			b = 1
		}
		pg.Store8(off+xenabi.VCPUEvtchnUpcallPending, b)
		if c.apic {
			g.APIC.Post(0x40)
		}
		g.hv.Injected, g.hv.NoOffers = nil, c.cant
		g.inject()
		offered := g.hv.Offered
		if c.cant {
			offered = 0
		}
		if offered != c.offered || g.hv.Window != c.window || len(g.hv.Injected) != c.injected {
			t.Errorf("%d, %+v: offered %#x, window %v, injected %v", i, c, offered, g.hv.Window, g.hv.Injected)
		}
	}
}

// HLT ends by an interrupt that is taken, not by anything else that wakes the vcpu.
func TestHalt(t *testing.T) {
	for _, c := range []struct {
		name string
		on   bool // interrupts
		wake func(*domain.Domain)
		ends bool
	}{
		{"notify", true, func(d *domain.Domain) { d.VCPUs[0].Notify() }, false},
		{"notify, IF=0", false, func(d *domain.Domain) { d.VCPUs[0].Notify() }, false},
		{"interrupt", true, func(d *domain.Domain) { d.APICs.APIC(0).Post(0x40); d.Kick(0) }, true},
		{"interrupt, IF=0", false, func(d *domain.Domain) { d.APICs.APIC(0).Post(0x40); d.Kick(0) }, false},
		{"NMI", true, func(d *domain.Domain) { d.NMI(0) }, true},
		{"pause", true, func(d *domain.Domain) { d.Pause(); d.Unpause() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := domaintest.New(t, 1024)
			d := m.Domain(t, domaintest.Options{VCPUs: 1})
			v := d.VCPUs[0]
			v.SetUp(true)
			domaintest.Long(t, v)
			v.APIC.WriteMMIO(0xf0, 4, 0x1ff)
			if c.on {
				v.HV.Regs().RFLAGS |= virt.FlagIF
			}
			entered := make(chan struct{}, 100)
			v.HV.(*domaintest.VCPU).Guest = func(e *virt.Exit) { e.Reason = virt.ReasonHLT; entered <- struct{}{} }
			d.Start(false, Run)
			<-entered
			m.Threads.AwaitWaiting(1)
			c.wake(d)
			wait := 30 * time.Millisecond
			if c.ends {
				wait = 5 * time.Second
			}
			got := false
			select {
			case <-entered:
				got = true
			case <-time.After(wait):
			}
			if got != c.ends {
				t.Errorf("the guest goes on: %v", got)
			}
			// halted for ever, the last vcpu powers the domain off
			if off := d.Ended() && d.Reason() == xenabi.ShutdownPoweroff; off == c.on {
				t.Errorf("powered off: %v", off)
			}
			if err := d.Destroy(); err != nil {
				t.Fatal(err)
			}
			m.CheckFree(t)
		})
	}
}

// TestEmulatedTSCExits: RDTSC and RDTSCP count nanoseconds since the domain's start.
func TestEmulatedTSCExits(t *testing.T) {
	m := domaintest.New(t, 2600)
	c := config(t, m)
	p, err := cpuid.New(func(leaf, sub uint32) cpuid.Regs {
		return map[uint32]cpuid.Regs{0x80000000: {A: 0x80000008}, 0x80000001: {D: 0x2c100800}, 0x80000008: {A: 0x3028}}[leaf]
	}, cpuid.Config{VCPUs: 2, PhysBits: 40, TSCKHz: virt.EmulatedTSCKHz, TSCEmulated: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Policy = p
	g := built(t, m, c)
	if g.hv.Intercept&virt.InterceptRDTSC == 0 {
		t.Error("RDTSC does not exit")
	}
	m.Clock.Advance(0x1_2345_6789)
	r := g.HV.Regs()
	rip := r.RIP
	r.RAX, r.RDX, r.RCX = ^uint64(0), ^uint64(0), 7
	if ev := g.does(virt.Exit{Reason: virt.ReasonRDTSC, Length: 2}); ev != nil || r.RAX != 0x23456789 || r.RDX != 1 || r.RCX != 7 || r.RIP == rip {
		t.Errorf("RDTSC: %#x:%#x, RCX %#x, RIP+%d, %v", r.RDX, r.RAX, r.RCX, r.RIP-rip, ev)
	}
	g.HV.Set(virt.TSCAux, 0x55)
	if ev := g.does(virt.Exit{Reason: virt.ReasonRDTSCP, Length: 3}); ev != nil || r.RDX != 1 || r.RCX != 0x55 {
		t.Errorf("RDTSCP: %#x:%#x, RCX %#x, %v", r.RDX, r.RAX, r.RCX, ev)
	}
	for i := range p.Rows[:p.Count] { // a policy without RDTSCP
		if p.Rows[i].Leaf == 0x80000001 {
			p.Rows[i].Regs.D &^= 1 << 27
		}
	}
	if ev := g.does(virt.Exit{Reason: virt.ReasonRDTSCP, Length: 3}); !faulted(ev, virt.VectorUD) {
		t.Errorf("RDTSCP that is not there: %v", ev)
	}
}
