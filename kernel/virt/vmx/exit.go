package vmx

import (
	"nidus/kernel/virt"
	"nidus/mm"
)

// Basic exit reasons (SDM vol. 3, appendix C).
const (
	exitException       = 0
	exitInterrupt       = 1
	exitTripleFault     = 2
	exitInterruptWindow = 7
	exitCPUID           = 10
	exitHLT             = 12
	exitINVD            = 13
	exitINVLPG          = 14
	exitRDPMC           = 15
	exitRDTSC           = 16
	exitVMCALL          = 18
	exitVMCLEAR         = 19
	exitVMXON           = 27
	exitCR              = 28
	exitIO              = 30
	exitRDMSR           = 31
	exitWRMSR           = 32
	exitBadGuestState   = 33
	exitMSRLoad         = 34
	exitMWAIT           = 36
	exitMONITOR         = 39
	exitPAUSE           = 40
	exitEPTViolation    = 48
	exitEPTMisconfig    = 49
	exitINVEPT          = 50
	exitRDTSCP          = 51
	exitINVVPID         = 53
	exitWBINVD          = 54
	exitXSETBV          = 55
	exitVMFUNC          = 59
)

// exitFields is what the processor says of an exit.
type exitFields struct {
	failed         bool // the entry instruction itself failed; reason is the VM-instruction error
	reason         uint32
	event, code    uint64
	qualification  uint64
	guestPhys      uint64
	length, insn   uint64
	vectoring      uint64
	vectoringError uint64
}

// decodeEvent reads an interruption-information field (SDM vol. 3, tables 25-17
// and 25-18). Software interrupts and exceptions of all kinds are one kind here:
// RIP is at the instruction.
//
//go:nosplit
func decodeEvent(v, code uint64) (e virt.Event, ok bool) {
	if v&(1<<31) == 0 {
		return
	}
	e.Vector, e.Kind = uint8(v), virt.EventKind(v>>8&7)
	if e.Kind > virt.SoftInterrupt {
		e.Kind = virt.SoftInterrupt
	}
	if v&(1<<11) != 0 {
		e.HasCode, e.Code = true, uint32(code)
	}
	return e, true
}

// encodeEvent makes an entry's interruption-information field.
//
//go:nosplit
func encodeEvent(e virt.Event) uint64 {
	v := uint64(e.Vector) | uint64(e.Kind&7)<<8 | 1<<31
	if e.HasCode {
		v |= 1 << 11
	}
	return v
}

func decodeExit(x *exitFields, e *virt.Exit) {
	e.Code, e.Info1, e.Info2 = uint64(x.reason), x.qualification, x.guestPhys
	e.Length, e.InsnLen, e.Write = 0, 0, false
	if x.failed || x.reason>>31 != 0 {
		e.Reason = virt.ReasonInvalidState
		return
	}
	q := x.qualification
	if x.length >= 1 && x.length <= 15 {
		e.Length = uint8(x.length)
	}
	switch r := x.reason & 0xffff; r {
	case exitException:
		e.Reason = virt.ReasonException
		e.Event, _ = decodeEvent(x.event, x.code)
		e.Length = 0
	case exitTripleFault:
		e.Reason, e.Length = virt.ReasonShutdown, 0
	case exitInterruptWindow:
		e.Reason, e.Length = virt.ReasonInterruptWindow, 0
	case exitEPTViolation, exitEPTMisconfig:
		e.Reason, e.Length = virt.ReasonNestedFault, 0
		e.Fault = virt.NestedFault{GPA: mm.GuestPhys(x.guestPhys), Reserved: r == exitEPTMisconfig}
		if r == exitEPTViolation {
			e.Fault.Write, e.Fault.Fetch, e.Fault.Present = q&2 != 0, q&4 != 0, q&0x38 != 0
			e.Fault.Walk = q&(1<<7) != 0 && q&(1<<8) == 0
		}
	case exitIO:
		e.Reason = virt.ReasonIO
		e.IO = virt.IO{Port: uint16(q >> 16), In: q&8 != 0, String: q&16 != 0, Rep: q&32 != 0}
		switch q & 7 {
		case 0:
			e.IO.Size = 1
		case 1:
			e.IO.Size = 2
		default:
			e.IO.Size = 4
		}
		if e.IO.String { // table 28-9
			e.IO.Addr = [4]uint8{16, 32, 64, 0}[x.insn>>7&3]
			if s := virt.SegReg(x.insn >> 15 & 7); !e.IO.In && s <= virt.GS {
				e.IO.Segment, e.IO.SegmentKnown = s, true
			}
		}
	case exitCR:
		e.Reason = virt.ReasonCR
		e.CR = virt.CRAccess{CR: uint8(q & 15), GPR: uint8(q >> 8 & 15), Write: q>>4&3 != 1}
		switch q >> 4 & 3 {
		case 2:
			e.CR.Op, e.CR.CR = virt.CRClts, 0
		case 3:
			e.CR.Op, e.CR.CR, e.CR.Value = virt.CRLmsw, 0, q>>16&0xffff
		}
	case exitWRMSR:
		e.Reason, e.Write = virt.ReasonMSR, true
	default:
		e.Reason = reasonOf(r)
	}
}

func reasonOf(r uint32) virt.Reason {
	switch r {
	case exitCPUID:
		return virt.ReasonCPUID
	case exitHLT:
		return virt.ReasonHLT
	case exitINVD:
		return virt.ReasonINVD
	case exitINVLPG:
		return virt.ReasonINVLPG
	case exitRDPMC:
		return virt.ReasonRDPMC
	case exitRDTSC:
		return virt.ReasonRDTSC
	case exitRDTSCP:
		return virt.ReasonRDTSCP
	case exitVMCALL:
		return virt.ReasonHypercall
	case exitRDMSR:
		return virt.ReasonMSR
	case exitMWAIT:
		return virt.ReasonMwait
	case exitMONITOR:
		return virt.ReasonMonitor
	case exitPAUSE:
		return virt.ReasonPause
	case exitWBINVD:
		return virt.ReasonWBINVD
	case exitXSETBV:
		return virt.ReasonXSETBV
	case exitBadGuestState, exitMSRLoad:
		return virt.ReasonInvalidState
	case exitINVEPT, exitINVVPID, exitVMFUNC:
		return virt.ReasonVirtInsn
	}
	if r >= exitVMCLEAR && r <= exitVMXON {
		return virt.ReasonVirtInsn
	}
	return virt.ReasonUnknown
}
