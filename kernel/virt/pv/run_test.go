package pv

import (
	"slices"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
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

// barrierFake notes what is done before each entry.
type barrierFake struct {
	processorFake
	on   uint64
	done []spec.Actions
}

func (p *barrierFake) cpu() uint64        { return p.on }
func (p *barrierFake) act(a spec.Actions) { p.done = append(p.done, a) }

// TestBarriers: vcpus of two domains take turns on two CPUs: a barrier comes with a change of domain
// only, VERW with each entry; and nothing on a processor that needs nothing.
func TestBarriers(t *testing.T) {
	for _, needs := range []bool{true, false} {
		p := &barrierFake{}
		simulated = p
		defer func() { simulated = absent{} }()
		m := &Machine{gdt: make([][2]mm.MFN, 2)}
		if needs {
			m.spec = spec.Identity{Ext8EBX: 1 << 12, Ext21EAX: 1 << 5}.Policy()
			m.mitigated = m.spec.Any()
		}
		a, b := &Area{domain: spec.NewDomain()}, &Area{domain: spec.NewDomain()}
		on := func(x *Area) *vcpu { return &vcpu{m: m, area: x, ctx: new(context), tables: new([512]uint64)} }
		a0, a1, b0 := on(a), on(a), on(b)
		for i, x := range []struct {
			v    *vcpu
			cpu  uint64
			ibpb bool
		}{
			{a0, 0, true}, {a0, 0, false}, {a1, 0, false}, {b0, 1, true}, {b0, 0, true}, {a1, 0, true}, {b0, 1, false}, {a0, 1, true},
		} {
			p.on, p.done = x.cpu, nil
			x.v.loop(true)
			want := []spec.Actions{spec.ClearBuffers}
			if x.ibpb {
				want[0] |= spec.Barrier
			}
			if !needs {
				want = nil
			}
			if !slices.Equal(p.done, want) {
				t.Errorf("needs %v, step %d: %v, not %v", needs, i, p.done, want)
			}
		}
	}
}
