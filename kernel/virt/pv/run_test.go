package pv

import (
	"testing"

	"nidus/kernel/virt"
	"nidus/mm"
)

// processorFake notes what is in the CPU's TSC_AUX at each entry, and comes back by SYSCALL.
type processorFake struct {
	Memory
	aux uint64
	at  []uint64
}

func (p *processorFake) setTSCAux(v uint64) { p.aux = v }
func (p *processorFake) enter(c *context) {
	p.at = append(p.at, p.aux)
	c.vec = vecSyscall
}

// TestTSCAux: each vcpu finds its own at every entry, whoever ran before; a processor without
// the register is left alone.
func TestTSCAux(t *testing.T) {
	for _, has := range []bool{true, false} {
		p := &processorFake{aux: 99}
		simulated = p
		defer func() { simulated = absent{} }()
		m := &Machine{features: virt.Features{TSCAux: has}, gdt: make([][2]mm.MFN, 1)}
		var vs []*vcpu
		for i := range 3 {
			v := &vcpu{m: m, ctx: new(context), tables: new([512]uint64)}
			if err := v.Set(virt.TSCAux, uint64(i)*5); err != nil {
				t.Fatal(err)
			}
			vs = append(vs, v)
		}
		for _, i := range []int{0, 1, 1, 2, 0} {
			if why := vs[i].loop(true); why != stopExit {
				t.Fatalf("vcpu %d: %d", i, why)
			}
		}
		if err := vs[0].Set(virt.TSCAux, 77); err != nil {
			t.Fatal(err)
		}
		vs[0].loop(true)
		want := []uint64{0, 5, 5, 10, 0, 77}
		for i, got := range p.at {
			if has && got != want[i] || !has && got != 99 {
				t.Errorf("RDTSCP there: %v; entry %d with %d", has, i, got)
			}
		}
		if len(p.at) != len(want) {
			t.Errorf("%d entries", len(p.at))
		}
	}
}
