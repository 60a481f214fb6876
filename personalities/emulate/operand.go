package emulate

import (
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"

	"nidus/mm"
)

// operand is a resolved register, memory place or constant.
type operand struct {
	kind kind
	reg  int  // number in Regs
	high bool // AH, CH, DH, BH
	size int  // bytes
	addr mm.GuestVirt
	imm  uint64
}

type kind uint8

const (
	isNone kind = iota
	isReg
	isMem
	isImm
)

// register places a general register of the decoder.
func register(r x86asm.Reg) (op operand, ok bool) {
	op.kind = isReg
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		op.reg, op.size = int(r-x86asm.AL), 1
	case r >= x86asm.AH && r <= x86asm.BH:
		op.reg, op.size, op.high = int(r-x86asm.AH), 1, true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		op.reg, op.size = int(r-x86asm.SPB)+4, 1
	case r >= x86asm.AX && r <= x86asm.R15W:
		op.reg, op.size = int(r-x86asm.AX), 2
	case r >= x86asm.EAX && r <= x86asm.R15L:
		op.reg, op.size = int(r-x86asm.EAX), 4
	case r >= x86asm.RAX && r <= x86asm.R15:
		op.reg, op.size = int(r-x86asm.RAX), 8
	default:
		return op, false
	}
	return op, true
}

// arg resolves argument n of the instruction.
func (c *CPU) arg(n int) (operand, error) {
	switch a := c.inst.Args[n].(type) {
	case x86asm.Reg:
		if op, ok := register(a); ok {
			return op, nil
		}
	case x86asm.Imm:
		return operand{kind: isImm, imm: uint64(a)}, nil
	case x86asm.Mem:
		size := c.inst.MemBytes
		if size != 1 && size != 2 && size != 4 && size != 8 {
			return operand{}, ErrUnsupported
		}
		off, seg, err := c.offset(a)
		if err != nil {
			return operand{}, err
		}
		op := operand{kind: isMem, size: size, imm: off, reg: seg}
		op.addr, err = c.linear(seg, off, size)
		return op, err
	}
	return operand{}, ErrUnsupported
}

// offset computes a memory argument's offset and segment.
func (c *CPU) offset(m x86asm.Mem) (off uint64, seg int, err error) {
	seg = DS
	off = uint64(m.Disp)
	if op := c.inst.Opcode >> 24; op&^3 != 0xa0 {
		// x86asm doesn't extend the sign of 32 bits; only MOV's moffs form
		// (A0 to A3) has more.
		off = uint64(int64(int32(m.Disp)))
	}
	switch m.Base {
	case 0:
	case x86asm.RIP, x86asm.EIP, x86asm.IP:
		off += c.RIP + uint64(c.inst.Len)
	default:
		r, ok := register(m.Base)
		if !ok || r.size == 1 {
			return 0, 0, ErrUnsupported
		}
		off += c.Regs[r.reg] & sizeMask(r.size)
		if r.reg == 4 || r.reg == 5 { // SP, BP
			seg = SS
		}
	}
	if m.Index != 0 {
		r, ok := register(m.Index)
		if !ok || r.size == 1 {
			return 0, 0, ErrUnsupported
		}
		off += c.Regs[r.reg] & sizeMask(r.size) * uint64(m.Scale)
	}
	if s, ok := segment(m.Segment); ok {
		seg = s
	}
	if s := c.override(); s >= 0 {
		seg = s
	}
	return off & c.addrMask(), seg, nil
}

func segment(r x86asm.Reg) (int, bool) {
	if r >= x86asm.ES && r <= x86asm.GS {
		return int(r - x86asm.ES), true
	}
	return 0, false
}

// override returns the segment that a prefix names, or -1.
func (c *CPU) override() int {
	for i, p := range [...]x86asm.Prefix{ES: x86asm.PrefixES, CS: x86asm.PrefixCS, SS: x86asm.PrefixSS,
		DS: x86asm.PrefixDS, FS: x86asm.PrefixFS, GS: x86asm.PrefixGS} {
		if (c.Mode != 64 || i >= FS) && c.prefixed(p) {
			return i
		}
	}
	return -1
}

func (c *CPU) addrMask() uint64 { return sizeMask(c.inst.AddrSize / 8) }

// linear adds the segment's base, and checks its limit or that the address is
// canonical.
func (c *CPU) linear(seg int, off uint64, size int) (mm.GuestVirt, error) {
	bad := errGP
	if seg == SS {
		bad = errSS
	}
	last := uint64(size - 1)
	if c.Mode == 64 {
		if seg == FS || seg == GS {
			off += c.Segs[seg].Base
		}
		for _, a := range [2]uint64{off, off + last} {
			if s := int64(a) >> 47; s != 0 && s != -1 {
				return 0, bad
			}
		}
		return mm.GuestVirt(off), nil
	}
	if off+last > uint64(c.Segs[seg].Limit) {
		return 0, bad
	}
	return mm.GuestVirt((off + c.Segs[seg].Base) & 0xffffffff), nil
}

func (c *CPU) readMem(a mm.GuestVirt, size int) (uint64, error) {
	c.buf = [8]byte{}
	if err := c.Mem.Read(a, c.buf[:size]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(c.buf[:]) & sizeMask(size), nil
}

func (c *CPU) writeMem(a mm.GuestVirt, size int, v uint64) error {
	binary.LittleEndian.PutUint64(c.buf[:], v)
	return c.Mem.Write(a, c.buf[:size])
}

func (c *CPU) load(op operand) (uint64, error) {
	switch op.kind {
	case isReg:
		v := c.Regs[op.reg]
		if op.high {
			v >>= 8
		}
		return v & sizeMask(op.size), nil
	case isMem:
		return c.readMem(op.addr, op.size)
	}
	return op.imm, nil
}

// store writes an operand; a 32-bit register write clears the upper half.
func (c *CPU) store(op operand, v uint64) error {
	switch op.kind {
	case isMem:
		return c.writeMem(op.addr, op.size, v)
	case isReg:
		c.setReg(op, v)
		return nil
	}
	return ErrUnsupported
}

func (c *CPU) setReg(op operand, v uint64) {
	r := &c.Regs[op.reg]
	switch {
	case op.size == 8:
		*r = v
	case op.size == 4:
		*r = v & 0xffffffff
	case op.high:
		*r = *r&^0xff00 | v&0xff<<8
	default:
		m := sizeMask(op.size)
		*r = *r&^m | v&m
	}
}
