package cpuid

import (
	"testing"
)

// everything is a host that has every feature there ever was.
func everything(vendor [3]uint32) Host {
	return func(leaf, sub uint32) Regs {
		switch leaf {
		case 0:
			return Regs{0x20, vendor[0], vendor[1], vendor[2]}
		case 0x80000000:
			return Regs{A: 0x80000028}
		case 0x80000008:
			return Regs{0x003039ff&^0xff | 52, all, all, all}
		}
		return Regs{all, all, all, all}
	}
}

// least is a host with nothing but 64-bit mode.
func least(leaf, sub uint32) Regs {
	switch leaf {
	case 0:
		return Regs{1, intel[0], intel[1], intel[2]}
	case 0x80000000:
		return Regs{A: 0x80000008}
	case 0x80000001:
		return Regs{D: extLM | 1<<11}
	case 1:
		return Regs{0x600, 0x07100800, 1<<28 | 1<<12, 0x0f8bfbff}
	}
	return Regs{}
}

var (
	intel = [3]uint32{0x756e6547, 0x6c65746e, 0x49656e69}
	amd   = [3]uint32{0x68747541, 0x444d4163, 0x69746e65}
)

func config() Config {
	return Config{VCPUs: 16, DomID: 7, PhysBits: 40, TSCKHz: 2_095_078, TSCMode: TSCNeverEmulate,
		TSCReliable: true, TSCInvariant: true, TSCDeadline: true, XenMajor: 4, XenMinor: 17}
}

