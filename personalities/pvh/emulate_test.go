package pvh

import (
	"bytes"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
	"nidus/mm"
	"nidus/personalities/emulate"
)

// Where emulated guests have code, data, and a page that is mapped to a device or
// to nothing.
const (
	codeAt   = 0x10000
	dataAt   = 0x20000
	windowAt = 0x30000
	hole     = 0x50000000
	apicPage = 0xfee00000
)

func (g guest) code(t *testing.T, b ...byte) {
	t.Helper()
	if err := g.Domain.Space.WritePhys(codeAt, b); err != nil {
		t.Fatal(err)
	}
	g.HV.Regs().RIP = codeAt
}

// window maps windowAt to a place in guest-physical memory.
func (g guest) window(t *testing.T, a mm.GuestPhys) {
	domaintest.SetPTE(t, g.VCPU, windowAt>>12, uint64(a)|domaintest.PTEPresent|domaintest.PTEWrite)
}

func touched(a mm.GuestPhys) virt.Exit {
	return virt.Exit{Reason: virt.ReasonNestedFault, Fault: virt.NestedFault{GPA: a}}
}

func stringIO(port uint16, in bool) virt.Exit {
	return virt.Exit{Reason: virt.ReasonIO, IO: virt.IO{Port: port, Size: 1, In: in, String: true}}
}

// The single-step trap follows an instruction that is carried out in software, and
// each iteration of a REP.
func TestSingleStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		exit  virt.Exit
		code  []byte
		steps int
	}{
		{"a device's register", touched(apicPage + 0x80), []byte{0x8b, 0x07}, 1}, // mov eax, [rdi]
		{"nothing's", touched(hole), []byte{0x89, 0x07}, 1},                      // mov [rdi], eax
		{"outsb", stringIO(portDebug, false), []byte{0x6e}, 1},
		{"rep outsb", stringIO(portDebug, false), []byte{0xf3, 0x6e}, 3},
		{"rep movsb to nothing", touched(hole), []byte{0xf3, 0xa4}, 3},
	} {
		for _, trap := range []bool{false, true} {
			g := newGuest(t)
			g.window(t, c.exit.Fault.GPA&^mm.PageMask)
			r := g.HV.Regs()
			r.RDI, r.RSI, r.RCX, r.RDX = windowAt+uint64(c.exit.Fault.GPA.Offset()), dataAt, 3, portDebug
			r.RFLAGS |= virt.FlagRF
			g.HV.SetShadow(true)
			g.code(t, c.code...)
			want := []virt.Event(nil)
			steps := 1
			if trap {
				r.RFLAGS |= virt.FlagTF
				want, steps = []virt.Event{virt.Fault(virt.VectorDB, 0)}, c.steps
			}
			for i := range steps {
				if i < steps && r.RIP != codeAt {
					t.Fatalf("%s: RIP %#x before step %d", c.name, r.RIP, i)
				}
				ev := g.does(c.exit)
				if len(ev) != len(want) || len(ev) > 0 && ev[0] != want[0] {
					t.Errorf("%s, TF %v, step %d: %v", c.name, trap, i, ev)
				}
			}
			if r.RIP != codeAt+uint64(len(c.code)) || g.HV.Get(virt.DR6)>>14&1 != 0 != trap || g.HV.Shadow() || r.RFLAGS&virt.FlagRF != 0 {
				t.Errorf("%s, TF %v: RIP %#x, DR6 %#x, shadow %v, RFLAGS %#x", c.name, trap, r.RIP, g.HV.Get(virt.DR6), g.HV.Shadow(), r.RFLAGS)
			}
		}
	}
}

// HLT with TF set ends by its own trap.
func TestSingleStepHLT(t *testing.T) {
	g := newGuest(t)
	g.HV.Regs().RFLAGS |= virt.FlagIF | virt.FlagTF
	if g.does(virt.Exit{Reason: virt.ReasonHLT}); g.halted {
		t.Error("it waits for an interrupt")
	}
}

