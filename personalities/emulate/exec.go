package emulate

import (
	"math/bits"

	"golang.org/x/arch/x86/x86asm"
)

// Status flags (SDM vol. 1, 3.4.3).
const (
	flagCF = 1 << 0
	flagPF = 1 << 2
	flagAF = 1 << 4
	flagZF = 1 << 6
	flagSF = 1 << 7
	flagTF = 1 << 8
	flagDF = 1 << 10
	flagOF = 1 << 11
	status = flagCF | flagPF | flagAF | flagZF | flagSF | flagOF
)

// exec carries out c.inst. done is false while a REP has iterations left.
func (c *CPU) exec() (done bool, err error) {
	if s, ok := stringOps[c.inst.Op]; ok {
		return c.str(s)
	}
	return true, c.single()
}

func (c *CPU) single() error {
	op := c.inst.Op
	if op == x86asm.IN || op == x86asm.OUT {
		return c.inout()
	}
	switch op {
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.ADD, x86asm.ADC, x86asm.SUB, x86asm.SBB,
		x86asm.AND, x86asm.OR, x86asm.XOR, x86asm.CMP, x86asm.TEST, x86asm.XCHG, x86asm.XADD, x86asm.CMPXCHG,
		x86asm.BT, x86asm.BTS, x86asm.BTR, x86asm.BTC:
	case x86asm.INC, x86asm.DEC, x86asm.NEG, x86asm.NOT:
		return c.unary()
	default:
		return ErrUnsupported
	}
	dst, err := c.arg(0)
	if err != nil {
		return err
	}
	src, err := c.arg(1)
	if err != nil {
		return err
	}
	if dst.kind == isImm {
		return ErrUnsupported
	}
	switch op {
	case x86asm.BT, x86asm.BTS, x86asm.BTR, x86asm.BTC:
		return c.bitTest(dst, src)
	}
	b, err := c.load(src)
	if err != nil {
		return err
	}
	if src.kind == isImm {
		b &= sizeMask(dst.size)
	}
	switch op {
	case x86asm.MOV, x86asm.MOVZX:
		return c.store(dst, b)
	case x86asm.MOVSX, x86asm.MOVSXD:
		return c.store(dst, signExtend(b, src.size))
	}
	a, err := c.load(dst)
	if err != nil {
		return err
	}
	switch op {
	case x86asm.XCHG, x86asm.XADD:
		v, flags := b, c.RFLAGS
		if op == x86asm.XADD {
			v, flags = c.add(a, b, 0, dst.size)
		}
		// Memory, which may fault, before the register. The register
		// operand of XADD on itself gets the sum: it is written last.
		if src.kind == isMem {
			dst, src, a, v = src, dst, v, a
		}
		if dst.kind == isMem {
			if err := c.store(dst, v); err != nil {
				return err
			}
			c.setReg(src, a)
		} else {
			c.setReg(src, a)
			c.setReg(dst, v)
		}
		c.RFLAGS = flags
		return nil
	case x86asm.CMPXCHG:
		acc := operand{kind: isReg, size: dst.size}
		old, _ := c.load(acc)
		_, flags := c.sub(old, a, 0, dst.size)
		v := a // a mismatch writes back what was there
		if a == old {
			v = b
		}
		if dst.kind == isMem || a == old {
			if err := c.store(dst, v); err != nil {
				return err
			}
		}
		if a != old {
			c.setReg(acc, a)
		}
		c.RFLAGS = flags
		return nil
	}
	carry := c.RFLAGS & flagCF
	var v, flags uint64
	switch op {
	case x86asm.ADD:
		v, flags = c.add(a, b, 0, dst.size)
	case x86asm.ADC:
		v, flags = c.add(a, b, carry, dst.size)
	case x86asm.SUB, x86asm.CMP:
		v, flags = c.sub(a, b, 0, dst.size)
	case x86asm.SBB:
		v, flags = c.sub(a, b, carry, dst.size)
	case x86asm.AND, x86asm.TEST:
		v, flags = c.logic(a&b, dst.size)
	case x86asm.OR:
		v, flags = c.logic(a|b, dst.size)
	case x86asm.XOR:
		v, flags = c.logic(a^b, dst.size)
	}
	if op != x86asm.CMP && op != x86asm.TEST {
		if err := c.store(dst, v); err != nil {
			return err
		}
	}
	c.RFLAGS = flags
	return nil
}

