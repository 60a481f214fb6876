package pv

import (
	"slices"
	"testing"

	"nidus/kernel/virt"
	"nidus/mm"
)

// onCPU is a processor whose entries come back at once.
type onCPU struct {
	Memory
	n       uint64
	entered int
}

func (p *onCPU) cpu() uint64 { return p.n }
func (p *onCPU) enter(c *context) {
	p.entered++
	c.vec = vecSyscall
}

// TestKept: a vcpu's page tables are in one CPU at most, and in none that keeps them for a
// thread which is elsewhere once they are to change, to go, or to be forgotten.
func TestKept(t *testing.T) {
	c := new(context)
	own := address(c)
	begin := func(kept map[uint64]uint64, on uint64) (*vcpu, *onCPU) {
		p := &onCPU{n: on}
		p.kept = kept
		simulated = p
		*c = context{}
		m := &Machine{gdt: make([][2]mm.MFN, 4)}
		return &vcpu{m: m, ctx: c, tables: new([512]uint64), lastCPU: 2, fpu: make([]byte, 512)}, p
	}
	defer func() { simulated = absent{} }()
	var e virt.Exit
	for name, x := range map[string]struct {
		kept map[uint64]uint64
		on   uint64
		do   func(v *vcpu)
		want []uint64
	}{
		"it moves":                       {map[uint64]uint64{2: own}, 1, func(v *vcpu) { v.Run(&e) }, []uint64{2}},
		"it comes back":                  {map[uint64]uint64{2: own}, 2, func(v *vcpu) { v.Run(&e) }, nil},
		"it moves, another's are there":  {map[uint64]uint64{2: own + 0x1000}, 1, func(v *vcpu) { v.Run(&e) }, nil},
		"other page tables":              {map[uint64]uint64{2: own}, 1, func(v *vcpu) { v.SetRoot(7, false) }, []uint64{2}},
		"none":                           {map[uint64]uint64{2: own}, 1, func(v *vcpu) { v.SetRoot(0, false) }, []uint64{2}},
		"the end":                        {map[uint64]uint64{2: own}, 1, func(v *vcpu) { v.Leave() }, []uint64{2}},
		"other page tables, none kept":   {nil, 1, func(v *vcpu) { v.SetRoot(7, false) }, nil},
		"something is taken out of them": {map[uint64]uint64{2: own}, 1, func(v *vcpu) { v.RequestFlush() }, []uint64{2}},
		"not of these":                   {map[uint64]uint64{3: own, 2: 1}, 1, func(v *vcpu) { v.RequestFlush() }, nil},
	} {
		v, p := begin(x.kept, x.on)
		x.do(v)
		if !slices.Equal(p.drops, x.want) {
			t.Errorf("%s: asked CPUs %d", name, p.drops)
		}
	}
	v, p := begin(map[uint64]uint64{2: own}, 1)
	if why := v.loop(true); why != stopMoved || p.entered != 0 || v.ctx.running != 0 {
		t.Errorf("elsewhere: loop says %d after %d entries", why, p.entered)
	}
	p.deaf = true
	if v.FlushPending() {
		t.Error("a flush waits that nobody asked for")
	}
	v.RequestFlush()
	if !v.FlushPending() {
		t.Error("the CPU keeps stale page tables, and nobody waits")
	}
	clear(p.kept)
	if v.FlushPending() {
		t.Error("waits for a CPU that keeps nothing")
	}
}
