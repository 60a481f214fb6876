package virt

import (
	"fmt"
	"strings"
)

// Regs is the general registers, in the order in which instructions number
// them (APM vol. 3, 1.2.7), then RIP and RFLAGS. The entry code of the backends
// relies on the order.
type Regs struct {
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP, RFLAGS                            uint64
}

// Flags of RFLAGS (APM vol. 2, 3.1.6).
const (
	FlagFixed = 1 << 1 // always set
	FlagTF    = 1 << 8
	FlagIF    = 1 << 9
	FlagDF    = 1 << 10
	FlagIOPL  = 3 << FlagIOPLShift
	FlagNT    = 1 << 14
	FlagRF    = 1 << 16
	FlagVM    = 1 << 17

	FlagIOPLShift = 12
)

// GPR returns general register n, as an instruction encodes it; only the low
// four bits of n count.
func (r *Regs) GPR(n uint8) *uint64 {
	switch n & 15 {
	case 0:
		return &r.RAX
	case 1:
		return &r.RCX
	case 2:
		return &r.RDX
	case 3:
		return &r.RBX
	case 4:
		return &r.RSP
	case 5:
		return &r.RBP
	case 6:
		return &r.RSI
	case 7:
		return &r.RDI
	case 8:
		return &r.R8
	case 9:
		return &r.R9
	case 10:
		return &r.R10
	case 11:
		return &r.R11
	case 12:
		return &r.R12
	case 13:
		return &r.R13
	case 14:
		return &r.R14
	}
	return &r.R15
}

// SegReg names a segment or table register.
type SegReg uint8

// The segment registers in instruction order, then the tables.
const (
	ES SegReg = iota
	CS
	SS
	DS
	FS
	GS
	LDTR
	TR
	GDTR // Base and Limit only
	IDTR // Base and Limit only
	NumSegRegs
)

// Segment is a segment register with what the processor cached of it.
type Segment struct {
	Base     uint64
	Limit    uint32 // in bytes, granularity applied
	Selector uint16
	Attr     uint16
}

// Bits of Segment.Attr: the descriptor's second half without base and limit,
// packed (APM vol. 2, 15.5.1: type, S, DPL, P, then AVL, L, D/B, G from bit 8).
// No register of the P bit clear is usable.
const (
	AttrTypeMask  = 0xf
	AttrCode      = 1 << 4 // S: code or data
	AttrDPLShift  = 5
	AttrPresent   = 1 << 7
	AttrAvailable = 1 << 8
	AttrLong      = 1 << 9
	AttrBig       = 1 << 10
	AttrGranular  = 1 << 11
)

// DPL returns the descriptor privilege level; SS's is the CPL.
func (s Segment) DPL() uint8 { return uint8(s.Attr>>AttrDPLShift) & 3 }

// SysReg names a system register that is a vcpu's own.
type SysReg uint8

// The system registers. The order is part of State's version.
const (
	CR0 SysReg = iota
	CR2
	CR3
	CR4
	CR8
	XCR0
	DR0
	DR1
	DR2
	DR3
	DR6
	DR7
	EFER
	STAR
	LSTAR
	CSTAR
	SFMask
	KernelGSBase
	SysenterCS
	SysenterESP
	SysenterEIP
	PAT
	DebugCtl
	TSCAux
	NumSysRegs
)

// SysRegNames is for people.
var SysRegNames = [NumSysRegs]string{"CR0", "CR2", "CR3", "CR4", "CR8", "XCR0", "DR0", "DR1", "DR2", "DR3", "DR6", "DR7",
	"EFER", "STAR", "LSTAR", "CSTAR", "SFMASK", "KERNEL_GS_BASE", "SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP",
	"PAT", "DEBUGCTL", "TSC_AUX"}

// SysRegOfMSR finds the register that an MSR number means (APM vol. 2,
// appendix A). FS.base and GS.base are in the segments.
func SysRegOfMSR(msr uint32) (SysReg, bool) {
	switch msr {
	case 0x174:
		return SysenterCS, true
	case 0x175:
		return SysenterESP, true
	case 0x176:
		return SysenterEIP, true
	case 0x1d9:
		return DebugCtl, true
	case 0x277:
		return PAT, true
	case 0xc0000080:
		return EFER, true
	case 0xc0000081:
		return STAR, true
	case 0xc0000082:
		return LSTAR, true
	case 0xc0000083:
		return CSTAR, true
	case 0xc0000084:
		return SFMask, true
	case 0xc0000102:
		return KernelGSBase, true
	case 0xc0000103:
		return TSCAux, true
	}
	return 0, false
}