func (c *CPU) unary() error {
	dst, err := c.arg(0)
	if err != nil {
		return err
	}
	a, err := c.load(dst)
	if err != nil {
		return err
	}
	var v uint64
	flags := c.RFLAGS
	switch c.inst.Op {
	case x86asm.INC: // INC and DEC leave CF alone
		v, flags = c.add(a, 1, 0, dst.size)
		flags = flags&^flagCF | c.RFLAGS&flagCF
	case x86asm.DEC:
		v, flags = c.sub(a, 1, 0, dst.size)
		flags = flags&^flagCF | c.RFLAGS&flagCF
	case x86asm.NEG:
		v, flags = c.sub(0, a, 0, dst.size)
	case x86asm.NOT:
		v = ^a
	}
	if err := c.store(dst, v); err != nil {
		return err
	}
	c.RFLAGS = flags
	return nil
}

// result sets SF, ZF and PF.
func (c *CPU) result(v uint64, size int) uint64 {
	f := c.RFLAGS &^ status
	if v&sizeMask(size) == 0 {
		f |= flagZF
	}
	if v>>(8*size-1)&1 != 0 {
		f |= flagSF
	}
	if bits.OnesCount8(uint8(v))&1 == 0 {
		f |= flagPF
	}
	return f
}

func (c *CPU) logic(v uint64, size int) (uint64, uint64) { return v, c.result(v, size) }

func (c *CPU) add(a, b, carry uint64, size int) (v, f uint64) {
	sum, out := bits.Add64(a, b, carry)
	v = sum & sizeMask(size)
	f = c.result(v, size)
	if out != 0 || sum != v {
		f |= flagCF
	}
	return v, f | c.overflow((a^v)&(b^v), size) | (a^b^v)&flagAF
}

func (c *CPU) sub(a, b, borrow uint64, size int) (v, f uint64) {
	diff, out := bits.Sub64(a, b, borrow)
	v = diff & sizeMask(size)
	f = c.result(v, size)
	if out != 0 {
		f |= flagCF
	}
	return v, f | c.overflow((a^b)&(a^v), size) | (a^b^v)&flagAF
}

func (c *CPU) overflow(signs uint64, size int) uint64 {
	if signs>>(8*size-1)&1 != 0 {
		return flagOF
	}
	return 0
}

// bitTest is BT, BTS, BTR and BTC. A register's bit number reaches beyond a
// memory operand, in both directions.
func (c *CPU) bitTest(dst, src operand) error {
	n, err := c.load(src)
	if err != nil {
		return err
	}
	width := uint64(8 * dst.size)
	if dst.kind == isMem && src.kind == isReg {
		step := int64(signExtend(n, src.size)) >> bits.TrailingZeros64(width) * int64(dst.size)
		dst.addr, err = c.linear(dst.reg, (dst.imm+uint64(step))&c.addrMask(), dst.size)
		if err != nil {
			return err
		}
	}
	a, err := c.load(dst)
	if err != nil {
		return err
	}
	bit := uint64(1) << (n & (width - 1))
	flags := c.RFLAGS &^ flagCF
	if a&bit != 0 {
		flags |= flagCF
	}
	switch c.inst.Op {
	case x86asm.BTS:
		err = c.store(dst, a|bit)
	case x86asm.BTR:
		err = c.store(dst, a&^bit)
	case x86asm.BTC:
		err = c.store(dst, a^bit)
	}
	if err != nil {
		return err
	}
	c.RFLAGS = flags
	return nil
}
