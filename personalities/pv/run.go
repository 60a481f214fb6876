// Package pv runs paravirtualized guests: a vcpu's loop between two entries, its exits,
// and the making of such a domain. What the guest's kernel sees of its processor is
// package pvcpu, who may map what is package mm/pvmmu, what it finds when it starts is
// package start.
//
// Specifications: Xen's public headers xen.h, arch-x86/xen.h, arch-x86/xen-x86_64.h and
// xen-x86_32.h.
package pv

import (
	"fmt"
	"sync/atomic"

	"nidus/kernel/domain"
	"nidus/kernel/hypercall"
	"nidus/kernel/virt"
	hw "nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/personalities/paging"
)

// vcpu is a vcpu's loop: what it keeps between exits.
type vcpu struct {
	*domain.VCPU
	exit   virt.Exit
	exits  uint32
	hw     hw.VCPU
	kick   *uint32 // what makes it leave its guest
	writer tableWriter
	// unmakes: the domain has page tables to unmake before this guest goes on.
	unmakes bool
}

// clockExits is after how many exits the clock is looked at, for the guest's timers and how old
// its time is. A timer that is due kicks the vcpu, so it needn't be each time.
const clockExits = 16

// Run is a vcpu's goroutine, from Start until the domain is destroyed.
func Run(v *domain.VCPU) {
	r := &vcpu{VCPU: v, hw: v.HV.(hw.VCPU), kick: v.HV.KickWord()}
	// Whatever ends it, no CPU keeps page tables that are going.
	defer r.hw.Leave()
	for v.Ready() {
		if g := v.TakePVBoot(); g != nil {
			if err := r.start(g); err != nil {
				r.crash(err)
			}
		}
		for {
			// All that a kick until now may have been for is looked at below.
			kicked := atomic.LoadUint32(r.kick) != 0 && atomic.SwapUint32(r.kick, 0) != 0
			if v.Noticed() && v.MustStop() {
				break
			}
			if r.exits++; kicked || r.exits%clockExits == 0 || r.exit.Reason == virt.ReasonKick {
				r.Timers()
				r.UpdateTime(false)
			} else if r.TimersMoved() {
				r.Timers()
			}
			if r.unmaking() {
				continue
			}
			if !r.deliver() {
				break
			}
			r.Enter(&r.exit)
			r.handle()
		}
	}
}

// start puts a vcpu that comes up into the state that VCPUOP_initialise gave.
func (v *vcpu) start(g *xenabi.VCPUGuestContext) error {
	if err := v.PV.Start(g); err != nil {
		return fmt.Errorf("the state to start in: %w", err)
	}
	return v.HV.SetFPU(nil)
}

// deliver puts what is pending on the guest's stack; false: that ended the domain.
func (v *vcpu) deliver() bool {
	if v.NMIPending() && v.PV.NMIDue() {
		v.TakeNMI()
		if _, err := v.PV.DeliverNMI(); err != nil {
			v.crash(err)
			return false
		}
	}
	if !v.EventDue() || v.hw.Upcall() {
		return true
	}
	if _, err := v.PV.DeliverEvent(); err != nil {
		v.crash(err)
		return false
	}
	return true
}

// crash ends the domain for what its kernel did.
func (v *vcpu) crash(err error) { v.Domain.Crash(v.VCPU, err.Error()) }

// handle does what the guest's exit asks for.
func (v *vcpu) handle() {
	var err error
	switch e := &v.exit; e.Reason {
	case virt.ReasonKick:
	case virt.ReasonHypercall:
		err = v.call()
	case virt.ReasonException:
		err = v.exception(e.Event)
	case virt.ReasonInvalidState: // a selector of the guest's, or where it goes on
		if !v.FillSelectors() {
			err = v.PV.BadEntry()
		}
	default:
		v.Domain.Crash(v.VCPU, "exit that nobody handles: "+e.String())
	}
	if err != nil {
		v.crash(err)
	}
}

// call is SYSCALL, which means a hypercall in a kernel and a system call in a process; or
// INT 0x82 of a 32-bit kernel.
func (v *vcpu) call() error {
	if !v.PV.Kernel() {
		return v.PV.Syscall(v.exit.Code == hw.Syscall32)
	}
	switch o := hypercall.HandlePV(v.VCPU); o.Kind {
	case hypercall.Block:
		if !v.due() {
			v.Block(0)
		}
	case hypercall.Poll:
		if !v.due() {
			v.Block(o.At)
		}
		o.End(v.VCPU)
	case hypercall.Yield:
		v.Domain.Host.Thread.Yield()
	}
	return nil
}

// due tells whether something waits to be delivered to the guest.
func (v *vcpu) due() bool { return v.EventDue() || v.NMIPending() && v.PV.NMIDue() }

// exception is one that the guest's code raised.
func (v *vcpu) exception(e virt.Event) error {
	switch e.Vector {
	case virt.VectorMC:
		v.MachineCheck()
		return nil
	case virt.VectorPF:
		if v.tableWrite(e) {
			return nil
		}
		const code = paging.PFPresent | paging.PFUser // the processor's own access
		if e.Code&code == 0 {
			if at, filled, ldt := v.LDTFault(v.HV.Get(virt.CR2)); filled {
				return nil
			} else if ldt { // the guest knows it by its own address
				if err := v.HV.Set(virt.CR2, uint64(at)); err != nil {
					return err
				}
			}
		}
	}
	return v.PV.Exception(e)
}
