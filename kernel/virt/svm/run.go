package svm

import (
	"sync/atomic"

	"nidus/kernel/trace"
	"nidus/kernel/virt"
)

// stop says why loop came back.
type stop uint8

const (
	stopExit stop = iota
	stopKick
	stopNMIWindow
	stopTriple // an injected exception met a double fault
	stopBadCPU // a CPU that the machine was not made for
)

// How the event of an entry is delivered.
const (
	injectNothing = iota
	injectEvent   // EVENTINJ
	injectVirtual // V_IRQ, which the guest takes at once
	injectOffered // V_IRQ, which it takes when it allows interrupts
)

// loop enters the guest until an exit needs Go. The runtime thinks that it is a
// system call: nothing here allocates, blocks, splits the stack or stores a
// pointer. Each round begins with interrupts off, on whatever CPU the thread is
// by then, and ends with them on, so that a pending one is taken.
//
//go:nosplit
func (v *vcpu) loop() stop {
	c := v.ctx
	for {
		cpu := interruptsOff()
		if cpu >= uint64(len(v.m.cpus)) {
			interruptsOn()
			return stopBadCPU
		}
		// first running, then the requests: whoever makes one does the
		// opposite, so one of the two sees the other
		atomic.StoreUint64(&c.cpu, cpu)
		atomic.StoreUint32(&c.running, 1)
		why := stopKick
		again := false
		if atomic.SwapUint32(&c.kick, 0) == 0 {
			v.before(&v.m.cpus[cpu], cpu)
			enter(c)
			if why, again = v.after(); !again {
				trace.Add(cpu, trace.Exit, uint32(v.id), v.vmcb.ExitCode)
			}
		}
		atomic.StoreUint32(&c.running, 0)
		interruptsOn()
		if !again {
			return why
		}
	}
}

// before brings the control block up to date for an entry on CPU cpu.
//
//go:nosplit
func (v *vcpu) before(p *percpu, cpu uint64) {
	c, b := v.ctx, v.vmcb
	if atomic.SwapUint32(&c.flush, 0) != 0 {
		v.tag = tag{}
	}
	b.TLBControl = tlbKeep
	renewed, flush := p.tags.assign(&v.tag, cpu)
	if renewed {
		b.ASID = v.tag.asid
		v.clean &^= cleanASID
	}
	if flush {
		b.TLBControl = tlbFlushAll
	}
	if v.m.features.TSCAux {
		setTSCAux(v.tscAux) // a PV guest's may be there
	}
	if v.lastCPU != cpu || p.loaded != v.id {
		v.lastCPU, p.loaded = cpu, v.id
		v.clean = 0
		if v.m.features.TSCScaling {
			writeMSR(msrTSCRatio, v.tscRatio)
		}
	}
	b.EventInj = 0
	v.injecting = injectNothing
	if e, ok := v.pending.Next(v.interruptible(), !v.nmiMasked); ok {
		if e.Kind == virt.Interrupt {
			// As a virtual interrupt: QEMU's TCG may deliver one in EVENTINJ twice
			// (docs/exit.md). A window opens at the next exit.
			v.virtual(cpu, injectVirtual, e.Vector)
		} else {
			b.EventInj, v.injecting = encodeEvent(e), injectEvent
			trace.Add(cpu, trace.Enter, uint32(v.id), 256+uint64(e.Vector))
			if e.Kind == virt.NMI {
				v.maskNMI()
			}
		}
	}
	switch window := v.window || v.pending.Held(); {
	case v.injecting == injectVirtual:
	case v.injecting == injectNothing && v.offered != 0 && !window:
		v.virtual(cpu, injectOffered, v.offered)
	default: // with an exception on its way, what is offered waits for a window
		v.setWindow(window || v.offered != 0)
	}
	b.RAX, b.RSP, b.RIP, b.RFLAGS = c.regs.RAX, c.regs.RSP, c.regs.RIP, c.regs.RFLAGS
	if v.m.mitigated {
		v.barriers(cpu)
	}
	b.Clean = v.clean
}