// String I/O, in and out, forwards and backwards, across a page's end.
func TestStringIO(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	if err := g.Domain.Space.WritePhys(dataAt+0xffc, []byte("from two pages\n")); err != nil {
		t.Fatal(err)
	}
	out := g.Domain.Console.Attach()
	g.code(t, 0xf3, 0x6e) // rep outsb
	r.RDX, r.RSI, r.RCX = portDebug, dataAt+0xffc, 15
	var got [64]byte
	if ev := g.does(stringIO(portDebug, false)); ev != nil || r.RCX != 0 || r.RSI != dataAt+0xffc+15 || r.RIP != codeAt+2 {
		t.Errorf("OUTS: RCX %d, RSI %#x %v", r.RCX, r.RSI, ev)
	}
	if n := out.TryRead(got[:]); !bytes.Contains(got[:n], []byte("from two pages")) {
		t.Errorf("the port got %q", got[:n])
	}

	g.code(t, 0xf3, 0x66, 0x6d) // rep insw
	const before = 7
	r.RDX, r.RDI, r.RCX, r.RFLAGS = 0x1234, dataAt+0x1002, 4, r.RFLAGS|1<<10
	if err := g.Domain.Space.WritePhys(dataAt+0xff0, bytes.Repeat([]byte{before}, 32)); err != nil {
		t.Fatal(err)
	}
	if ev := g.does(stringIO(0x1234, true)); ev != nil || r.RCX != 0 || r.RDI != dataAt+0x1002-8 {
		t.Errorf("INS: RCX %d, RDI %#x %v", r.RCX, r.RDI, ev)
	}
	var b [32]byte
	if err := g.Domain.Space.ReadPhys(dataAt+0xff0, b[:]); err != nil {
		t.Fatal(err)
	}
	for i, x := range b {
		want := byte(before)
		if i >= 0xc && i < 0x14 {
			want = 0xff
		}
		if x != want {
			t.Fatalf("byte %#x is %#x, want %#x", i, x, want)
		}
	}

	// A page that can't be written: the fault comes first, the port isn't read.
	domaintest.SetPTE(t, g.VCPU, dataAt>>12, dataAt|domaintest.PTEPresent)
	g.HV.Set(virt.CR0, g.HV.Get(virt.CR0)|1<<16) // WP
	r.RDI, r.RCX = dataAt+0x10, 2
	g.code(t, 0x6c) // insb
	if ev := g.does(stringIO(0x1234, true)); len(ev) != 1 || ev[0].Vector != virt.VectorPF || ev[0].Code&2 == 0 || r.RIP != codeAt || g.HV.Get(virt.CR2) != dataAt+0x10 {
		t.Errorf("INS to a read-only page: %v, CR2 %#x", ev, g.HV.Get(virt.CR2))
	}
}

// More iterations than one exit does are done over several.
func TestLongREP(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	g.code(t, 0xf3, 0xaa) // rep stosb
	g.window(t, hole)
	r.RDI, r.RCX = windowAt, emulate.MaxRep+3
	for i, want := range []uint64{3, 0} {
		if ev := g.does(touched(hole)); ev != nil || r.RCX != want {
			t.Errorf("slice %d: RCX %d %v", i, r.RCX, ev)
		}
	}
	if r.RIP != codeAt+2 {
		t.Errorf("RIP %#x", r.RIP)
	}
}

