//go:build tamago

package core

import (
	"nidus/kernel/cpu"
	"nidus/personalities/cpuid"
)

// hostCPUID executes CPUID.
func hostCPUID(leaf, sub uint32) cpuid.Regs {
	a, b, c, d := cpu.CPUID(leaf, sub)
	return cpuid.Regs{A: a, B: b, C: c, D: d}
}
