//go:build tamago

package core

import (
	"nidus/kernel/baremetal"
	"nidus/personalities/cpuid"
)

// hostCPUID executes CPUID.
func hostCPUID(leaf, sub uint32) cpuid.Regs {
	a, b, c, d := baremetal.CPUID(leaf, sub)
	return cpuid.Regs{A: a, B: b, C: c, D: d}
}
