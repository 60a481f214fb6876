package spec

import (
	"math/rand/v2"
	"testing"
)

// machine is a processor by its registers; what isn't there is an error to read.
type machine struct {
	t    *testing.T
	cpus map[uint32][4]uint32
	msrs map[uint32]uint64
}

func (m machine) cpuid(leaf, sub uint32) (a, b, c, d uint32) {
	r, ok := m.cpus[leaf]
	if !ok || sub != 0 {
		m.t.Fatalf("CPUID %#x.%#x, which this processor doesn't have", leaf, sub)
	}
	return r[0], r[1], r[2], r[3]
}

func (m machine) rdmsr(msr uint32) uint64 {
	v, ok := m.msrs[msr]
	if !ok {
		m.t.Fatalf("RDMSR %#x, which this processor doesn't have", msr)
	}
	return v
}

const (
	intel = 0x756e6547
	amd   = 0x68747541
)

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name   string
		cpu    map[uint32][4]uint32
		msrs   map[uint32]uint64
		want   Policy
		string string
	}{
		{name: "QEMU's EPYC under TCG",
			cpu:    map[uint32][4]uint32{0: {0xd, amd}, 7: {}, 0x80000000: {0x8000001e}, 0x80000008: {}},
			string: "nothing: the processor offers none of IBPB, IBRS, STIBP, VERW"},
		{name: "an old one without the leaves",
			cpu:    map[uint32][4]uint32{0: {1, amd}, 0x80000000: {0x80000007}},
			string: "nothing: the processor offers none of IBPB, IBRS, STIBP, VERW"},
		{name: "Zen 1: IBPB alone",
			cpu:    map[uint32][4]uint32{0: {0xd, amd}, 7: {}, 0x80000000: {0x8000001f}, 0x80000008: {0, 1 << 12}},
			want:   Policy{OpenIBPB: true, switched: Barrier},
			string: "IBPB at a change of domain"},
		{name: "Zen 3: IBRS and STIBP are meant to stay on; VERW clears",
			cpu: map[uint32][4]uint32{0: {0x10, amd}, 7: {}, 0x80000000: {0x80000023},
				0x80000008: {0, 1<<12 | 1<<14 | 1<<15 | 1<<16 | 1<<17}, 0x80000021: {1 << 5}},
			want:   Policy{SpecCtrl: 3, OpenIBPB: true, switched: Barrier, always: ClearBuffers},
			string: "IBPB at a change of domain, IBRS, STIBP, VERW at entries"},
		{name: "Zen 2: IBRS would have to be written at each exit",
			cpu:    map[uint32][4]uint32{0: {0x10, amd}, 7: {}, 0x80000000: {0x80000020}, 0x80000008: {0, 1<<12 | 1<<14 | 1<<15}},
			want:   Policy{SpecCtrl: 2, OpenIBPB: true, switched: Barrier},
			string: "IBPB at a change of domain, STIBP"},
		{name: "Zen 4: automatic IBRS",
			cpu: map[uint32][4]uint32{0: {0x10, amd}, 7: {}, 0x80000000: {0x80000028},
				0x80000008: {0, 1<<12 | 1<<14 | 1<<15 | 1<<16}, 0x80000021: {1 << 8}},
			want:   Policy{SpecCtrl: 2, AutoIBRS: true, OpenIBPB: true, switched: Barrier},
			string: "IBPB at a change of domain, automatic IBRS, STIBP"},
		{name: "Skylake: MDS and L1TF, IBRS not enhanced",
			cpu:    map[uint32][4]uint32{0: {0x16, intel}, 7: {3: 1<<10 | 1<<26 | 1<<27 | 1<<28}, 0x80000000: {0x80000008}, 0x80000008: {}},
			want:   Policy{SpecCtrl: 2, switched: Barrier, always: FlushCache | ClearBuffers},
			string: "IBPB at a change of domain, STIBP, L1D flush at entries, VERW at entries"},
		{name: "Skylake as a guest of a hypervisor that flushes",
			cpu:    map[uint32][4]uint32{0: {0x16, intel}, 7: {3: 1<<10 | 1<<26 | 1<<27 | 1<<28 | 1<<29}, 0x80000000: {0x80000008}, 0x80000008: {}},
			msrs:   map[uint32]uint64{0x10a: 1 << 3},
			want:   Policy{SpecCtrl: 2, switched: Barrier, always: ClearBuffers},
			string: "IBPB at a change of domain, STIBP, VERW at entries"},
		{name: "Ice Lake: no L1TF, no MDS, but stale MMIO data",
			cpu:    map[uint32][4]uint32{0: {0x1b, intel}, 7: {3: 1<<10 | 1<<26 | 1<<27 | 1<<28 | 1<<29}, 0x80000000: {0x80000008}, 0x80000008: {}},
			msrs:   map[uint32]uint64{0x10a: 1<<0 | 1<<1 | 1<<3 | 1<<5 | 1<<8 | 1<<17},
			want:   Policy{SpecCtrl: 3, switched: Barrier, always: ClearBuffers},
			string: "IBPB at a change of domain, IBRS, STIBP, VERW at entries"},
		{name: "Sapphire Rapids: nothing at entries",
			cpu:    map[uint32][4]uint32{0: {0x20, intel}, 7: {3: 1<<10 | 1<<26 | 1<<27 | 1<<28 | 1<<29}, 0x80000000: {0x80000008}, 0x80000008: {}},
			msrs:   map[uint32]uint64{0x10a: 1<<0 | 1<<1 | 1<<3 | 1<<5 | 1<<8},
			want:   Policy{SpecCtrl: 3, switched: Barrier},
			string: "IBPB at a change of domain, IBRS, STIBP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine{t, c.cpu, c.msrs}
			got := Identify(m.cpuid, m.rdmsr).Policy()
			if got != c.want || got.String() != c.string {
				t.Errorf("got %+v %q\nwant %+v %q", got, got, c.want, c.string)
			}
			if got.Any() != (c.want.switched|c.want.always != 0) {
				t.Errorf("Any is %v", got.Any())
			}
		})
	}
}

// Whatever runs where: a vcpu that enters after another domain's gets a barrier,
// and one that follows its own domain's gets none.
func TestEnter(t *testing.T) {
	p := Policy{switched: Barrier, always: ClearBuffers}
	r := rand.New(rand.NewPCG(1, 2))
	var last [4]uint64
	var ids [3]uint64
	for i := range ids {
		ids[i] = NewDomain()
	}
	barriers := 0
	for i := range 10_000 {
		cpu, domain := r.Uint64N(4), ids[r.IntN(3)]
		a := p.Enter(cpu, domain)
		if want := last[cpu] != domain; a&Barrier != 0 != want || a&ClearBuffers == 0 || a&FlushCache != 0 {
			t.Fatalf("step %d: domain %d after %d on CPU %d: %b", i, domain, last[cpu], cpu, a)
		}
		if a&Barrier != 0 {
			barriers++
		}
		last[cpu] = domain
	}
	if barriers == 0 || barriers == 10_000 {
		t.Errorf("%d barriers", barriers)
	}
}

func TestMeltdown(t *testing.T) {
	for _, x := range []struct {
		id   Identity
		want bool
	}{
		{Identity{}, false}, {Identity{Intel: true}, true},
		{Identity{Intel: true, ArchCap: capNoL1TF}, false}, {Identity{Intel: true, ArchCap: ^uint64(capNoL1TF)}, true},
	} {
		if got := x.id.Meltdown(); got != x.want {
			t.Errorf("%+v: %v", x.id, got)
		}
	}
}
