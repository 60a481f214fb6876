// Package insn recognizes the instructions on which a guest exits: which one it
// is, how long it is, and its operands where a processor without decode assists
// doesn't tell them.
//
// Reference: AMD64 APM volume 3 (24594), chapter 1 and appendix A. Rare forms
// go to golang.org/x/arch/x86/x86asm.
package insn

import (
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// MaxLen is how long an instruction can be.
const MaxLen = 15

// ErrShort says that more bytes are needed.
var ErrShort = errors.New("instruction incomplete")

// ErrInvalid says that the bytes are no instruction.
var ErrInvalid = errors.New("not an instruction")

// Op is an instruction that this package tells apart.
type Op uint8

// The instructions.
const (
	Other Op = iota
	CPUID
	HLT
	RDTSC
	RDTSCP
	RDMSR
	WRMSR
	RDPMC
	INVD
	WBINVD
	VMCALL
	VMMCALL
	XSETBV
	MONITOR
	MWAIT
	PAUSE
	IN
	OUT
	INS
	OUTS
	MovToCR
	MovFromCR
	MovToDR
	MovFromDR
	CLTS
	LMSW
	SMSW
	INVLPG
	VirtInsn // VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA
)

// Insn is a recognized instruction.
type Insn struct {
	Op  Op
	Len uint8
	// Reg is the control or debug register of a MOV, GPR the general one; GPR
	// is that of LMSW and SMSW as well.
	Reg, GPR uint8
	// Memory says that LMSW's or SMSW's operand is in memory.
	Memory bool
	// Rep says that there is a REP prefix.
	Rep bool
}

// Decode recognizes the first instruction in code, which runs in code of 16, 32
// or 64 bits. The error wraps ErrShort or ErrInvalid. It does not allocate
// unless it fails or the instruction is Other.
func Decode(code []byte, bits int) (Insn, error) {
	if len(code) > MaxLen {
		code = code[:MaxLen]
	}
	var in Insn
	var rex byte
	i := 0
prefixes:
	for ; i < len(code); i++ {
		switch b := code[i]; {
		case b == 0xf3:
			in.Rep, rex = true, 0
		case b == 0xf2, b == 0x66, b == 0x67, b == 0xf0, b == 0x26, b == 0x2e, b == 0x36, b == 0x3e, b == 0x64, b == 0x65:
			rex = 0
		case bits == 64 && b&0xf0 == 0x40:
			rex = b // it counts only right before the opcode
		default:
			break prefixes
		}
	}
	if i == len(code) {
		return Insn{}, short(code)
	}
	done := func(op Op, n int) (Insn, error) {
		if i+n > len(code) {
			return Insn{}, short(code)
		}
		in.Op, in.Len = op, uint8(i+n)
		return in, nil
	}
	switch code[i] {
	case 0xf4:
		return done(HLT, 1)
	case 0x90:
		if in.Rep && rex&1 == 0 {
			return done(PAUSE, 1)
		}
	case 0x6c, 0x6d:
		return done(INS, 1)
	case 0x6e, 0x6f:
		return done(OUTS, 1)
	case 0xe4, 0xe5:
		return done(IN, 2)
	case 0xe6, 0xe7:
		return done(OUT, 2)
	case 0xec, 0xed:
		return done(IN, 1)
	case 0xee, 0xef:
		return done(OUT, 1)
	case 0x0f:
		if i+1 == len(code) {
			return Insn{}, short(code)
		}
		switch code[i+1] {
		case 0xa2:
			return done(CPUID, 2)
		case 0x31:
			return done(RDTSC, 2)
		case 0x32:
			return done(RDMSR, 2)
		case 0x30:
			return done(WRMSR, 2)
		case 0x33:
			return done(RDPMC, 2)
		case 0x08:
			return done(INVD, 2)
		case 0x09:
			return done(WBINVD, 2)
		case 0x06:
			return done(CLTS, 2)
		case 0x20, 0x21, 0x22, 0x23:
			return movSys(in, code, i, rex)
		case 0x01:
			if i+2 == len(code) {
				return Insn{}, short(code)
			}
			if m := code[i+2]; m>>6 == 3 {
				return group7(in, m, i, rex)
			}
		}
	}
	return slow(in, code, i, bits)
}

// movSys decodes MOV to and from control and debug registers; ModRM's mod
// field is ignored there (APM vol. 3, MOV CRn).
func movSys(in Insn, code []byte, i int, rex byte) (Insn, error) {
	if i+3 > len(code) {
		return Insn{}, short(code)
	}
	in.Op = [4]Op{MovFromCR, MovFromDR, MovToCR, MovToDR}[code[i+1]-0x20]
	m := code[i+2]
	in.Reg = m>>3&7 | rex<<1&8
	in.GPR = m&7 | rex<<3&8
	if (in.Op == MovFromCR || in.Op == MovToCR) && in.Reg < 8 {
		for _, b := range code[:i] {
			if b == 0xf0 { // LOCK MOV CR0 is MOV CR8
				in.Reg |= 8
			}
		}
	}
	in.Len = uint8(i + 3)
	return in, nil
}

// group7 decodes 0F 01 with a register form of ModRM.
func group7(in Insn, m byte, i int, rex byte) (Insn, error) {
	in.Len = uint8(i + 3)
	switch m {
	case 0xc1:
		in.Op = VMCALL
	case 0xd9:
		in.Op = VMMCALL
	case 0xc8:
		in.Op = MONITOR
	case 0xc9:
		in.Op = MWAIT
	case 0xd1:
		in.Op = XSETBV
	case 0xf9:
		in.Op = RDTSCP
	case 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf:
		in.Op = VirtInsn
	default:
		switch m >> 3 & 7 {
		case 4:
			in.Op, in.GPR = SMSW, m&7|rex<<3&8
		case 6:
			in.Op, in.GPR = LMSW, m&7|rex<<3&8
		}
	}
	return in, nil
}

// slow lets x86asm find the length, of the memory forms and of all else.
func slow(in Insn, code []byte, i, bits int) (Insn, error) {
	x, err := x86asm.Decode(code, bits)
	switch {
	case errors.Is(err, x86asm.ErrTruncated):
		return Insn{}, short(code)
	case err != nil:
		return Insn{}, fmt.Errorf("%w: % x: %v", ErrInvalid, code, err)
	case x.Op == 0 || x.Len <= i: // x86asm returns a byte of what is cut off
		return Insn{}, short(code)
	case x.Len > len(code):
		return Insn{}, fmt.Errorf("%w: % x: length %d", ErrInvalid, code, x.Len)
	}
	in.Op, in.Len = Other, uint8(x.Len)
	switch x.Op {
	case x86asm.INVLPG:
		in.Op = INVLPG
	case x86asm.LMSW:
		in.Op, in.Memory = LMSW, true
	case x86asm.SMSW:
		in.Op, in.Memory = SMSW, true
	}
	return in, nil
}

func short(code []byte) error {
	if len(code) >= MaxLen {
		return fmt.Errorf("%w: % x: longer than %d bytes", ErrInvalid, code, MaxLen)
	}
	return fmt.Errorf("%w: %d bytes: % x", ErrShort, len(code), code)
}
