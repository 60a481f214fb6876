package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// A vcpu starts by VCPUOP_initialise in three steps: CheckContext decides, Prepare
// takes what the vcpu will hold, both while it is not up; and Start is the vcpu's own
// doing, when it comes up.

// CheckContext tells whether a vcpu can start so (arch-x86/xen.h, vcpu_guest_context).
func (c *CPU) CheckContext(g *xenabi.VCPUGuestContext) xenabi.Errno {
	wide := c.Width == xenabi.Guest64
	addresses := [...]uint64{g.Regs.RIP, g.EventEIP, g.FailsafeEIP, g.SyscallEIP, g.FSBase, g.GSKernel, g.GSUser}
	for _, a := range addresses {
		if wide && !virt.Canonical(a) {
			return xenabi.EINVAL
		}
	}
	for i := range g.Traps {
		if !c.address(g.Traps[i].Address) {
			return xenabi.EINVAL
		}
	}
	user := g.Flags&xenabi.VGCFInKernel == 0
	if !wide {
		// The mode is CS's.
		if ring := g.Regs.CS & 3; user != (ring == 3) && ring != 0 || ring == 2 {
			return xenabi.EINVAL
		}
	}
	switch {
	case g.LDTEntries > MaxLDTEntries, g.LDTEntries != 0 && !c.tableAddress(g.LDTBase, g.LDTEntries),
		g.GDTEntries > MaxGDTEntries,
		g.CR[3] == 0, user && wide && g.CR[1] == 0:
		return xenabi.EINVAL
	}
	for n, v := range g.DR {
		if n == 4 || n == 5 {
			continue
		}
		if _, e := c.debugReg(uint32(n), v); e != 0 {
			return e
		}
	}
	return 0
}

// tableAddress tells whether a descriptor table may begin at a, in the guest's memory.
func (c *CPU) tableAddress(a, entries uint64) bool {
	const entry = 8
	if a&mm.PageMask != 0 {
		return false
	}
	if c.Width == xenabi.Guest32 {
		return a+entry*entries <= 1<<32
	}
	return virt.Canonical(a) && virt.Canonical(a+entry*entries) && outside(a, entry*entries)
}

// Prepare takes the page tables and the descriptor tables that the vcpu will run on.
// After an error, which has an errno, the vcpu is not to be started, and may hold some
// of them already.
func (c *CPU) Prepare(g *xenabi.VCPUGuestContext) error {
	var frames [GDTFrames]mm.MFN
	n := GDTPages(uint32(g.GDTEntries))
	for i := range frames[:n] {
		frames[i] = mm.MFN(g.GDTFrames[i])
	}
	if err := c.M.SetGDT(frames[:n], uint32(g.GDTEntries)); err != nil {
		return err
	}
	if err := c.M.NewRoot(c.Frame(g.CR[3]), false); err != nil {
		return err
	}
	if c.Width == xenabi.Guest64 && g.CR[1] != 0 {
		return c.M.NewRoot(c.Frame(g.CR[1]), true)
	}
	return nil
}

// GDTPages is how many frames a GDT of that many entries has.
func GDTPages(entries uint32) int {
	const perFrame = mm.PageSize / 8
	return int((entries + perFrame - 1) / perFrame)
}

// Start puts the vcpu into the state of a context that was checked and prepared. The
// FPU's image is the caller's to load. Events are masked.
func (c *CPU) Start(g *xenabi.VCPUGuestContext) error {
	c.ClearTraps()
	for i := range g.Traps {
		t := g.Traps[i]
		t.Vector = uint8(i)
		c.SetTrap(&t)
	}
	for _, r := range [...]xenabi.CallbackRegister{
		{Type: xenabi.CallbackTypeEvent, CS: g.EventCS, Address: g.EventEIP},
		{Type: xenabi.CallbackTypeFailsafe, CS: g.FailsafeCS, Address: g.FailsafeEIP,
			Flags: uint16(g.Flags / xenabi.VGCFFailsafeDisableEvents & callbackMaskEvents)},
		{Type: xenabi.CallbackTypeSyscall, Address: g.SyscallEIP,
			Flags: uint16(g.Flags / xenabi.VGCFSyscallDisableEvents & callbackMaskEvents)},
	} {
		c.Register(&r)
	}
	c.SetStack(uint16(g.KernelSS), g.KernelSP)
	for n, v := range g.DR {
		if x, e := c.debugReg(uint32(n), v); e == 0 && n != 4 && n != 5 {
			c.M.Set(debugRegs[n], x)
		}
	}
	c.TS = g.CR[0]&cr0TS != 0
	c.M.Set(virt.CR0, c.cr0())
	c.SetCR4(g.CR[4])
	c.IOPL, c.IOPorts, c.NMIMasked = uint8(g.Regs.RFLAGS>>virt.FlagIOPLShift&3), 0, false
	c.startRegs(g)
	c.M.SetUpcallMask(true)
	if g.LDTEntries != 0 {
		return c.M.SetLDT(mm.GuestVirt(g.LDTBase), uint32(g.LDTEntries))
	}
	return nil
}

// startRegs sets the general registers, the selectors and the bases.
func (c *CPU) startRegs(g *xenabi.VCPUGuestContext) {
	u, r := &g.Regs, c.M.Regs()
	*r = virt.Regs{
		RAX: u.RAX, RCX: u.RCX, RDX: u.RDX, RBX: u.RBX, RSP: u.RSP, RBP: u.RBP, RSI: u.RSI, RDI: u.RDI,
		R8: u.R8, R9: u.R9, R10: u.R10, R11: u.R11, R12: u.R12, R13: u.R13, R14: u.R14, R15: u.R15,
		RIP: u.RIP, RFLAGS: u.RFLAGS&pv.FlagsIret | virt.FlagIF | virt.FlagFixed,
	}
	cs := u.CS
	if c.Width == xenabi.Guest64 {
		cs |= 3
	} else {
		cs = c.codeSelector(cs)
	}
	gs, other := g.GSKernel, g.GSUser
	c.UserMode = c.Width == xenabi.Guest64 && g.Flags&xenabi.VGCFInKernel == 0
	root := c.Root
	if c.UserMode {
		gs, other, root = g.GSUser, g.GSKernel, c.UserRoot
	}
	c.M.SetSegment(virt.CS, virt.Segment{Selector: cs})
	c.M.SetSegment(virt.SS, virt.Segment{Selector: c.stackSelector(u.SS)})
	c.M.SetSegment(virt.DS, virt.Segment{Selector: u.DS})
	c.M.SetSegment(virt.ES, virt.Segment{Selector: u.ES})
	c.M.SetSegment(virt.FS, virt.Segment{Selector: u.FS, Base: g.FSBase})
	c.M.SetSegment(virt.GS, virt.Segment{Selector: u.GS, Base: gs})
	c.M.Set(virt.KernelGSBase, other)
	c.M.SetRoot(root, c.UserMode)
}