// Bits of control registers and EFER that this package's users test.
const (
	CR0PE = 1 << 0
	CR0PG = 1 << 31

	CR4PAE     = 1 << 5
	CR4OSXSAVE = 1 << 18

	EFERSCE  = 1 << 0
	EFERLME  = 1 << 8
	EFERLMA  = 1 << 10
	EFERNX   = 1 << 11
	EFERSVME = 1 << 12
)

// StateVersion is the version of State that this package writes.
const StateVersion = 1

// State is all that a guest can see of its processor at an exit: plain data, to
// be kept, sent or looked at. What isn't in it belongs to the device models
// (APIC) or to the domain (CPUID policy, TSC frequency).
type State struct {
	Version   uint32
	Shadow    bool // interrupt shadow
	NMIMasked bool // an NMI's handler runs
	HasEvent  bool // Event is to be delivered first
	HasHeld   bool // Held waits behind it
	Event     Event
	Held      Event
	Regs      Regs
	Seg       [NumSegRegs]Segment
	Sys       [NumSysRegs]uint64
	TSCOffset uint64
	TSCRatio  uint64 // 32.32
	FPU       []byte // XSAVE image, standard format; FXSAVE's is its first 512 bytes
}

// Reset fills s with what a processor has after RESET (APM vol. 2, table 14-1).
// The FPU image is empty: initial values.
func (s *State) Reset() {
	*s = State{Version: StateVersion, TSCRatio: 1 << 32}
	for r := ES; r <= GS; r++ {
		s.Seg[r] = Segment{Limit: 0xffff, Attr: AttrPresent | AttrCode | 3}
	}
	s.Seg[CS] = Segment{Base: 0xffff0000, Selector: 0xf000, Limit: 0xffff, Attr: AttrPresent | AttrCode | 0xb}
	s.Seg[LDTR] = Segment{Limit: 0xffff, Attr: AttrPresent | 2}
	s.Seg[TR] = Segment{Limit: 0xffff, Attr: AttrPresent | 0xb}
	s.Seg[GDTR].Limit = 0xffff
	s.Seg[IDTR].Limit = 0xffff
	s.Regs.RIP = 0xfff0
	s.Regs.RFLAGS = 2
	s.Sys[CR0] = 0x60000010
	s.Sys[XCR0] = 1
	s.Sys[DR6] = 0xffff0ff0
	s.Sys[DR7] = 0x400
	s.Sys[PAT] = 0x0007040600070406
}

// Bits returns the width of the code that runs: 16, 32 or 64.
func Bits(efer uint64, cs Segment) int {
	switch {
	case efer&EFERLMA != 0 && cs.Attr&AttrLong != 0:
		return 64
	case cs.Attr&AttrBig != 0:
		return 32
	}
	return 16
}

// Advance returns rip moved by an instruction's length in code of that width
// (RIP is 32 bits wide outside 64-bit mode).
func Advance(rip uint64, n uint8, bits int) uint64 {
	rip += uint64(n)
	if bits != 64 {
		rip &= 0xffffffff
	}
	return rip
}

// String lays the state out for a person.
func (s *State) String() string {
	var w strings.Builder
	r := &s.Regs
	fmt.Fprintf(&w, "rip %016x rflags %08x shadow %v nmi masked %v\n", r.RIP, r.RFLAGS, s.Shadow, s.NMIMasked)
	for i, n := range [...]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"} {
		fmt.Fprintf(&w, "%s %016x%c", n, *r.GPR(uint8(i)), " \n"[i&3/3])
	}
	for i, n := range [NumSegRegs]string{"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr", "gdtr", "idtr"} {
		g := &s.Seg[i]
		fmt.Fprintf(&w, "%-4s %04x base %016x limit %08x attr %03x\n", n, g.Selector, g.Base, g.Limit, g.Attr)
	}
	for i, n := range SysRegNames {
		fmt.Fprintf(&w, "%s %x%c", n, s.Sys[i], "   \n"[i&3])
	}
	if s.HasEvent {
		fmt.Fprintf(&w, "to deliver: %s\n", s.Event)
	}
	if s.HasHeld {
		fmt.Fprintf(&w, "held back: %s\n", s.Held)
	}
	return w.String()
}

// Canonical tells whether a is an address of 48 bits as a processor takes it (APM vol. 2, 5.3.1).
//
//go:nosplit
func Canonical(a uint64) bool { top := int64(a) >> 47; return top == 0 || top == -1 }
