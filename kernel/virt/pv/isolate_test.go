package pv

import (
	"testing"

	"nidus/kernel/virt"
	"nidus/mm"
)

// isolating is a processor on whose isolated root guests run, until one has the exit that is due.
type isolating struct {
	Memory
	t       *testing.T
	exits   []func(*context)
	entries int
}

const (
	isolatedMFN = 7
	guestMFN    = 9
	// What the entry code has in the hypervisor's slots of the isolated root.
	trampoline = 0x1234_5003
)

func (p *isolating) enter(c *context) {
	own, real := p.Roots[isolatedMFN], p.root(c.cr3)
	if c.isolated != isolatedMFN<<mm.PageShift {
		p.t.Errorf("entry %d with CR3 %#x", p.entries, c.isolated)
	}
	for i := range own {
		want := real[i]
		if i >= 256 && i < 272 && i != 256 && i != 260 {
			want = 0
			if i == 261 {
				want = trampoline
			}
		}
		if own[i] != want {
			p.t.Errorf("entry %d: slot %d is %#x, not %#x", p.entries, i, own[i], want)
		}
	}
	exit := p.exits[p.entries]
	p.entries++
	exit(c)
}

// TestIsolate: at each entry the isolated root has what the guest's root has then, and of the
// hypervisor's slots only its own.
func TestIsolate(t *testing.T) {
	for _, hostView := range []bool{false, true} {
		own, real := new([512]uint64), new([512]uint64)
		own[261] = trampoline
		for i := range real {
			real[i] = uint64(i)<<mm.PageShift | 0x67
		}
		fault := func(at uint64, then func()) func(*context) {
			return func(c *context) {
				c.vec, c.cr2 = virt.VectorPF, at
				own[at>>39&511] |= pteAccessed
				then()
			}
		}
		p := &isolating{t: t, Memory: Memory{Roots: map[mm.MFN]*[512]uint64{isolatedMFN: own, guestMFN: real}, Isolated: isolatedMFN}}
		p.exits = []func(*context){
			fault(5<<39, func() { real[5] = 0x5555_5007 }),           // another vcpu made the entry
			fault(0xffff_8880_0000_0000, func() { real[273] = 0x7 }), // above the hole too
			fault(5<<39, func() {}),                                  // the guest's fault
			fault(5<<39, func() { real[6] = 0 }),                     // the same: another entry
			fault(slotM2P<<39|0xffff<<48, func() { real[256] = 9 }),  // the hole is nobody's
			func(c *context) { c.vec, c.cr2 = vecSyscall, 5<<39; real[5] = 0 },
		}
		simulated = p
		defer func() { simulated = absent{} }()
		v := &vcpu{m: &Machine{gdt: make([][2]mm.MFN, 1)}, ctx: new(context), tables: new([512]uint64)}
		v.prepares, v.ctx.isolated, v.ctx.cr3 = true, 1, guestMFN<<mm.PageShift
		open := v.ctx.cr3
		if hostView {
			v.ctx.hostView, open = 1, 0
		}
		for i, want := range []int{3, 4, 5, 6} {
			real[1]++
			if why := v.loop(true); why != stopExit || p.entries != want || p.Open != open {
				t.Fatalf("exit %d: %d after %d entries, for root %#x", i, why, p.entries, p.Open)
			}
		}
	}
}