// virtual gives the guest a virtual interrupt with the coming entry.
//
//go:nosplit
func (v *vcpu) virtual(cpu uint64, how, vector uint8) {
	v.setWindow(false)
	v.vmcb.VIntr = v.vmcb.VIntr&^vVectorMask | vWindowBits | uint64(vector)<<vVectorShift
	v.clean &^= cleanIntr
	v.injecting = how
	trace.Add(cpu, trace.Enter, uint32(v.id), uint64(vector))
}

// after takes an exit in; again says that the guest just goes on.
//
//go:nosplit
func (v *vcpu) after() (why stop, again bool) {
	c, b := v.ctx, v.vmcb
	entered := c.regs.RIP
	c.regs.RAX, c.regs.RSP, c.regs.RIP, c.regs.RFLAGS = b.RAX, b.RSP, b.RIP, b.RFLAGS
	if b.ExitCode == exitInvalid32 {
		b.ExitCode = exitInvalid
	}
	if b.ExitCode == exitInvalid && b.RIP == entered { // refused: nothing was delivered
		v.clean = 0
		return stopExit, false
	}
	if v.m.features.CleanBits {
		v.clean = cleanAll
	}
	e, cut := decodeEvent(b.ExitIntInfo)
	switch v.injecting {
	case injectEvent:
		v.pending.Delivered()
	case injectVirtual, injectOffered:
		// still set, it was either on its way, and comes again below, or not taken
		if b.VIntr&vIRQ == 0 || cut && e.Kind == virt.Interrupt {
			if v.injecting == injectVirtual {
				v.pending.Delivered()
			} else {
				v.offered = 0
			}
			v.doubtful = v.m.tcg
		}
		// The vector stays: QEMU's TCG may deliver it once more (docs/exit.md), and another is worse.
		b.VIntr &^= vWindowBits
		v.clean &^= cleanIntr
	}
	if cut {
		v.pending.Again(e)
		if e.Kind == virt.NMI {
			v.unmaskNMI() // it comes again
		}
	}
	if v.iretSeen && c.regs.RIP != v.iretRIP {
		v.iretSeen, v.nmiMasked = false, false
	}
	if (b.DR6|b.DR7)>>32 != 0 {
		// QEMU's TCG takes these bits, which raise #GP on a processor, and then
		// refuses VMRUN.
		b.DR6, b.DR7 = b.DR6&0xffffffff, b.DR7&0xffffffff
		v.clean &^= cleanDR
	}
	if c.drLive != 0 && b.DR7&0xff == 0 {
		v.setDebug(false)
	}
	switch x := b.ExitCode; {
	case x == exitINTR || x == exitNMI:
		if v.doubtful {
			v.doubtful = false
			return stopKick, false // is what the guest was told of still pending?
		}
		again = true
	case x >= exitDR0Read && x < exitExc0:
		v.setDebug(true)
		again = true
	case x == exitIRET:
		v.unmaskAtIRET()
		again = true
	case x == exitVINTR && !v.window:
		again = true // held is offered now
	case x == exitExc0+virt.VectorDB && v.exceptions&(1<<virt.VectorDB) == 0,
		x == exitExc0+virt.VectorAC && v.exceptions&(1<<virt.VectorAC) == 0:
		if v.pending.Inject(virt.Fault(uint8(x-exitExc0), uint32(b.ExitInfo1))) != nil {
			return stopTriple, false
		}
		again = true
	}
	if again && v.nmiWindow && v.nmiAllowed() {
		return stopNMIWindow, false
	}
	return stopExit, again
}

//go:nosplit
func (v *vcpu) interruptible() bool {
	return v.ctx.regs.RFLAGS&virt.FlagIF != 0 && v.vmcb.IntShadow&1 == 0
}

//go:nosplit
func (v *vcpu) nmiAllowed() bool {
	return !v.nmiMasked && v.vmcb.IntShadow&1 == 0 && v.pending.Empty()
}

