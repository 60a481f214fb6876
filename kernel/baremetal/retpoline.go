//go:build tamago

package baremetal

import "nidus/kernel/cpu"

// retpolines are where the runtime's retpolines are, by the number of the register
// that has the target (asm_amd64.s); 0: there is none of that register.
var retpolines [16]uint64

// plainCalls makes the retpolines jumps. TCG executes no instruction ahead of another, whatever a guest
// trained, and to it a retpoline is two looks for the code that comes next instead of one.
//
// Preconditions: the stub's tables are in use, by which the text can be written; no other CPU runs.
func plainCalls() {
	if !cpu.UnderTCG() {
		return
	}
	for n, at := range retpolines {
		if at == 0 {
			continue
		}
		// JMP r64, FF /4 (Intel SDM vol. 2, JMP), with REX.B for R8 to R15
		code, ext := uint32(0xff|0xe0<<8), uint32(0x41)
		if n >= 8 {
			code = code<<8 | ext
		}
		st32(at, code+uint32(n&7)<<(8+n&8))
	}
}
