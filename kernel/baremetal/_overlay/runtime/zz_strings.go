package runtime

import "internal/cpu"

// nidusSlowStrings makes memclr do without REP STOS, and memmove copy by words of 8 bytes.
func nidusSlowStrings() {
	cpu.X86.HasERMS = false
	memmoveBits |= 4
}
