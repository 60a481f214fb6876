package pvh

import (
	"errors"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/personalities/cpuid"
	"nidus/personalities/msr"
)

// handle does what the guest's exit asks for.
func (v *vcpu) handle() {
	e := &v.exit
	switch e.Reason {
	case virt.ReasonKick:
	case virt.ReasonNMIWindow:
		v.HV.RequestNMIWindow(false)
	case virt.ReasonInterruptWindow:
		v.window = false
		v.HV.RequestInterruptWindow(false)
	case virt.ReasonHypercall:
		v.hypercall()
	case virt.ReasonHLT:
		v.halted = v.skip() && v.HV.Regs().RFLAGS&virt.FlagTF == 0 // its trap ends HLT
		// With interrupts off it goes down, as under Xen: Linux ends so.
		if v.halted && v.HV.Regs().RFLAGS&virt.FlagIF == 0 && !v.NMIPending() {
			v.Down()
		}
	case virt.ReasonCPUID:
		v.cpuid()
	case virt.ReasonMSR:
		v.msr()
	case virt.ReasonRDTSC, virt.ReasonRDTSCP:
		v.rdtsc()
	case virt.ReasonIO:
		v.io()
	case virt.ReasonNestedFault:
		v.nestedFault()
	case virt.ReasonCR:
		v.controlRegister()
	case virt.ReasonXSETBV:
		v.xsetbv()
	case virt.ReasonINVD, virt.ReasonWBINVD, virt.ReasonPause:
		v.skip()
	case virt.ReasonRDPMC:
		v.fault(virt.VectorGP, 0)
	case virt.ReasonMonitor, virt.ReasonMwait, virt.ReasonVirtInsn:
		v.fault(virt.VectorUD, 0)
	case virt.ReasonException:
		if e.Event.Vector == virt.VectorMC {
			v.MachineCheck()
			return
		}
		v.event(e.Event)
	case virt.ReasonShutdown:
		v.tripleFault()
	case virt.ReasonInvalidState:
		v.Domain.Crash(v.VCPU, "the processor refuses the guest's state: "+e.String())
	default:
		v.Domain.Crash(v.VCPU, "exit that nobody handles: "+e.String())
	}
}

// skip moves behind the instruction that exited. False: its bytes changed while
// we looked, and the guest goes on with what is there now.
func (v *vcpu) skip() bool {
	err := v.HV.Skip(&v.exit)
	switch {
	case err == nil:
		v.missing = 0
		return true
	case errors.Is(err, virt.ErrFetch):
		if !v.again() {
			v.Domain.Crash(v.VCPU, "the instruction that exits can't be read: "+v.exit.String())
		}
	default:
		v.Domain.Crash(v.VCPU, err.Error())
	}
	return false
}

// again tells whether to enter the guest once more with an instruction that could
// not be read: another vcpu can change it, or its page table, between the exit and
// the look, but not for ever.
func (v *vcpu) again() bool {
	const patience = 1000
	v.missing++
	return v.missing <= patience
}

func (v *vcpu) fault(vector uint8, code uint32) { v.event(virt.Fault(vector, code)) }

// tripleFault is a shutdown of the processor: as Xen does, the domain's by the
// reason that HVM_PARAM_TRIPLE_FAULT_REASON names.
func (v *vcpu) tripleFault() {
	reason, _ := v.Domain.Param(xenabi.HVMParamTripleFaultReason)
	if reason > xenabi.ShutdownMax {
		reason = xenabi.ShutdownCrash
	}
	v.Domain.Fail(v.VCPU, "triple fault", uint32(reason))
}

func (v *vcpu) cpuid() {
	r := v.HV.Regs()
	a, b, c, d := v.Domain.Policy.CPUID(cpuid.VCPUInfo{
		ID: uint32(v.ID), APICEnabled: v.APIC.HardwareEnabled(),
		OSXSAVE: v.HV.Get(virt.CR4)&virt.CR4OSXSAVE != 0, XCR0: v.HV.Get(virt.XCR0),
	}, uint32(r.RAX), uint32(r.RCX))
	if v.skip() {
		r.RAX, r.RBX, r.RCX, r.RDX = uint64(a), uint64(b), uint64(c), uint64(d)
	}
}

// rdtsc: the TSC is emulated. The processor has checked CR4.TSD before the exit
// (APM vol. 2, 15.7; Intel SDM vol. 3, 26.1.1).
func (v *vcpu) rdtsc() {
	r := v.HV.Regs()
	p := v.exit.Reason == virt.ReasonRDTSCP
	if p && v.Domain.Policy.Leaf(0x80000001, 0).D>>27&1 == 0 {
		v.fault(virt.VectorUD, 0)
		return
	}
	if !v.skip() {
		return
	}
	tsc := v.GuestTSC()
	r.RAX, r.RDX = tsc&0xffffffff, tsc>>32
	if p {
		r.RCX = v.HV.Get(virt.TSCAux) & 0xffffffff
	}
}

func (v *vcpu) msr() {
	r := v.HV.Regs()
	index := uint32(r.RCX)
	if v.exit.Write {
		if v.MSR.Write(index, r.RDX<<32|r.RAX&0xffffffff) != msr.None {
			v.fault(virt.VectorGP, 0)
			return
		}
		v.skip()
		return
	}
	val, f := v.MSR.Read(index)
	if f != msr.None {
		v.fault(virt.VectorGP, 0)
		return
	}
	if v.skip() {
		r.RAX, r.RDX = val&0xffffffff, val>>32
	}
}

// nestedFault: memory that is to be made, the local APIC's page, or nothing.
func (v *vcpu) nestedFault() {
	f := v.exit.Fault
	if !f.Present {
		ok, err := v.Domain.Space.Demand(f.GPA.Frame())
		if err != nil {
			v.Domain.Crash(v.VCPU, fmt.Sprintf("memory on demand at %#x: %v", f.GPA, err))
			return
		}
		if ok {
			return
		}
	}
	if f.Reserved {
		v.Domain.Crash(v.VCPU, fmt.Sprintf("nested page table damaged at %#x", f.GPA))
		return
	}
	if f.Walk {
		v.Domain.Crash(v.VCPU, fmt.Sprintf("the guest's page table is at %#x, where no memory is", f.GPA))
		return
	}
	if f.Fetch {
		v.Domain.Crash(v.VCPU, fmt.Sprintf("the guest executes at %#x, where no memory is", f.GPA))
		return
	}
	v.emulate()
}
