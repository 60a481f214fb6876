package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/kernel/xenabi"
)

// prefix is what stands before an instruction's opcode.
type prefix struct {
	len     int
	opSize  int // of operands that aren't bytes, in bits: 16 or 32 (64 counts as 32 for I/O)
	badRepl bool
}

// prefixes reads an instruction's prefixes in code of that width.
func prefixes(code []byte, bits int) prefix {
	p := prefix{opSize: 32}
	small := bits == 16
	for ; p.len < len(code); p.len++ {
		switch b := code[p.len]; {
		case b == 0x66:
			small = bits != 16
		case b == 0xf0:
			p.badRepl = true
		case b == 0xf2, b == 0xf3, b == 0x67, b == 0x26, b == 0x2e, b == 0x36, b == 0x3e, b == 0x64, b == 0x65:
		case bits == 64 && b&0xf0 == 0x40:
		default:
			if small {
				p.opSize = 16
			}
			return p
		}
	}
	return p
}

// Emulate carries out the instruction at RIP after #GP(0), if it is one that a
// kernel in ring 0 could have executed, or a process by its kernel's leave. If it
// isn't, done is false and nothing has happened: the guest gets its #GP.
func (c *CPU) Emulate() (done bool, err error) {
	bits, _ := c.codeBits()
	code := c.fetch()
	p := prefixes(code, bits)
	if p.len < len(code) && (code[p.len] == opCLI || code[p.len] == opSTI) {
		if !c.ioplAllows() {
			return false, nil
		}
		// Interrupts are the upcall mask's; POPF, which changes nothing either,
		// doesn't even trap. As under Xen, all of them leave it alone.
		return true, c.skip(p.len+1, bits)
	}
	in, err := insn.Decode(code, bits)
	if err != nil {
		return false, nil
	}
	switch in.Op {
	case insn.IN, insn.OUT:
		done = c.portIO(code, p)
	case insn.INS, insn.OUTS:
		return c.stringIO(code, bits)
	case insn.RDTSC, insn.RDTSCP:
		done = c.rdtsc(in.Op == insn.RDTSCP)
	case insn.CPUID: // faulting CPUID
		done = true
		c.cpuid()
	case insn.LMSW:
		if in.Memory && c.Kernel() {
			return c.lmswMemory(code, p, in, bits)
		}
		fallthrough
	default:
		done = c.Kernel() && c.privileged(in)
	}
	if !done {
		return false, nil
	}
	return true, c.skip(int(in.Len), bits)
}

const (
	opCLI = 0xfa
	opSTI = 0xfb
)

// privileged carries out what only a kernel may do.
func (c *CPU) privileged(in insn.Insn) bool {
	r := c.M.Regs()
	switch in.Op {
	case insn.MovFromCR:
		v, ok := c.readCR(in.Reg)
		if ok {
			*r.GPR(in.GPR) = v
		}
		return ok
	case insn.MovToCR:
		return c.writeCR(in.Reg, *r.GPR(in.GPR))
	case insn.MovFromDR:
		v, e := c.GetDebugReg(uint32(in.Reg))
		if e == 0 {
			*r.GPR(in.GPR) = v
		}
		return e == 0
	case insn.MovToDR:
		return c.SetDebugReg(uint32(in.Reg), *r.GPR(in.GPR)) == 0
	case insn.CLTS:
		c.setTS(false)
		return true
	case insn.LMSW:
		return c.lmsw(*r.GPR(in.GPR))
	case insn.RDMSR:
		return c.rdmsr()
	case insn.WRMSR:
		return c.wrmsr()
	case insn.WBINVD:
		return true // caches are coherent, and no device of the guest's looks past them
	case insn.XSETBV:
		return c.xsetbv()
	}
	return false
}

// skip goes behind an instruction that was carried out.
func (c *CPU) skip(n, bits int) error {
	r := c.M.Regs()
	r.RIP = virt.Advance(r.RIP, uint8(n), bits)
	return c.retire()
}

// retire does what the processor does behind an instruction: the single-step trap.
func (c *CPU) retire() error {
	r := c.M.Regs()
	r.RFLAGS &^= virt.FlagRF
	if r.RFLAGS&virt.FlagTF == 0 {
		return nil
	}
	c.M.Set(virt.DR6, c.M.Get(virt.DR6)|dr6Step)
	return c.Deliver(virt.Fault(virt.VectorDB, 0))
}

// forced carries out what the guest marks with ud2 and "xen", to get the
// hypervisor's answer where the processor wouldn't ask (arch-x86/xen.h,
// XEN_EMULATE_PREFIX): CPUID alone.
func (c *CPU) forced() (done bool, err error) {
	const marked = "\x0f\x0bxen\x0f\xa2"
	code := c.fetch()
	if len(code) < len(marked) || string(code[:len(marked)]) != marked {
		return false, nil
	}
	bits, _ := c.codeBits()
	c.cpuid()
	return true, c.skip(len(marked), bits)
}

func (c *CPU) cpuid() {
	r := c.M.Regs()
	a, b, cx, d := c.M.CPUID(uint32(r.RAX), uint32(r.RCX))
	r.RAX, r.RBX, r.RCX, r.RDX = uint64(a), uint64(b), uint64(cx), uint64(d)
}

// rdtsc: the counter is emulated, or the guest's kernel keeps it from processes.
func (c *CPU) rdtsc(aux bool) bool {
	if c.CR4&cr4TSD != 0 && !c.Kernel() {
		return false
	}
	r := c.M.Regs()
	t := c.M.TSC()
	r.RAX, r.RDX = t&0xffffffff, t>>32
	if aux {
		r.RCX = c.M.Get(virt.TSCAux) & 0xffffffff
	}
	return true
}

// ioplAllows tells whether the guest's I/O privilege level allows what runs CLI and
// ports. A kernel counts as ring 1, and as ring 0 with architectural_iopl.
func (c *CPU) ioplAllows() bool {
	ring := uint8(3)
	if c.Kernel() {
		ring = 1
		if c.assists(xenabi.VMAssistTypeArchitecturalIOPL) {
			ring = 0
		}
	}
	return ring <= c.IOPL
}
