package pvh

import (
	"testing"
	"time"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
)

// smp is a domain whose vcpus run, and tell at each entry with what state.
type smp struct {
	t *testing.T
	*domain.Domain
	m       *domaintest.Machine
	entered []chan virt.State
}

// newSMP starts a domain of which no vcpu is up; its guest halts at once. The test
// acts for vcpu 0.
func newSMP(t *testing.T, vcpus int) *smp {
	m := domaintest.New(t, 1024)
	s := &smp{t: t, m: m, Domain: m.Domain(t, domaintest.Options{VCPUs: vcpus})}
	for i, v := range s.VCPUs {
		s.entered = append(s.entered, make(chan virt.State, 1000))
		hv := v.HV.(*domaintest.VCPU)
		hv.Guest = func(e *virt.Exit) {
			s.entered[i] <- hv.S
			hv.S.Regs.RFLAGS |= virt.FlagIF // not the end of the vcpu
			e.Reason = virt.ReasonHLT
		}
	}
	s.Start(false, Run)
	return s
}

// starts returns the state in which a vcpu enters its guest.
func (s *smp) starts(i int) virt.State {
	s.t.Helper()
	select {
	case st := <-s.entered[i]:
		return st
	case <-time.After(5 * time.Second):
		s.t.Fatalf("vcpu %d does not start", i)
		panic("unreachable")
	}
}

// quiet checks that a vcpu stays where it is, when all had time to look at what
// came.
func (s *smp) quiet(i int) {
	s.t.Helper()
	select {
	case st := <-s.entered[i]:
		s.t.Fatalf("vcpu %d starts at %#x:%#x", i, st.Seg[virt.CS].Selector, st.Regs.RIP)
	case <-time.After(20 * time.Millisecond):
	}
}

// inited sends INIT and waits until the vcpu has obeyed.
func (s *smp) inited(i int, send func()) {
	s.t.Helper()
	send()
	for end := time.Now().Add(5 * time.Second); s.VCPUs[i].Up() || s.VCPUs[i].Initialised(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			s.t.Fatalf("vcpu %d is online after INIT", i)
		}
	}
	s.quiet(i)
}

// ICR values (SDM vol. 3, figure 10-12).
const (
	icrInit    = 0x4500
	icrStartup = 0x4600
	icrOthers  = 3 << 18
)

// wantStart is the state after SIPI with a vector (SDM vol. 3, 8.4.4.1 and table
// 9-1).
func (s *smp) wantStart(i int, vector uint8) {
	s.t.Helper()
	st := s.starts(i)
	cs := st.Seg[virt.CS]
	if cs.Selector != uint16(vector)<<8 || cs.Base != uint64(vector)<<12 || cs.Limit != 0xffff || st.Regs.RIP != 0 || st.Sys[virt.CR0]&(virt.CR0PE|virt.CR0PG) != 0 || st.Regs.RFLAGS != 2 {
		s.t.Errorf("vcpu %d starts at %#x:%#x, base %#x, CR0 %#x, RFLAGS %#x", i, cs.Selector, st.Regs.RIP, cs.Base, st.Sys[virt.CR0], st.Regs.RFLAGS)
	}
	if !s.VCPUs[i].Up() {
		s.t.Errorf("vcpu %d isn't online", i)
	}
}

// The guest brings up its vcpus by messages of the local APIC, in both modes, each
// and all at once.
func TestStartup(t *testing.T) {
	for _, x2 := range []bool{false, true} {
		s := newSMP(t, 5)
		a := s.VCPUs[0].APIC
		id := func(i int) uint32 { return s.Policy.APICID(uint32(i)) }
		send := func(icr, dest uint32) {
			if x2 {
				a.WriteMSR(0x830, uint64(dest)<<32|uint64(icr))
			} else {
				a.WriteMMIO(0x310, 4, uint64(dest)<<24)
				a.WriteMMIO(0x300, 4, uint64(icr))
			}
		}
		if x2 {
			base, _ := s.VCPUs[0].APIC.ReadMSR(0x1b)
			if !a.WriteMSR(0x1b, base|1<<10) {
				t.Fatal("no x2APIC")
			}
		}
		send(icrStartup|0x12, id(1)) // never started: it waits for it
		s.wantStart(1, 0x12)
		send(icrStartup|0x13, id(1)) // it runs
		s.quiet(1)
		s.inited(1, func() { send(icrInit, id(1)) })
		send(icrStartup|0x14, id(1))
		send(icrStartup|0x14, id(1)) // as the manuals' sequence has it
		s.wantStart(1, 0x14)
		s.quiet(1)
		send(icrInit|icrOthers, 0)
		send(icrStartup|0x9f|icrOthers, 0)
		for i := 1; i < 5; i++ {
			s.wantStart(i, 0x9f)
		}
		s.quiet(0)
		send(icrInit, 0x7f) // nobody
		s.quiet(0)
	}
}

// What VCPUOP_down stopped is not waiting for SIPI; INIT makes it so.
func TestStartupAfterDown(t *testing.T) {
	s := newSMP(t, 2)
	s.VCPUs[0].SetUp(true) // or the domain would end with vcpu 1
	s.SIPI(1, 0x10)
	s.wantStart(1, 0x10)
	s.VCPUs[1].Down()
	s.SIPI(1, 0x11)
	s.quiet(1)
	s.inited(1, func() { s.INIT(1) })
	s.SIPI(1, 0x12)
	s.wantStart(1, 0x12)
}

// VCPUOP_initialise gives the state, before INIT and after it.
func TestInitialiseAndINIT(t *testing.T) {
	s := newSMP(t, 3)
	at := func(rip uint64) *virt.State {
		st := new(virt.State)
		st.Reset()
		st.Regs.RIP = rip
		return st
	}
	v := s.VCPUs[1]
	if !v.SetBoot(at(0x100)) || v.SetBoot(at(0x200)) {
		t.Error("VCPUOP_initialise, twice")
	}
	s.SIPI(1, 0x10) // it isn't waiting for it
	s.quiet(1)
	v.SetUp(true)
	if st := s.starts(1); st.Regs.RIP != 0x100 {
		t.Errorf("VCPUOP_up starts at %#x", st.Regs.RIP)
	}
	s.inited(1, func() { s.INIT(1) })
	if !v.SetBoot(at(0x300)) {
		t.Error("VCPUOP_initialise after INIT")
	}
	v.SetUp(true)
	if st := s.starts(1); st.Regs.RIP != 0x300 {
		t.Errorf("VCPUOP_up after INIT starts at %#x", st.Regs.RIP)
	}
}

// The local APIC forgets what was pending at INIT, but not its mode and number.
func TestINITKeepsMode(t *testing.T) {
	g := newGuest(t)
	g.SetUp(true)
	base, _ := g.APIC.ReadMSR(0x1b)
	if !g.APIC.WriteMSR(0x1b, base|1<<10) {
		t.Fatal("no x2APIC")
	}
	id, _ := g.APIC.ReadMSR(0x802)
	g.APIC.WriteMSR(0x80f, 0x1ff)
	g.APIC.Post(0x40)
	g.halted = true
	g.Domain.INIT(0)
	g.takeSignals()
	if now, _ := g.APIC.ReadMSR(0x802); !g.APIC.X2Mode() || g.APIC.HasPending() || now != id || g.halted || g.Up() {
		t.Errorf("x2APIC %v, pending %v, ID %#x, halted %v, up %v", g.APIC.X2Mode(), g.APIC.HasPending(), now, g.halted, g.Up())
	}
}