// An access that begins in one window and ends in the next one.
func TestWindowEdges(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	pte := func(page int, a mm.GuestPhys) {
		domaintest.SetPTE(t, g.VCPU, windowAt>>12+mm.GFN(page), uint64(a)|domaintest.PTEPresent|domaintest.PTEWrite)
	}
	const ram = 0x40000
	pte(0, ram)
	pte(1, hole)
	if err := g.Domain.Space.WritePhys(ram+0xffc, []byte{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	r.RDI = windowAt + 0xffc
	g.code(t, 0x48, 0x8b, 0x07) // mov rax, [rdi]
	if ev := g.does(touched(hole)); ev != nil || r.RAX != 0xffffffff_04030201 {
		t.Errorf("memory and nothing read %#x %v", r.RAX, ev)
	}
	r.RAX = 0x1122334455667788
	g.code(t, 0x48, 0x89, 0x07) // mov [rdi], rax
	var b [4]byte
	if ev := g.does(touched(hole)); ev != nil || g.Domain.Space.ReadPhys(ram+0xffc, b[:]) != nil || b != [4]byte{0x88, 0x77, 0x66, 0x55} {
		t.Errorf("memory and nothing: % x %v", b, ev)
	}
	// The second page isn't there: nothing is written.
	domaintest.SetPTE(t, g.VCPU, windowAt>>12+1, 0)
	r.RAX = 0
	g.code(t, 0x48, 0x89, 0x07)
	if ev := g.does(touched(hole)); len(ev) != 1 || ev[0].Vector != virt.VectorPF || g.Domain.Space.ReadPhys(ram+0xffc, b[:]) != nil || b != [4]byte{0x88, 0x77, 0x66, 0x55} {
		t.Errorf("half a write: % x %v", b, ev)
	}
	// The local APIC's page and what is before it, which is nothing.
	pte(0, apicPage-0x1000)
	pte(1, apicPage)
	g.code(t, 0x48, 0x8b, 0x07)
	r.RDI = windowAt + 0xffc
	g.APIC.WriteMMIO(0x80, 4, 0x50)
	if ev := g.does(touched(apicPage)); ev != nil || uint32(r.RAX) != 0xffffffff || g.APIC.CR8() != 5 {
		t.Errorf("up to the APIC: %#x %v", r.RAX, ev)
	}
}

// What can't be read is tried again, for another vcpu may be changing it; what is
// no instruction for a device is the guest's fault.
func TestUnreadable(t *testing.T) {
	g := newGuest(t)
	r := g.HV.Regs()
	g.window(t, hole)
	r.RDI, r.RIP = windowAt, codeAt+0xffe
	if err := g.Domain.Space.WritePhys(codeAt+0xffe, []byte{0x48, 0x8b, 0x07}); err != nil { // mov rax, [rdi]
		t.Fatal(err)
	}
	const next = codeAt>>12 + 1
	domaintest.SetPTE(t, g.VCPU, next, 0)
	for range 100 {
		if ev := g.does(touched(hole)); ev != nil || r.RIP != codeAt+0xffe || g.Domain.Ended() {
			t.Fatalf("an instruction that is half gone: %v", ev)
		}
	}
	domaintest.SetPTE(t, g.VCPU, next, next<<12|domaintest.PTEPresent)
	if ev := g.does(touched(hole)); ev != nil || r.RAX != ^uint64(0) || r.RIP != codeAt+0x1001 || g.missing != 0 {
		t.Errorf("it is back: RAX %#x, RIP %#x, %v", r.RAX, r.RIP, ev)
	}
	domaintest.SetPTE(t, g.VCPU, next, 0)
	r.RIP = codeAt + 0xffe
	tries := 1
	for ; g.does(touched(hole)) == nil && tries < 10000; tries++ {
	}
	if !faulted(g.hv.Injected, virt.VectorGP) || tries < 100 {
		t.Errorf("gone for ever: %v after %d", g.hv.Injected, tries)
	}
	for name, code := range map[string][]byte{
		"movups xmm0, [rdi]": {0x0f, 0x10, 0x07}, "fld": {0xd9, 0x07}, "garbage": {0x0f, 0xff, 0xff, 0x06},
	} {
		g := newGuest(t)
		g.window(t, hole)
		g.HV.Regs().RDI = windowAt
		g.code(t, append(code, make([]byte, 15)...)...)
		if ev := g.does(touched(hole)); !faulted(ev, virt.VectorGP) || g.Domain.Ended() || g.HV.Regs().RIP != codeAt {
			t.Errorf("%s: %v, %s", name, ev, g.Domain.Failure())
		}
	}
}
