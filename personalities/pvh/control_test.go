package pvh

import (
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
)

// Writes to CR0, CR3 and CR4: what a processor refuses faults and changes nothing.
func TestControlRegisters(t *testing.T) {
	const pe, pg, et = virt.CR0PE, virt.CR0PG, 1 << 4
	for _, c := range []struct {
		name string
		cr   uint8
		x    uint64
		want uint64 // what the register has then; 0: #GP
	}{
		{"write protection", 0, pg | pe | 1<<16, pg | pe | 1<<16 | et},
		{"ignored bits", 0, pg | pe | 0x1ffa0000, pg | pe | et},
		{"NW without CD", 0, pg | pe | 1<<29, 0},
		{"paging off in 64-bit code", 0, pe, 0},
		{"no protection", 0, pg, 0},
		{"high bits of CR0", 0, 1<<33 | pg | pe, 0},
		{"CR4 basic", 4, virt.CR4Basic, virt.CR4Basic},
		{"no PAE", 4, 0x80, 0},
		{"a bit that no processor has", 4, virt.CR4PAE | 1<<15, 0},
		{"VMXE", 4, virt.CR4PAE | 1<<13, 0},
		{"LA57, which is not offered", 4, virt.CR4PAE | 1<<12, 0},
		{"high bits of CR4", 4, virt.CR4PAE | 1<<40, 0},
		{"CR3 beyond the address space", 3, 1 << 51, 0},
		{"CR3's highest bit", 3, 1 << 63, 0},
	} {
		g := newGuest(t)
		r := g.HV.Regs()
		reg := map[uint8]virt.SysReg{0: virt.CR0, 3: virt.CR3, 4: virt.CR4}[c.cr]
		old, rip := g.HV.Get(reg), r.RIP
		r.R9 = c.x
		ev := g.does(virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{CR: c.cr, Write: true, GPR: 9}})
		switch {
		case g.Domain.Ended():
			t.Errorf("%s ends the domain: %s", c.name, g.Domain.Failure())
		case c.want == 0 && (!faulted(ev, virt.VectorGP) || g.HV.Get(reg) != old || r.RIP != rip):
			t.Errorf("%s: %v, register %#x, RIP %#x: want #GP", c.name, ev, g.HV.Get(reg), r.RIP)
		case c.want != 0 && (ev != nil || g.HV.Get(reg) != c.want || r.RIP == rip || g.hv.Flushes.Load() == 0):
			t.Errorf("%s: %v, register %#x, RIP %#x, %d flushes", c.name, ev, g.HV.Get(reg), r.RIP, g.hv.Flushes.Load())
		}
	}
}

func TestModeSwitches(t *testing.T) {
	g := newGuest(t)
	domaintest.Protected(g.VCPU)
	r := g.HV.Regs()
	mov := func(cr uint8, x uint64) []virt.Event {
		r.RAX = x
		return g.does(virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{CR: cr, Write: true}})
	}
	if ev := mov(4, 0xffffffff_00000000|virt.CR4PAE); ev != nil || g.HV.Get(virt.CR4) != virt.CR4PAE {
		t.Errorf("a MOV of 32 bits has %#x in CR4 %v", g.HV.Get(virt.CR4), ev)
	}
	if err := g.HV.Set(virt.EFER, virt.EFERLME); err != nil {
		t.Fatal(err)
	}
	if ev := mov(0, virt.CR0PG|virt.CR0PE); ev != nil || g.HV.Get(virt.EFER) != virt.EFERLME|virt.EFERLMA {
		t.Errorf("into long mode: EFER %#x %v", g.HV.Get(virt.EFER), ev)
	}
	if ev := mov(0, virt.CR0PE); ev != nil || g.HV.Get(virt.EFER) != virt.EFERLME {
		t.Errorf("out of it: EFER %#x %v", g.HV.Get(virt.EFER), ev)
	}
	op := func(o virt.CROp, x uint64) uint64 {
		if ev := g.does(virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{Write: true, Op: o, Value: x}}); ev != nil {
			t.Errorf("operation %d: %v", o, ev)
		}
		return g.HV.Get(virt.CR0)
	}
	if x := op(virt.CRLmsw, 0xfffe); x != 0x1f { // PE stays; only four bits
		t.Errorf("LMSW: CR0 %#x", x)
	}
	if x := op(virt.CRClts, 0); x != 0x17 {
		t.Errorf("CLTS: CR0 %#x", x)
	}
	if mov(0, 0); g.HV.Get(virt.CR0) != 0x10 {
		t.Errorf("real mode: CR0 %#x", g.HV.Get(virt.CR0))
	}
	if op(virt.CRLmsw, 1); g.HV.Get(virt.CR0) != 0x11 {
		t.Errorf("LMSW of PE: CR0 %#x", g.HV.Get(virt.CR0))
	}
	if g.Domain.Ended() {
		t.Error(g.Domain.Failure())
	}
	if g.does(virt.Exit{Reason: virt.ReasonInvalidState, Code: ^uint64(0)}); !g.Domain.Ended() {
		t.Error("a state that no processor enters: the domain goes on")
	}
}
