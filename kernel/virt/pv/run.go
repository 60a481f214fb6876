package pv

import (
	"runtime"
	"sync/atomic"
	"time"

	"nidus/kernel/trace"
	"nidus/kernel/virt"
)

// stop says why loop came back.
type stop uint8

const (
	stopExit stop = iota
	stopKick
	stopBadCPU // a CPU that the machine was not made for
	// stopInterrupt is an interrupt, which has been taken: the guest goes on, but as a
	// system call of the runtime's. See guest.
	stopInterrupt
	stopMoved // the CPU that the vcpu was on keeps its page tables: see unkeep
)

// firstInterrupt is the first vector that is no exception.
const firstInterrupt = 32

// loop enters the guest until an exit needs Go; with away, the runtime thinks that it is a
// system call: nothing here allocates, blocks, splits the stack or stores a pointer.
// Each round begins with interrupts off, on whatever CPU the thread is by then.
//
//go:nosplit
func (v *vcpu) loop(away bool) stop {
	c := v.ctx
	for {
		cpu := interruptsOff()
	again:
		if cpu >= uint64(len(v.m.gdt)) {
			interruptsOn()
			return stopBadCPU
		}
		if v.lastCPU != cpu && v.kept() {
			interruptsOn()
			return stopMoved
		}
		// First running, then the request: whoever makes one does the opposite, so one
		// of the two sees the other. The exchange is the fence between them; the others
		// are plain stores and loads, which an x86 processor keeps in order as they are
		// needed (APM vol. 2, 7.2).
		c.cpu, c.running = cpu, 1
		if atomic.SwapUint32(&c.kick, 0) != 0 {
			c.running = 0
			interruptsOn()
			return stopKick
		}
		v.before(cpu)
		enter(c)
		if c.isolated != 0 && c.vec == virt.VectorPF && v.outdated() {
			goto again
		}
		did := c.fast
		if did != fastRefused && did != fastLook {
			did = v.short()
		}
		switch {
		case did >= fastReturn:
			goto again
		case did == fastLook:
			c.running = 0
			interruptsOn()
			return stopKick
		}
		c.running = 0
		if vec := c.vec; vec >= firstInterrupt && vec < vecSyscall && vec != v.softVector {
			takeInterrupt(vec)
			if !away {
				return stopInterrupt
			}
			continue
		}
		trace.Add(cpu, trace.Exit, uint32(v.id), c.vec)
		interruptsOn()
		return stopExit
	}
}

// flagsUser are the flags that a guest has as it likes (APM vol. 2, 3.1.6): CF PF AF ZF
// SF TF DF OF RF AC ID.
const flagsUser = 0x250dd5

// before brings the context up to date for an entry on CPU cpu: this CPU's own descriptors
// are in the guest's GDT, and interrupts reach us.
//
//go:nosplit
func (v *vcpu) before(cpu uint64) {
	c := v.ctx
	if atomic.LoadUint32(&c.flush) != 0 && atomic.SwapUint32(&c.flush, 0) != 0 {
		v.forget()
	}
	c.regs.RFLAGS = entered(c.regs.RFLAGS)
	if v.m.features.TSCAux {
		setTSCAux(v.sys[virt.TSCAux])
	}
	if v.lastCPU != cpu {
		atomic.StoreUint64(&v.lastCPU, cpu)
		// No CPU uses the old one that its TLB may have: the one that the vcpu was on has
		// other page tables. And whatever the vcpu was told to forget elsewhere, this one
		// may have, even of the same tables: another vcpu's.
		v.tables[gdtOwnPage] = leaf(v.m.gdt[cpu][c.narrow])
		v.forget()
	}
	if v.prepares {
		v.prepare() // after flush is read: what was changed before it was asked for is in
	}
	if v.m.mitigated {
		act(v.m.spec.Enter(cpu, v.area.domain)) // the last thing: see spec.Actions.Do
	}
}

// finish turns what loop said into e, for Go.
func (v *vcpu) finish(why stop, e *virt.Exit) {
	c := v.ctx
	e.Code, e.Info1, e.Info2, e.Length, e.InsnLen = c.vec, c.err, c.cr2, 0, 0
	switch {
	case why == stopKick:
		e.Reason = virt.ReasonKick
	case why == stopBadCPU:
		e.Reason = virt.ReasonInvalidState
	case c.vec == vecSyscall || c.vec == vecSyscall32 || c.vec == v.softVector:
		e.Reason = virt.ReasonHypercall
	case c.vec == vecBadState:
		v.pcids.forget() // the isolated root wasn't loaded
		e.Reason = virt.ReasonInvalidState
	default:
		e.Reason = virt.ReasonException
		e.Event = virt.Fault(uint8(c.vec), uint32(c.err))
	}
}

// Kick implements virt.VCPU.
func (v *vcpu) Kick() {
	atomic.StoreUint32(&v.ctx.kick, 1)
	v.notify()
}

// KickSoon implements virt.VCPU: an exit costs little.
func (v *vcpu) KickSoon() { v.Kick() }

// KickWord implements virt.VCPU.
func (v *vcpu) KickWord() *uint32 { return &v.ctx.kick }

// RequestFlush implements virt.VCPU: of the guest's own address space.
func (v *vcpu) RequestFlush() {
	atomic.StoreUint32(&v.ctx.flush, 1)
	v.notify()
	if v.kept() {
		dropRoot(atomic.LoadUint64(&v.lastCPU))
	}
}

// FlushPending implements virt.VCPU.
func (v *vcpu) FlushPending() bool {
	return atomic.LoadUint32(&v.ctx.flush) != 0 && (atomic.LoadUint32(&v.ctx.running) != 0 || v.kept())
}

// kept tells whether the CPU on which the vcpu was last keeps its page tables for it, and the
// vcpu's thread does not run there.
//
//go:nosplit
func (v *vcpu) kept() bool { return rootKept(atomic.LoadUint64(&v.lastCPU), address(v.ctx)) }

// unkeep makes the CPU on which the vcpu was last load other page tables than the vcpu's, if
// the vcpu's thread no longer runs there, and waits for it: at most one CPU has them.
func (v *vcpu) unkeep() {
	for again := int64(0); v.kept(); runtime.Gosched() {
		if t := now(); t >= again { // again, where an interrupt can be lost
			dropRoot(v.lastCPU)
			again = t + int64(time.Millisecond)
		}
	}
}

// FlushPage implements VCPU.
func (v *vcpu) FlushPage(va uint64) {
	c := v.ctx
	if c.npages == maxPages {
		v.forget()
		return
	}
	v.pcids.forget() // INVLPG is for the PCID that is loaded
	c.pages[c.npages] = va
	c.npages++
}

func (v *vcpu) notify() {
	if atomic.LoadUint32(&v.ctx.running) != 0 && v.cfg.Notify != nil {
		v.cfg.Notify(atomic.LoadUint64(&v.ctx.cpu))
	}
}

// owes tells whether packages pvmmu and evtchn have left something of this exit's to settle.
//
//go:nosplit
func (v *vcpu) owes() bool { return v.polled != 0 || v.gate.MMU != nil && v.gate.MMU.Owes() }

// settle does what they left.
func (v *vcpu) settle() {
	if n := v.polled; n != 0 {
		v.polled = 0
		v.gate.Events.WakePollers(n)
	}
	if v.gate.MMU != nil {
		v.gate.MMU.Settle()
	}
}
