package xenabi

// Structures that only PV guests pass.

// TrapInfo is an entry of set_trap_table's list (arch-x86/xen.h, struct
// trap_info).
type TrapInfo struct {
	Vector  uint8
	Flags   uint8
	CS      uint16
	Address uint64
}

func (s *TrapInfo) layout(c *codec) {
	c.u8(&s.Vector)
	c.u8(&s.Flags)
	c.u16(&s.CS)
	c.word(&s.Address)
}

// CallbackRegister is the argument of CALLBACKOP_register (callback.h, struct
// callback_register). CS is a 32-bit guest's.
type CallbackRegister struct {
	Type    uint16
	Flags   uint16
	CS      uint64
	Address uint64
}

func (s *CallbackRegister) layout(c *codec) {
	c.u16(&s.Type)
	c.u16(&s.Flags)
	if c.w == Guest32 {
		c.word(&s.CS)
	}
	c.word(&s.Address)
}

// PhysdevSetIOBitmap is the argument of PHYSDEVOP_set_iobitmap (physdev.h, struct
// physdev_set_iobitmap).
type PhysdevSetIOBitmap struct {
	Bitmap  uint64
	NrPorts uint32
}

func (s *PhysdevSetIOBitmap) layout(c *codec) {
	c.word(&s.Bitmap)
	c.u32(&s.NrPorts)
}

// MachphysMapping is the result of XENMEM_machphys_mapping (memory.h, struct
// xen_machphys_mapping).
type MachphysMapping struct {
	VStart, VEnd, MaxMFN uint64
}

func (s *MachphysMapping) layout(c *codec) {
	c.word(&s.VStart)
	c.word(&s.VEnd)
	c.word(&s.MaxMFN)
}

// MachphysMFNList is the argument of XENMEM_machphys_mfn_list and of
// XENMEM_machphys_compat_mfn_list (memory.h, struct xen_machphys_mfn_list).
type MachphysMFNList struct {
	MaxExtents  uint32
	ExtentStart uint64 // where the list goes
	NrExtents   uint32
}

func (s *MachphysMFNList) layout(c *codec) {
	c.u32(&s.MaxExtents)
	c.word(&s.ExtentStart)
	c.u32(&s.NrExtents)
}

// MemoryExchange is the argument of XENMEM_exchange (memory.h, struct
// xen_memory_exchange).
type MemoryExchange struct {
	In, Out     MemoryReservation
	NrExchanged uint64
}

func (s *MemoryExchange) layout(c *codec) {
	s.In.layout(c)
	c.align()
	s.Out.layout(c)
	c.align()
	c.word(&s.NrExchanged)
}

// VCPUUserRegs is a vcpu's general registers and selectors (arch-x86/xen-x86_64.h
// and xen-x86_32.h, struct cpu_user_regs), whose order depends on the width.
type VCPUUserRegs struct {
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP, RFLAGS                            uint64
	CS, SS, DS, ES, FS, GS                 uint16
	UpcallMask                             uint8
}

func (s *VCPUUserRegs) layout(c *codec) {
	if c.w == Guest64 {
		for _, r := range [...]*uint64{&s.R15, &s.R14, &s.R13, &s.R12, &s.RBP, &s.RBX, &s.R11, &s.R10, &s.R9, &s.R8,
			&s.RAX, &s.RCX, &s.RDX, &s.RSI, &s.RDI} {
			c.u64(r)
		}
		c.field(8, 4) // error_code, entry_vector
	} else {
		for _, r := range [...]*uint64{&s.RBX, &s.RCX, &s.RDX, &s.RSI, &s.RDI, &s.RBP, &s.RAX} {
			c.word(r)
		}
		c.field(4, 2)
	}
	c.word(&s.RIP)
	c.u16(&s.CS)
	if c.w == Guest64 {
		c.field(2, 2)
	}
	c.u8(&s.UpcallMask)
	c.word(&s.RFLAGS)
	c.word(&s.RSP)
	for _, r := range [...]*uint16{&s.SS, &s.ES, &s.DS, &s.FS, &s.GS} {
		c.u16(r)
		c.align()
	}
}

// VCPUGuestContext is the argument of VCPUOP_initialise for PV guests (arch-x86/xen.h,
// struct vcpu_guest_context). The callbacks' CS are a 32-bit guest's; SyscallEIP and
// the segments' bases a 64-bit one's.
type VCPUGuestContext struct {
	FPU                      [512]byte
	Flags                    uint64
	Regs                     VCPUUserRegs
	Traps                    [256]TrapInfo
	LDTBase, LDTEntries      uint64
	GDTFrames                [16]uint64
	GDTEntries               uint64
	KernelSS, KernelSP       uint64
	CR                       [8]uint64
	DR                       [8]uint64
	EventCS, EventEIP        uint64
	FailsafeCS, FailsafeEIP  uint64
	SyscallEIP               uint64
	VMAssist                 uint64
	FSBase, GSKernel, GSUser uint64
}

// Flags of VCPUGuestContext (arch-x86/xen.h, VGCF_*).
const (
	VGCFInKernel              = 1 << 2
	VGCFFailsafeDisableEvents = 1 << 3
	VGCFSyscallDisableEvents  = 1 << 4
)

func (s *VCPUGuestContext) layout(c *codec) {
	if b := c.field(len(s.FPU), 1); c.mode == decode {
		copy(s.FPU[:], b)
	} else if c.mode == encode {
		copy(b, s.FPU[:])
	}
	c.word(&s.Flags)
	s.Regs.layout(c)
	for i := range s.Traps {
		s.Traps[i].layout(c)
	}
	c.word(&s.LDTBase)
	c.word(&s.LDTEntries)
	for i := range s.GDTFrames {
		c.word(&s.GDTFrames[i])
	}
	for _, v := range [...]*uint64{&s.GDTEntries, &s.KernelSS, &s.KernelSP} {
		c.word(v)
	}
	for i := range s.CR {
		c.word(&s.CR[i])
	}
	for i := range s.DR {
		c.word(&s.DR[i])
	}
	if c.w == Guest32 {
		for _, v := range [...]*uint64{&s.EventCS, &s.EventEIP, &s.FailsafeCS, &s.FailsafeEIP, &s.VMAssist} {
			c.word(v)
		}
		return
	}
	for _, v := range [...]*uint64{&s.EventEIP, &s.FailsafeEIP, &s.SyscallEIP, &s.VMAssist, &s.FSBase, &s.GSKernel, &s.GSUser} {
		c.word(v)
	}
}
