//go:build !tamago

package core

import "nidus/personalities/cpuid"

// hostCPUID is a processor for tests: enough of leaf 1 and 0x80000001 for 64-bit
// guests.
func hostCPUID(leaf, sub uint32) cpuid.Regs {
	switch leaf {
	case 0:
		return cpuid.Regs{A: 0xd, B: 0x68747541, C: 0x444d4163, D: 0x69746e65}
	case 1:
		return cpuid.Regs{A: 0x800f12, C: 0x00802009, D: 0x078bfbff}
	case 0x80000000:
		return cpuid.Regs{A: 0x80000008, B: 0x68747541, C: 0x444d4163, D: 0x69746e65}
	case 0x80000001:
		return cpuid.Regs{C: 0x7, D: 0x2c100800}
	case 0x80000008:
		return cpuid.Regs{A: 0x3028}
	}
	return cpuid.Regs{}
}
