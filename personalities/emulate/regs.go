package emulate

import "nidus/kernel/virt"

// LoadRegs makes the registers of a vcpu, RIP and RFLAGS included, those that the next
// Step works on.
func (c *CPU) LoadRegs(r *virt.Regs) {
	for i := range c.Regs {
		c.Regs[i] = *r.GPR(uint8(i))
	}
	c.RIP, c.RFLAGS = r.RIP, r.RFLAGS
}

// StoreRegs gives the vcpu what Step made of its registers. After an error that is what
// the finished iterations of a REP did, and RIP is where it was.
func (c *CPU) StoreRegs(r *virt.Regs) {
	for i := range c.Regs {
		*r.GPR(uint8(i)) = c.Regs[i]
	}
	r.RIP, r.RFLAGS = c.RIP, c.RFLAGS
}
