package pv

import "nidus/kernel/virt"

// An exit that pass does needs little of the processor: fastExit does it before the guest's state has been
// brought out of it, and the guest goes on.

// What fastExit says.
const (
	fastRefused = 1 // nothing has happened: it is Go's
	fastLook    = 2 // it is done, but Go has to deliver an event, or to settle what is owed
	fastReturn  = 3 // the guest goes on
	fastSysret  = 4 // likewise, and SYSRET takes it there: RCX is RIP, R11 is RFLAGS
)

// fastStack is how much of the entry stack is left for a fault while fastExit runs.
const fastStack = 1024

// fastExit is called by the entry code, on its stack, with interrupts off. It and all that it calls may use no
// register of SSE's but X15.
//
//go:nosplit
func fastExit(v *vcpu) uint64 {
	did := v.short()
	if did < fastReturn {
		return did
	}
	c := v.ctx
	r := &c.regs
	r.RFLAGS = entered(r.RFLAGS)
	c.keep = v.pcids.load(c.cr3)
	if v.m.mitigated {
		act(v.m.spec.Enter(c.cpu, v.area.domain))
	}
	if c.vec == vecSyscall && r.RCX == r.RIP && r.R11 == r.RFLAGS && c.cs == SelCode64 && c.ss == SelData && virt.Canonical(r.RIP) {
		return fastSysret
	}
	return did
}

// short does an exit by pass, with the upcall that is due after it, and says what comes next.
//
//go:nosplit
func (v *vcpu) short() uint64 {
	switch {
	case !v.pass():
		return fastRefused
	case v.gate.Info.Load().Due() && !v.upcall(), v.owes():
		return fastLook
	}
	return fastReturn
}

// entered is RFLAGS as a guest runs with them.
//
//go:nosplit
func entered(flags uint64) uint64 { return flags&flagsUser | virt.FlagIF | virt.FlagFixed }
