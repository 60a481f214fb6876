package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Control registers as the guest reads them (APM vol. 2, 3.1).
const (
	cr0Fixed = 1<<31 | 1<<18 | 1<<16 | 1<<5 | 1<<4 | 1<<1 | 1<<0 // PG AM WP NE ET MP PE
	cr0TS    = 1 << 3
	cr4Fixed = 1<<10 | 1<<9 | 1<<6 | virt.CR4PAE // OSXMMEXCPT OSFXSR MCE PAE
	cr4TSD   = 1 << 2
	cr4DE    = 1 << 3
)

func (c *CPU) cr0() uint64 {
	if c.TS {
		return cr0Fixed | cr0TS
	}
	return cr0Fixed
}

// setTS sets or clears CR0.TS.
func (c *CPU) setTS(on bool) {
	if c.TS != on {
		c.TS = on
		c.M.Set(virt.CR0, c.cr0())
	}
}

// FPUTaskswitch is the hypercall fpu_taskswitch.
func (c *CPU) FPUTaskswitch(on bool) { c.setTS(on) }

func (c *CPU) readCR(cr uint8) (uint64, bool) {
	switch cr {
	case 0:
		return c.cr0(), true
	case 2:
		return c.M.CR2(), true
	case 3:
		return c.CR3(c.M.Base()), true
	case 4:
		return c.CR4, true
	}
	return 0, false
}

// CR3 is how a page table's root looks in CR3 (xen_pfn_to_cr3: a 32-bit guest has
// the number's high bits in the low ones).
func (c *CPU) CR3(root mm.MFN) uint64 {
	if c.Width == xenabi.Guest32 {
		return uint64(uint32(root)<<12 | uint32(root)>>20)
	}
	return uint64(root) << mm.PageShift
}

// Frame is CR3's opposite (xen_cr3_to_pfn).
func (c *CPU) Frame(cr3 uint64) mm.MFN {
	if c.Width == xenabi.Guest32 {
		return mm.MFN(uint32(cr3)>>12 | uint32(cr3)<<20)
	}
	return mm.MFN(cr3 >> mm.PageShift)
}

func (c *CPU) writeCR(cr uint8, v uint64) bool {
	switch cr {
	case 0:
		if (v^c.cr0())&^cr0TS != 0 {
			return false
		}
		c.setTS(v&cr0TS != 0)
		return true
	case 2:
		c.M.SetCR2(v)
		return true
	case 3:
		return c.M.NewRoot(c.Frame(v), false) == nil
	case 4:
		c.SetCR4(v)
		return true
	}
	return false
}

// SetCR4 takes over the bits of CR4 that are the guest's; the others are as they
// are, whatever it writes.
func (c *CPU) SetCR4(v uint64) {
	own := uint64(cr4TSD | cr4DE)
	_, b7, _, _ := c.M.CPUID(7, 0)
	if c.Width == xenabi.Guest64 && b7&1 != 0 {
		own |= virt.CR4FSGSBASE
	}
	if c.xcr0() != 0 {
		own |= virt.CR4OSXSAVE
	}
	c.CR4 = cr4Fixed | v&own
	c.M.Set(virt.CR4, c.CR4)
}

// xcr0 is what XCR0 may hold; 0: the guest has no XSAVE.
func (c *CPU) xcr0() uint64 {
	_, _, c1, _ := c.M.CPUID(1, 0)
	if c1>>26&1 == 0 {
		return 0
	}
	a, _, _, d := c.M.CPUID(0xd, 0)
	return uint64(d)<<32 | uint64(a)
}

func (c *CPU) xsetbv() bool {
	r := c.M.Regs()
	v := r.RDX<<32 | r.RAX&0xffffffff
	const x87, sse, avx = 1, 2, 4
	if uint32(r.RCX) != 0 || c.CR4&virt.CR4OSXSAVE == 0 || v&^c.xcr0() != 0 || v&x87 == 0 || v&(sse|avx) == avx {
		return false
	}
	c.M.Set(virt.XCR0, v)
	return true
}

// Debug registers (APM vol. 2, 13.1.1).
const (
	dr6Fixed = 0xffff0ff0
	dr6Valid = 0xe00f // B0 to B3, BD, BS, BT
	dr6Step  = 1 << 14
	dr7Fixed = 1 << 10
	dr7Valid = 0xffff03ff
	dr7GD    = 1 << 13
	dr7RW    = 3 // type of breakpoint n, at bit 16+4n
	dr7IO    = 2
)

// SetDebugReg writes a debug register (set_debugreg, MOV DR).
func (c *CPU) SetDebugReg(n uint32, v uint64) xenabi.Errno {
	n, e := c.alias(n)
	if e != 0 {
		return e
	}
	if v, e = c.debugReg(n, v); e != 0 {
		return e
	}
	c.M.Set(debugRegs[n], v)
	return 0
}

// alias is the register that 4 and 5 mean, unless CR4.DE is set.
func (c *CPU) alias(n uint32) (uint32, xenabi.Errno) {
	switch {
	case n > 7: // not EINVAL, as arch-x86/xen.h says: Xen's answer
		return 0, xenabi.ENODEV
	case n != 4 && n != 5:
		return n, 0
	case c.CR4&cr4DE != 0:
		return 0, xenabi.ENODEV
	}
	return n + 2, 0
}

// debugRegs is how Machine numbers them: DR0 to DR3, then DR6 and DR7.
var debugRegs = [8]virt.SysReg{virt.DR0, virt.DR1, virt.DR2, virt.DR3, virt.DR6, virt.DR7, virt.DR6, virt.DR7}

// debugReg checks what the guest wants in a debug register, and returns what goes
// there. n is 0 to 3, 6 or 7.
func (c *CPU) debugReg(n uint32, v uint64) (uint64, xenabi.Errno) {
	if c.Width == xenabi.Guest32 {
		v = uint64(uint32(v))
	}
	switch n {
	case 6:
		return dr6Fixed | v&dr6Valid, 0
	case 7:
		if v>>32 != 0 {
			return 0, xenabi.EINVAL
		}
		if v&dr7GD != 0 {
			return 0, xenabi.EPERM
		}
		for i := range uint(4) {
			// The guest has no ports, and without CR4.DE the type means
			// another thing.
			if v>>(2*i)&3 != 0 && v>>(16+4*i)&dr7RW == dr7IO {
				return 0, xenabi.EPERM
			}
		}
		return dr7Fixed | v&dr7Valid, 0
	}
	// The last byte that a breakpoint there could watch counts, too.
	if !virt.Canonical(v) || !virt.Canonical(v+7) || !outside(v, 8) {
		return 0, xenabi.EPERM
	}
	return v, 0
}

// GetDebugReg reads a debug register.
func (c *CPU) GetDebugReg(n uint32) (uint64, xenabi.Errno) {
	n, e := c.alias(n)
	if e != 0 {
		return 0, e
	}
	return c.M.Get(debugRegs[n]), 0
}
