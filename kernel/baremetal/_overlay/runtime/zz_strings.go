package runtime

import "internal/cpu"

// nidusSlowStrings makes memclr do without REP STOS.
func nidusSlowStrings() { cpu.X86.HasERMS = false }
