package cpuid

import "testing"

func TestPV(t *testing.T) {
	v := VCPUInfo{ID: 3, APICEnabled: true, XCR0: 7} // OSXSAVE is told before the guest sets it
	for _, pv32 := range []bool{false, true} {
		for _, vendor := range [][3]uint32{intel, amd} {
			c := config()
			c.PV, c.PV32 = true, pv32
			p := mustNew(t, everything(vendor), c)
			for _, x := range []struct {
				name      string
				leaf, sub uint32
				reg       int
				bit       uint
				want      bool
			}{
				{"MONITOR", 1, 0, 2, 3, false}, {"VMX", 1, 0, 2, 5, false}, {"PCID", 1, 0, 2, 17, false}, {"x2APIC", 1, 0, 2, 21, false},
				{"deadline", 1, 0, 2, 24, false}, {"VME", 1, 0, 3, 1, false}, {"PSE", 1, 0, 3, 3, false}, {"MTRR", 1, 0, 3, 12, false},
				{"PGE", 1, 0, 3, 13, false}, {"PSE36", 1, 0, 3, 17, false}, {"SMEP", 7, 0, 1, 7, false}, {"SMAP", 7, 0, 1, 20, false},
				{"INVPCID", 7, 0, 1, 10, false}, {"TSC_ADJUST", 7, 0, 1, 1, false}, {"UMIP", 7, 0, 2, 2, false}, {"PKU", 7, 0, 2, 3, false},
				{"SVM", 0x80000001, 0, 2, 2, false}, {"1 GiB", 0x80000001, 0, 3, 26, false}, {"PGE", 0x80000001, 0, 3, 13, false},
				{"TOPOEXT", 0x80000001, 0, 2, 22, false},
				{"hypervisor", 1, 0, 2, 31, true}, {"FXSR", 1, 0, 3, 24, true}, {"PAE", 1, 0, 3, 6, true}, {"XSAVE", 1, 0, 2, 26, true}, {"OSXSAVE", 1, 0, 2, 27, true},
				{"NX", 0x80000001, 0, 3, 20, true}, {"RDTSCP", 0x80000001, 0, 3, 27, true}, {"RDPID", 7, 0, 2, 22, true}, {"RDTSCP", 0x40000003, 0, 0, 2, true},
				{"LM", 0x80000001, 0, 3, 29, !pv32}, {"FSGSBASE", 7, 0, 1, 0, !pv32},
			} {
				a, b, c, d := p.CPUID(v, x.leaf, x.sub)
				if [4]uint32{a, b, c, d}[x.reg]>>x.bit&1 != 0 != x.want {
					t.Errorf("%s (32-bit %v): offered is not %v", x.name, pv32, x.want)
				}
			}
			if a, b, c, d := p.CPUID(v, 0xb, 1); a|b|c|d != 0 {
				t.Error("leaf 0xb is there")
			}
			if a, b, c, d := p.CPUID(v, 0x40000004, 0); a|b|c|d != 0 {
				t.Error("the leaf of HVM guests is there")
			}
			if a, _, _, _ := p.CPUID(v, 0x40000000, 0); a != 0x40000005 {
				t.Errorf("the last leaf is %#x", a)
			}
			if _, _, c, _ := p.CPUID(v, 0x40000002, 0); c != 1 {
				t.Errorf("features %#x", c)
			}
			if _, b, _, _ := p.CPUID(v, 0x40000005, 0); b != 52 {
				t.Errorf("%d bits of machine addresses", b)
			}
			if a, _, _, _ := p.CPUID(v, 0x80000008, 0); a&0xff != 52 {
				t.Errorf("%d bits of physical addresses", a&0xff)
			}
		}
	}
	c := config()
	c.NoXSAVE = true
	p := mustNew(t, everything(intel), c)
	if _, _, c, _ := p.CPUID(v, 1, 0); c&(ecxXSAVE|ecxOSXSAVE|1<<28) != 0 {
		t.Errorf("XSAVE or AVX is offered: %#x", c)
	}
}
