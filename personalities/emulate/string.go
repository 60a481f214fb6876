package emulate

import (
	"golang.org/x/arch/x86/x86asm"

	"nidus/mm"
)

type stringOp struct {
	kind stringKind
	size int
}

type stringKind uint8

const (
	movs stringKind = iota
	stos
	lods
	ins
	outs
)

var stringOps = map[x86asm.Op]stringOp{
	x86asm.MOVSB: {movs, 1}, x86asm.MOVSW: {movs, 2}, x86asm.MOVSD: {movs, 4}, x86asm.MOVSQ: {movs, 8},
	x86asm.STOSB: {stos, 1}, x86asm.STOSW: {stos, 2}, x86asm.STOSD: {stos, 4}, x86asm.STOSQ: {stos, 8},
	x86asm.LODSB: {lods, 1}, x86asm.LODSW: {lods, 2}, x86asm.LODSD: {lods, 4}, x86asm.LODSQ: {lods, 8},
	x86asm.INSB: {ins, 1}, x86asm.INSW: {ins, 2}, x86asm.INSD: {ins, 4},
	x86asm.OUTSB: {outs, 1}, x86asm.OUTSW: {outs, 2}, x86asm.OUTSD: {outs, 4},
}

const (
	regAX = 0
	regCX = 1
	regDX = 2
	regSI = 6
	regDI = 7
)

// str runs a string instruction, up to MaxRep iterations. Registers move with
// each iteration, so that a fault is precise.
func (c *CPU) str(s stringOp) (done bool, err error) {
	if (s.kind == ins || s.kind == outs) && c.Ports == nil {
		return false, ErrUnsupported
	}
	// None of them compares: REPNE acts as REP.
	if !c.prefixed(x86asm.PrefixREP) && !c.prefixed(x86asm.PrefixREPN) {
		return true, c.iterate(s)
	}
	iterations := MaxRep
	if c.RFLAGS&flagTF != 0 { // each iteration traps (APM vol. 2, 13.1.4)
		iterations = 1
	}
	for range iterations {
		n := c.index(regCX)
		if n == 0 {
			return true, nil
		}
		if err := c.iterate(s); err != nil {
			return false, err
		}
		c.setIndex(regCX, n-1)
	}
	return c.index(regCX) == 0, nil
}

// index and setIndex access a register by the instruction's address size.
func (c *CPU) index(r int) uint64 { return c.Regs[r] & c.addrMask() }

func (c *CPU) setIndex(r int, v uint64) {
	c.setReg(operand{kind: isReg, reg: r, size: c.inst.AddrSize / 8}, v)
}

func (c *CPU) advance(r, size int) {
	step := uint64(size)
	if c.RFLAGS&flagDF != 0 {
		step = -step
	}
	c.setIndex(r, c.index(r)+step)
}

func (c *CPU) iterate(s stringOp) error {
	var from, to mm.GuestVirt
	var v uint64
	var err error
	if s.kind == movs || s.kind == lods || s.kind == outs {
		seg := DS
		if o := c.override(); o >= 0 {
			seg = o
		}
		if from, err = c.linear(seg, c.index(regSI), s.size); err != nil {
			return err
		}
		if v, err = c.readMem(from, s.size); err != nil {
			return err
		}
	}
	if s.kind == movs || s.kind == stos || s.kind == ins {
		if to, err = c.linear(ES, c.index(regDI), s.size); err != nil {
			return err
		}
	}
	port := uint16(c.Regs[regDX])
	switch s.kind {
	case lods:
		c.setReg(operand{kind: isReg, reg: regAX, size: s.size}, v)
	case outs:
		err = c.Ports.Out(port, s.size, uint32(v))
	case stos:
		err = c.writeMem(to, s.size, c.Regs[regAX])
	case ins:
		// A fault of the write after the read loses what the port gave:
		// look first whether the place can be reached.
		if _, err = c.readMem(to, s.size); err != nil {
			return err
		}
		var in uint32
		if in, err = c.Ports.In(port, s.size); err == nil {
			err = c.writeMem(to, s.size, uint64(in))
		}
	case movs:
		err = c.writeMem(to, s.size, v)
	}
	if err != nil {
		return err
	}
	if s.kind == movs || s.kind == lods || s.kind == outs {
		c.advance(regSI, s.size)
	}
	if s.kind == movs || s.kind == stos || s.kind == ins {
		c.advance(regDI, s.size)
	}
	return nil
}

// inout is IN and OUT.
func (c *CPU) inout() error {
	if c.Ports == nil {
		return ErrUnsupported
	}
	n := 1 // the port's argument
	if c.inst.Op == x86asm.OUT {
		n = 0
	}
	p, err := c.arg(n)
	if err != nil {
		return err
	}
	acc, err := c.arg(1 - n)
	if err != nil || acc.kind != isReg || acc.size > 4 {
		return ErrUnsupported
	}
	port, err := c.load(p)
	if err != nil {
		return err
	}
	if p.kind == isImm {
		port &= 0xff
	}
	if c.inst.Op == x86asm.OUT {
		v, _ := c.load(acc)
		return c.Ports.Out(uint16(port), acc.size, uint32(v))
	}
	v, err := c.Ports.In(uint16(port), acc.size)
	if err != nil {
		return err
	}
	c.setReg(acc, uint64(v))
	return nil
}
