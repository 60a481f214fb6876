package svm

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/mm"
)

// Exit codes (APM vol. 2, appendix C).
const (
	exitCR0Read    = 0x00
	exitCR0Write   = 0x10
	exitDR0Read    = 0x20
	exitDR0Write   = 0x30
	exitExc0       = 0x40
	exitINTR       = 0x60
	exitNMI        = 0x61
	exitVINTR      = 0x64
	exitCR0Sel     = 0x65
	exitRDTSC      = 0x6e
	exitRDPMC      = 0x6f
	exitCPUID      = 0x72
	exitRSM        = 0x73
	exitIRET       = 0x74
	exitINVD       = 0x76
	exitPAUSE      = 0x77
	exitHLT        = 0x78
	exitINVLPG     = 0x79
	exitINVLPGA    = 0x7a
	exitIOIO       = 0x7b
	exitMSR        = 0x7c
	exitFERR       = 0x7e
	exitSHUTDOWN   = 0x7f
	exitVMRUN      = 0x80
	exitVMMCALL    = 0x81
	exitVMLOAD     = 0x82
	exitSKINIT     = 0x86
	exitRDTSCP     = 0x87
	exitWBINVD     = 0x89
	exitMONITOR    = 0x8a
	exitMWAIT      = 0x8b
	exitMWAITArmed = 0x8c
	exitXSETBV     = 0x8d
	exitNPF        = 0x400
	exitInvalid    = ^uint64(0)
	exitInvalid32  = 1<<32 - 1 // as QEMU's TCG writes it
)

// Bits of EXITINFO1 for IOIO (15.10.2).
const (
	ioIn     = 1 << 0
	ioString = 1 << 2
	ioRep    = 1 << 3
)

// Bits of EXITINFO1 for a nested page fault (15.25.6).
const (
	npfPresent  = 1 << 0
	npfWrite    = 1 << 1
	npfReserved = 1 << 3
	npfFetch    = 1 << 4
	npfWalk     = 1 << 33
)

// decodeExit fills e from what the processor wrote. What needs the
// instruction's bytes is left to the caller. It trusts nothing: the block is
// ours, but a CPU that is emulated may write anything.
func decodeExit(c *VMCB, f *virt.Features, e *virt.Exit) {
	e.Code, e.Info1, e.Info2 = c.ExitCode, c.ExitInfo1, c.ExitInfo2
	e.Length, e.InsnLen, e.Write = 0, 0, false
	if f.NextRIP {
		if n := c.NextRIP - c.RIP; n >= 1 && n <= insn.MaxLen {
			e.Length = uint8(n)
		}
	}
	switch x := c.ExitCode; {
	case x < exitExc0:
		decodeCR(c, f, e)
	case x < exitExc0+32:
		e.Reason = virt.ReasonException
		e.Event = virt.Fault(uint8(x-exitExc0), uint32(c.ExitInfo1))
		e.Length = 0
	case x == exitCR0Sel: // it doesn't tell the register
		e.Reason = virt.ReasonCR
		e.CR = virt.CRAccess{CR: 0, Write: true, Op: virt.CROther}
	case x == exitNPF:
		e.Reason = virt.ReasonNestedFault
		i := c.ExitInfo1
		e.Fault = virt.NestedFault{
			GPA:      mm.GuestPhys(c.ExitInfo2),
			Present:  i&npfPresent != 0,
			Write:    i&npfWrite != 0,
			Fetch:    i&npfFetch != 0,
			Reserved: i&npfReserved != 0,
			Walk:     i&npfWalk != 0,
		}
		e.Length = 0
		if f.DecodeBits {
			e.InsnLen, e.Insn = min(c.InsnLen&0xf, 15), c.InsnBytes
		}
	case x == exitIOIO:
		decodeIO(c, f, e)
	case x == exitMSR:
		e.Reason, e.Write = virt.ReasonMSR, c.ExitInfo1&1 != 0
	default:
		e.Reason = reasonOf(x)
	}
}

