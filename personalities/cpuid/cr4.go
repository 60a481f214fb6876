package cpuid

import "nidus/kernel/virt"

// CR4 returns the bits of CR4 whose features the policy offers (APM vol. 2, 3.1.3).
func (p *Policy) CR4() uint64 {
	l1, l7 := p.Leaf(1, 0), p.Leaf(7, 0)
	x := uint64(virt.CR4Basic)
	for _, f := range [...]struct {
		word, bit uint32
		cr4       uint64
	}{
		{l1.C, 17, virt.CR4PCIDE}, {l1.C, 26, virt.CR4OSXSAVE}, {l7.C, 2, virt.CR4UMIP},
		{l7.B, 0, virt.CR4FSGSBASE}, {l7.B, 7, virt.CR4SMEP}, {l7.B, 20, virt.CR4SMAP},
	} {
		if f.word>>f.bit&1 != 0 {
			x |= f.cr4
		}
	}
	return x
}
