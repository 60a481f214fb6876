package emulate

import "nidus/kernel/virt"

// LoadRegs makes the registers of a vcpu, RIP and RFLAGS included, those that the next
// Step works on.
func (c *CPU) LoadRegs(r *virt.Regs) {
	c.Regs = [16]uint64{r.RAX, r.RCX, r.RDX, r.RBX, r.RSP, r.RBP, r.RSI, r.RDI, r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15}
	c.RIP, c.RFLAGS = r.RIP, r.RFLAGS
}

// StoreRegs gives the vcpu what Step made of its registers. After an error that is what
// the finished iterations of a REP did, and RIP is where it was.
func (c *CPU) StoreRegs(r *virt.Regs) {
	g := &c.Regs
	r.RAX, r.RCX, r.RDX, r.RBX, r.RSP, r.RBP, r.RSI, r.RDI = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]
	r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15 = g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]
	r.RIP, r.RFLAGS = c.RIP, c.RFLAGS
}
