package virt

import (
	"fmt"

	"nidus/mm"
)

// Reason says why Run came back.
type Reason uint8

// The reasons. What each fills in of Exit is said behind it.
const (
	ReasonUnknown         Reason = iota // Code, Info1, Info2: the processor's own
	ReasonKick                          // Kick was called
	ReasonInterruptWindow               // InterruptAllowed is true now
	ReasonNMIWindow                     // NMIAllowed is true now
	ReasonCPUID
	ReasonHLT
	ReasonIO        // IO
	ReasonMSR       // Write; number in RCX, value in RAX and RDX
	ReasonHypercall // VMMCALL or VMCALL
	ReasonNestedFault
	ReasonCR        // CR
	ReasonException // Event; for #PF the address is in CR2. #MC is the host's own.
	ReasonShutdown  // triple fault; the state is undefined now
	ReasonXSETBV    // number in RCX, value in RAX and RDX
	ReasonRDTSC
	ReasonRDTSCP
	ReasonRDPMC
	ReasonINVD
	ReasonWBINVD
	ReasonINVLPG // Info1: the address, if Features.DecodeBits
	ReasonMonitor
	ReasonMwait
	ReasonPause
	ReasonVirtInsn     // an instruction of SVM or VMX itself: the guest gets #UD
	ReasonInvalidState // the processor refused to enter; see Dump
	NumReasons
)

var reasonNames = [NumReasons]string{"unknown exit", "kick", "interrupt window", "NMI window", "CPUID", "HLT", "I/O",
	"MSR", "hypercall", "nested page fault", "control register", "exception", "shutdown", "XSETBV", "RDTSC", "RDTSCP",
	"RDPMC", "INVD", "WBINVD", "INVLPG", "MONITOR", "MWAIT", "PAUSE", "virtualization instruction", "invalid state"}

// String is for people.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// IO is an access to a port.
type IO struct {
	Port   uint16
	Size   uint8 // 1, 2 or 4 bytes
	In     bool
	String bool  // INS or OUTS: memory at ES:RDI or Segment:RSI
	Rep    bool  // RCX times
	Addr   uint8 // width of RCX, RSI and RDI in bits: 16, 32 or 64; 0 unknown
	// Segment is that of OUTS, if SegmentKnown; otherwise decode it.
	Segment      SegReg
	SegmentKnown bool
}

// NestedFault is an access to guest physical memory that the tables don't allow.
type NestedFault struct {
	GPA     mm.GuestPhys
	Present bool // an entry was there, with too few rights
	Write   bool
	Fetch   bool
	// Walk says that the access was the processor's own, to a page table.
	Walk bool
	// Reserved says that an entry of ours has a reserved bit set: our bug.
	Reserved bool
}

// CRAccess is an access to a control register.
type CRAccess struct {
	CR    uint8
	Write bool
	GPR   uint8 // as Regs.GPR takes it; for the MOV forms
	Op    CROp
	Value uint64 // LMSW: the new low 16 bits
}

// CROp is the instruction of a CRAccess.
type CROp uint8

// The instructions that touch control registers.
const (
	CRMov CROp = iota
	CRClts
	CRLmsw
	CROther // decode it: LMSW or SMSW with a memory operand
)

// Exit is why a guest came back. Fields that Reason doesn't name are stale.
type Exit struct {
	Reason Reason
	// Length is the length of the instruction if the processor told, else 0;
	// Skip finds it out then.
	Length uint8
	Write  bool
	IO     IO
	Fault  NestedFault
	CR     CRAccess
	Event  Event
	// Code, Info1 and Info2 are the processor's own words for it.
	Code, Info1, Info2 uint64
	// Insn[:InsnLen] is the instruction's bytes, if the processor fetched them.
	Insn    [15]byte
	InsnLen uint8
}

// String is for logs.
func (e *Exit) String() string {
	switch e.Reason {
	case ReasonIO:
		op := "OUT"
		if e.IO.In {
			op = "IN"
		}
		return fmt.Sprintf("%s port %#x size %d string %v rep %v", op, e.IO.Port, e.IO.Size, e.IO.String, e.IO.Rep)
	case ReasonNestedFault:
		f := &e.Fault
		return fmt.Sprintf("nested page fault at %#x write %v fetch %v present %v walk %v", uint64(f.GPA), f.Write, f.Fetch, f.Present, f.Walk)
	case ReasonException:
		return e.Event.String()
	case ReasonCR:
		return fmt.Sprintf("CR%d write %v", e.CR.CR, e.CR.Write)
	case ReasonMSR:
		if e.Write {
			return "WRMSR"
		}
		return "RDMSR"
	case ReasonUnknown, ReasonInvalidState:
		return fmt.Sprintf("%s: code %#x info %#x %#x", e.Reason, e.Code, e.Info1, e.Info2)
	}
	return e.Reason.String()
}