func mustNew(t testing.TB, h Host, c Config) *Policy {
	t.Helper()
	p, err := New(h, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNeverOffered(t *testing.T) {
	v := VCPUInfo{ID: 3, APICEnabled: true, OSXSAVE: true, XCR0: ^uint64(0)}
	for _, vendor := range [][3]uint32{intel, amd} {
		p := mustNew(t, everything(vendor), config())
		for _, x := range []struct {
			name      string
			leaf, sub uint32
			reg       int
			bit       uint
		}{
			{"MONITOR", 1, 0, 2, 3}, {"VMX", 1, 0, 2, 5}, {"SMX", 1, 0, 2, 6}, {"EIST", 1, 0, 2, 7}, {"TM2", 1, 0, 2, 8},
			{"PDCM", 1, 0, 2, 15}, {"DCA", 1, 0, 2, 18}, {"DTES64", 1, 0, 2, 2}, {"DS", 1, 0, 3, 21}, {"ACPI", 1, 0, 3, 22},
			{"PSN", 1, 0, 3, 18}, {"TM", 1, 0, 3, 29}, {"RTM", 7, 0, 1, 11}, {"HLE", 7, 0, 1, 4}, {"SGX", 7, 0, 1, 2},
			{"AVX512F", 7, 0, 1, 16}, {"PT", 7, 0, 1, 25}, {"MPX", 7, 0, 1, 14}, {"PKU", 7, 0, 2, 3}, {"WAITPKG", 7, 0, 2, 5},
			{"CET", 7, 0, 2, 7}, {"LA57", 7, 0, 2, 16}, {"IBRS", 7, 0, 3, 26}, {"ARCH_CAP", 7, 0, 3, 29}, {"AMX", 7, 0, 3, 24},
			{"XSAVES", 0xd, 1, 0, 3}, {"SVM", 0x80000001, 0, 2, 2}, {"IBS", 0x80000001, 0, 2, 10}, {"SKINIT", 0x80000001, 0, 2, 12},
			{"PERFCTR", 0x80000001, 0, 2, 23}, {"MWAITX", 0x80000001, 0, 2, 29},
			{"STIBP", 7, 0, 3, 27}, {"SSBD", 7, 0, 3, 31}, {"IBRS", 0x80000008, 0, 1, 14}, {"STIBP", 0x80000008, 0, 1, 15}, {"SSBD", 0x80000008, 0, 1, 24},
		} {
			a, b, c, d := p.CPUID(v, x.leaf, x.sub)
			if [4]uint32{a, b, c, d}[x.reg]>>x.bit&1 != 0 {
				t.Errorf("%s is offered", x.name)
			}
		}
		if _, ebx, _, _ := p.CPUID(v, 0x80000008, 0); ebx&ebxIBPB != 0 != (vendor == amd) {
			t.Errorf("%v: IBPB %v", vendor, ebx&ebxIBPB != 0)
		}
		for _, leaf := range []uint32{3, 5, 0xa, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x20, 0x8000000a, 0x8000001b, 0x8000001c, 0x8000001f, 0x40000006, 0x40000100, ^uint32(0)} {
			for sub := range uint32(3) {
				if a, b, c, d := p.CPUID(v, leaf, sub); a|b|c|d != 0 {
					t.Errorf("leaf %#x.%d: %#x %#x %#x %#x", leaf, sub, a, b, c, d)
				}
			}
		}
	}
}

func TestDynamic(t *testing.T) {
	for _, vendor := range [][3]uint32{intel, amd} {
		p := mustNew(t, everything(vendor), config())
		v := VCPUInfo{ID: 5, APICEnabled: true, OSXSAVE: true, XCR0: 7}
		_, b, c, d := p.CPUID(v, 1, 99)
		if b>>24 != 5 || b>>16&0xff != 16 || c&ecxOSXSAVE == 0 || c&ecxX2APIC == 0 || c&ecxHypervisor == 0 || c&ecxTSCDeadline == 0 || d&edxAPIC == 0 || d&edxHTT == 0 {
			t.Errorf("leaf 1: %#x %#x %#x", b, c, d)
		}
		if _, _, c, d := p.CPUID(VCPUInfo{}, 1, 0); c&ecxOSXSAVE != 0 || d&edxAPIC != 0 {
			t.Error("OSXSAVE and APIC don't follow CR4 and IA32_APIC_BASE")
		}
		for xcr0, want := range map[uint64]uint32{1: 576, 3: 576, 7: 832, ^uint64(0): 832} {
			v.XCR0 = xcr0
			if a, b, c, d := p.CPUID(v, 0xd, 0); a != 7 || b != want || c != 832 || d != 0 {
				t.Errorf("XCR0 %#x: %d %d %d %d", xcr0, a, b, c, d)
			}
			if a, b, _, _ := p.CPUID(v, 0xd, 1); a != 7 || b != want {
				t.Errorf("XCR0 %#x: compacted %d %d", xcr0, a, b)
			}
		}
		if a, b, c, _ := p.CPUID(v, 0xd, 2); a != 256 || b != 576 || c != 0 {
			t.Error("leaf 0xd.2")
		}
		if a, b, c, d := p.CPUID(v, 0xb, 0); a != 0 || b != 1 || c != 0x100 || d != 5 {
			t.Errorf("leaf 0xb.0: %d %d %#x %d", a, b, c, d)
		}
		if a, b, c, d := p.CPUID(v, 0xb, 1); a != 4 || b != 16 || c != 0x201 || d != 5 {
			t.Errorf("leaf 0xb.1: %d %d %#x %d", a, b, c, d)
		}
		if a, b, c, d := p.CPUID(v, 0xb, 2); a|b != 0 || c != 2 || d != 5 {
			t.Errorf("leaf 0xb.2: %d %d %#x %d", a, b, c, d)
		}
		if a, _, _, _ := p.CPUID(v, 0x80000008, 0); a != 40|48<<8 {
			t.Errorf("address widths %#x", a)
		}
		if vendor == amd {
			if a, b, c, _ := p.CPUID(v, 0x8000001e, 0); a != 5 || b != 5 || c != 0 {
				t.Errorf("leaf 0x8000001e: %d %d %d", a, b, c)
			}
			if _, _, c, _ := p.CPUID(v, 0x80000008, 0); c != 4<<12|15 {
				t.Errorf("core count %#x", c)
			}
		} else if a, _, _, _ := p.CPUID(v, 4, 0); a>>26 != 15 || a>>14&0xfff != 0 {
			t.Errorf("leaf 4: %#x", a)
		}
		if n := testing.AllocsPerRun(100, func() { p.CPUID(v, 1, 0) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestXenLeaves(t *testing.T) {
	c := config()
	p := mustNew(t, everything(amd), c)
	v := VCPUInfo{ID: 2}
	for _, x := range []struct {
		leaf, sub uint32
		want      Regs
	}{
		{0x40000000, 0, Regs{0x40000010, 0x566e6558, 0x65584d4d, 0x4d4d566e}},
		{0x40000001, 0, Regs{A: 4<<16 | 17}},
		{0x40000002, 0, Regs{A: 1, B: 0x40000000}},
		{0x40000003, 0, Regs{A: 6, B: 2, C: 2_095_078}},
		{0x40000003, 2, Regs{A: 2_095_078}},
		{0x40000003, 3, Regs{}},
		{0x40000004, 0, Regs{A: 0x18, B: 2, C: 7}},
		{0x40000004, 1, Regs{A: 0x18, B: 2, C: 7}},
		{0x40000005, 0, Regs{}},
		{0x40000010, 0, Regs{A: 2_095_078, B: 100_000}},
		{0x15, 0, Regs{A: 100_000, B: 2_095_078, C: 100_000_000}},
		{0x16, 0, Regs{A: 2095, B: 2095, C: 100}},
		{0x80000007, 0, Regs{D: 1 << 8}},
	} {
		a, b, cc, d := p.CPUID(v, x.leaf, x.sub)
		if (Regs{a, b, cc, d}) != x.want {
			t.Errorf("leaf %#x.%d: %#x, want %#x", x.leaf, x.sub, Regs{a, b, cc, d}, x.want)
		}
	}
	if _, _, mul, shift := p.CPUID(v, 0x40000003, 1); mul < 1<<31 || int32(shift) != -1 {
		t.Errorf("scale %#x shift %d", mul, int32(shift))
	}
	c.UpcallVector, c.TSCReliable, c.TSCInvariant, c.TSCDeadline, c.TSCEmulated = true, false, false, false, true
	p = mustNew(t, everything(amd), c)
	if p.Leaf(xenHVM, 0).A != 0x58 || p.Leaf(0x80000007, 0).D != 0 || p.Leaf(1, 0).C&ecxTSCDeadline != 0 || p.Leaf(xenTime, 0).A != 5 {
		t.Error("the configuration doesn't show")
	}
}

func TestLeastHost(t *testing.T) {
	c := config()
	c.VCPUs = 1
	p := mustNew(t, least, c)
	v := VCPUInfo{APICEnabled: true, OSXSAVE: true, XCR0: 7}
	if _, b, cc, d := p.CPUID(v, 1, 0); cc != ecxX2APIC|ecxHypervisor|ecxTSCDeadline || d&edxHTT != 0 || b>>16 != 1 {
		t.Errorf("leaf 1: %#x %#x %#x: FMA and AVX need XSAVE", b, cc, d)
	}
	for sub := range uint32(4) {
		if a, b, c, d := p.CPUID(v, 0xd, sub); a|b|c|d != 0 {
			t.Errorf("leaf 0xd.%d without XSAVE", sub)
		}
	}
	if a, _, _, _ := p.CPUID(v, 0x80000008, 0); a != 36|48<<8 {
		t.Errorf("address widths %#x", a)
	}
	if p.MaxExt != 0x80000008 || p.Leaf(0x80000021, 0) != (Regs{}) {
		t.Error("leaves that the host doesn't have")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no vcpus": func(c *Config) { c.VCPUs = 0 }, "too many": func(c *Config) { c.VCPUs = MaxVCPUs + 1 },
		"no TSC": func(c *Config) { c.TSCKHz = 0 }, "narrow": func(c *Config) { c.PhysBits = 31 },
		"wide": func(c *Config) { c.PhysBits = 53 }, "shift": func(c *Config) { c.APICIDShift = 2 },
	} {
		c := config()
		spoil(&c)
		if _, err := New(least, c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := New(func(l, s uint32) Regs { return Regs{} }, config()); err == nil {
		t.Error("a 32-bit host taken")
	}
	p := mustNew(t, least, config())
	p.Count = maxLeaves + 1
	if p.Validate() == nil {
		t.Error("a bad count taken")
	}
	p.CPUID(VCPUInfo{}, 1, 0) // and harmless
}

func FuzzCPUID(f *testing.F) {
	p := mustNew(f, everything(amd), config())
	f.Add(uint32(1), uint32(0), uint32(1), uint64(7))
	f.Add(uint32(0xb), uint32(0xffffffff), uint32(0xffffffff), uint64(1))
	f.Fuzz(func(t *testing.T, leaf, sub, id uint32, xcr0 uint64) {
		a, _, c, d := p.CPUID(VCPUInfo{ID: id, XCR0: xcr0}, leaf, sub)
		if leaf > maxBasic && leaf < xenBase && a|d|c != 0 {
			t.Fatalf("leaf %#x beyond the end: %#x", leaf, a)
		}
	})
}

// TestHide: what the host's boot options switch off is not offered.
func TestHide(t *testing.T) {
	for _, hide := range []uint32{0, SMEP, SMAP, SMEP | SMAP} {
		c := config()
		c.Hide7B = hide
		before, after := mustNew(t, everything(amd), config()).Leaf(7, 0), mustNew(t, everything(amd), c).Leaf(7, 0)
		if before.B&(SMEP|SMAP) != SMEP|SMAP || after.B != before.B&^hide || after.A != before.A || after.C != before.C {
			t.Errorf("%#x hidden: %#x of %#x", hide, after, before)
		}
	}
}
