package pvcpu

import (
	"nidus/kernel/virt/insn"
	"nidus/personalities/emulate"
)

// lmsw carries out LMSW with the operand v. It sets PE, MP, EM and TS, and can't clear PE
// (APM vol. 3).
func (c *CPU) lmsw(v uint64) bool {
	const bits = 0xe
	return c.writeCR(0, c.cr0()&^bits|v&bits)
}

// lmswMemory carries out LMSW with an operand in memory. What reads that is MOVZX EAX of the
// same operand: the same bytes but for the opcode and the register in ModRM.
func (c *CPU) lmswMemory(code []byte, p prefix, in insn.Insn, bits int) (done bool, err error) {
	var load [insn.MaxLen]byte
	n := copy(load[:], code[:in.Len])
	if p.len > 0 && bits == 64 {
		if rex := &load[p.len-1]; *rex&0xf0 == 0x40 {
			*rex &^= 4 // R, which would make it R8
		}
	}
	op := load[p.len:]
	op[1], op[2] = 0xb7, op[2]&^0x38
	s := c.stepper(bits)
	if _, err := emulate.Step(s, load[:n]); err != nil {
		return c.accessFault(err)
	}
	if rax := s.Regs[0]; !c.lmsw(rax) {
		return false, nil
	}
	return true, c.skip(n, bits)
}