// setWindow asks for an exit when the guest would take an interrupt: a virtual
// interrupt of the highest priority, whose delivery is intercepted. It is asked for
// at each entry, because QEMU's TCG may lose it (docs/exit.md).
//
//go:nosplit
func (v *vcpu) setWindow(on bool) {
	b := v.vmcb
	set := b.InterceptMisc1&misc1VINTR != 0
	switch {
	case on && !(set && b.VIntr&vIRQ != 0):
		b.InterceptMisc1 |= misc1VINTR
		b.VIntr |= vWindowBits
	case !on && set:
		b.InterceptMisc1 &^= misc1VINTR
		b.VIntr &^= vWindowBits
	default:
		return
	}
	v.clean &^= cleanIntercepts | cleanIntr
}

// setDebug switches between exits at each access to a debug register, and DR0
// to DR3 being the guest's at each entry.
//
//go:nosplit
func (v *vcpu) setDebug(live bool) {
	if live {
		v.ctx.drLive, v.vmcb.InterceptDR = 1, 0
	} else {
		v.ctx.drLive, v.vmcb.InterceptDR = 0, ^uint32(0)
	}
	v.clean &^= cleanIntercepts
}

// An NMI masks others until IRET, which SVM doesn't track: IRET exits then. It
// has happened when RIP has moved on.
//
//go:nosplit
func (v *vcpu) maskNMI() {
	v.nmiMasked, v.iretSeen = true, false
	v.vmcb.InterceptMisc1 |= misc1IRET
	v.clean &^= cleanIntercepts
}

//go:nosplit
func (v *vcpu) unmaskNMI() {
	v.nmiMasked, v.iretSeen = false, false
	v.vmcb.InterceptMisc1 &^= misc1IRET
	v.clean &^= cleanIntercepts
}

//go:nosplit
func (v *vcpu) unmaskAtIRET() {
	v.iretSeen, v.iretRIP = true, v.ctx.regs.RIP
	v.vmcb.InterceptMisc1 &^= misc1IRET
	v.clean &^= cleanIntercepts
}

// finish turns what loop said into e, for Go.
func (v *vcpu) finish(why stop, e *virt.Exit) {
	e.Code, e.Info1, e.Info2, e.Length, e.InsnLen = 0, 0, 0, 0, 0
	switch why {
	case stopKick:
		e.Reason = virt.ReasonKick
	case stopNMIWindow:
		e.Reason = virt.ReasonNMIWindow
	case stopTriple:
		e.Reason = virt.ReasonShutdown
	case stopBadCPU:
		e.Reason = virt.ReasonInvalidState
	default:
		decodeExit(v.vmcb, &v.m.features, e)
		v.complete(e)
	}
}

// Kick implements virt.VCPU.
func (v *vcpu) Kick() {
	atomic.StoreUint32(&v.ctx.kick, 1)
	v.notify()
}

// KickSoon implements virt.VCPU: QEMU's TCG empties the TLB with every exit.
func (v *vcpu) KickSoon() {
	if !v.m.tcg || v.cfg.NotifySoon == nil {
		v.Kick()
		return
	}
	atomic.StoreUint32(&v.ctx.kick, 1)
	if atomic.LoadUint32(&v.ctx.running) != 0 {
		v.cfg.NotifySoon(&v.ctx.kick, &v.ctx.running, &v.ctx.cpu)
	}
}

// KickWord implements virt.VCPU.
func (v *vcpu) KickWord() *uint32 { return &v.ctx.kick }

// RequestFlush implements virt.VCPU.
func (v *vcpu) RequestFlush() {
	atomic.StoreUint32(&v.ctx.flush, 1)
	v.notify()
}

// FlushPending implements virt.VCPU.
func (v *vcpu) FlushPending() bool {
	return atomic.LoadUint32(&v.ctx.flush) != 0 && atomic.LoadUint32(&v.ctx.running) != 0
}

func (v *vcpu) notify() {
	if atomic.LoadUint32(&v.ctx.running) != 0 && v.cfg.Notify != nil {
		v.cfg.Notify(atomic.LoadUint64(&v.ctx.cpu))
	}
}