func reasonOf(x uint64) virt.Reason {
	switch x {
	case exitVINTR:
		return virt.ReasonInterruptWindow
	case exitRDTSC:
		return virt.ReasonRDTSC
	case exitRDTSCP:
		return virt.ReasonRDTSCP
	case exitRDPMC:
		return virt.ReasonRDPMC
	case exitCPUID:
		return virt.ReasonCPUID
	case exitINVD:
		return virt.ReasonINVD
	case exitWBINVD:
		return virt.ReasonWBINVD
	case exitPAUSE:
		return virt.ReasonPause
	case exitHLT:
		return virt.ReasonHLT
	case exitINVLPG:
		return virt.ReasonINVLPG
	case exitSHUTDOWN:
		return virt.ReasonShutdown
	case exitVMMCALL:
		return virt.ReasonHypercall
	case exitMONITOR:
		return virt.ReasonMonitor
	case exitMWAIT, exitMWAITArmed:
		return virt.ReasonMwait
	case exitXSETBV:
		return virt.ReasonXSETBV
	case exitRSM, exitINVLPGA, exitVMRUN, exitVMLOAD, exitVMLOAD + 1, exitVMLOAD + 2, exitVMLOAD + 3, exitSKINIT:
		return virt.ReasonVirtInsn
	case exitInvalid:
		return virt.ReasonInvalidState
	}
	return virt.ReasonUnknown
}

// decodeCR: with decode assists EXITINFO1 tells a MOV's register (15.8.1).
func decodeCR(c *VMCB, f *virt.Features, e *virt.Exit) {
	x := c.ExitCode
	if x >= exitDR0Read {
		e.Reason = virt.ReasonUnknown // these never leave run
		return
	}
	e.Reason = virt.ReasonCR
	e.CR = virt.CRAccess{CR: uint8(x & 15), Write: x >= exitCR0Write, Op: virt.CROther}
	if f.DecodeBits && c.ExitInfo1>>63 != 0 {
		e.CR.Op, e.CR.GPR = virt.CRMov, uint8(c.ExitInfo1&15)
	}
}

func decodeIO(c *VMCB, f *virt.Features, e *virt.Exit) {
	e.Reason = virt.ReasonIO
	i := c.ExitInfo1
	e.IO = virt.IO{Port: uint16(i >> 16), In: i&ioIn != 0, String: i&ioString != 0, Rep: i&ioRep != 0}
	switch i >> 4 & 7 {
	case 1:
		e.IO.Size = 1
	case 2:
		e.IO.Size = 2
	default:
		e.IO.Size = 4
	}
	switch i >> 7 & 7 {
	case 1:
		e.IO.Addr = 16
	case 2:
		e.IO.Addr = 32
	case 4:
		e.IO.Addr = 64
	}
	if s := virt.SegReg(i >> 10 & 7); f.DecodeBits && s <= virt.GS {
		e.IO.Segment, e.IO.SegmentKnown = s, true
	}
	e.Length = 0
	if n := c.ExitInfo2 - c.RIP; n >= 1 && n <= insn.MaxLen { // EXITINFO2 is the next RIP on every processor
		e.Length = uint8(n)
	}
}

// matches tells whether op is what an exit for r comes from.
func matches(r virt.Reason, op insn.Op) bool {
	switch r {
	case virt.ReasonCPUID:
		return op == insn.CPUID
	case virt.ReasonHLT:
		return op == insn.HLT
	case virt.ReasonIO:
		return op == insn.IN || op == insn.OUT || op == insn.INS || op == insn.OUTS
	case virt.ReasonMSR:
		return op == insn.RDMSR || op == insn.WRMSR
	case virt.ReasonHypercall:
		return op == insn.VMMCALL || op == insn.VMCALL
	case virt.ReasonCR:
		return op == insn.MovToCR || op == insn.MovFromCR || op == insn.CLTS || op == insn.LMSW || op == insn.SMSW
	case virt.ReasonXSETBV:
		return op == insn.XSETBV
	case virt.ReasonRDTSC:
		return op == insn.RDTSC
	case virt.ReasonRDTSCP:
		return op == insn.RDTSCP
	case virt.ReasonRDPMC:
		return op == insn.RDPMC
	case virt.ReasonINVD:
		return op == insn.INVD
	case virt.ReasonWBINVD:
		return op == insn.WBINVD
	case virt.ReasonINVLPG:
		return op == insn.INVLPG
	case virt.ReasonMonitor:
		return op == insn.MONITOR
	case virt.ReasonMwait:
		return op == insn.MWAIT
	case virt.ReasonPause:
		return op == insn.PAUSE
	}
	return true // a fault, or an instruction of any kind
}
