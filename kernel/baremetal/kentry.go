//go:build tamago

package baremetal

import "nidus/kernel/trace"

// kentry is where every call of the runtime, interrupt and exception arrives, on
// the CPU's entry stack, with the thread's registers saved.
func kentry() {
	c := pcpuAt(cpuself())
	t := threadAt(c.cur)
	c.stopPolling()
	flushIfWanted(c) // whatever became of the interrupt that asks for it
	switch v := t.vec; {
	case v == ^uint64(0):
		c.Stats.Calls++
		syscall(c, t)
	case v < 32:
		exception(c, t)
	default:
		interrupt(c, v&0xff)
	}
	if losesIRQs && c.resched == 0 {
		due(c)
	}
	if c.resched != 0 {
		now := Nanotime()
		lock(&klock)
		overdue(c, now) // what is due already needs no timer
		pick(c, now)
		if c.cur == c.idle {
			unlockAndKick()
		} else {
			unlockAndArm(c, now)
		}
	}
	if c.cur == c.idle {
		rest(c)
		return
	}
	if n := threadAt(c.cur); n.pending&^n.mask != 0 {
		deliver(n)
	}
}

func interrupt(c *pcpu, v uint64) {
	if v == vecIdle { // the idle thread has found something, or its time is over
		timeUp(c, Nanotime())
		return
	}
	c.Stats.Interrupts++
	if v != vecTimer {
		trace.Add(c.id, trace.IRQ, 0, v)
	}
	switch v {
	case vecSpurious:
		return
	case vecKick:
		apicWrite(apicEOI, 0)
		return
	case vecFlush:
		apicWrite(apicEOI, 0)
		flushIfWanted(c)
		dropIfWanted(c)
		return
	case vecTimer:
		c.Stats.Timers++
		apicWrite(apicEOI, 0)
		now := Nanotime()
		trace.Add(c.id, trace.Timer, 0, uint64(now-max(c.armed, 0)))
		c.armed = unarmed
		lock(&klock)
		overdue(c, now)
		if c.resched == 0 && c.cur != c.idle {
			unlockAndArm(c, now)
		} else {
			unlockAndKick()
		}
		return
	}
	deviceInterrupt(v)
}

// exception turns a CPU exception into the signal that Linux would send.
func exception(c *pcpu, t *thread) {
	const (
		sigILL, sigTRAP, sigFPE, sigSEGV = 4, 5, 8, 11
		fpeIntDiv, illOpn, trapTrace     = 1, 2, 0x80
		segvMapErr, siKernel, fpeFltInv  = 1, 0x80, 7
	)
	var sig, code, a uint64
	switch t.vec {
	case 0:
		sig, code, a = sigFPE, fpeIntDiv, t.rip
	case 3:
		sig, code = sigTRAP, trapTrace
	case 6:
		sig, code, a = sigILL, illOpn, t.rip
	case vecPageFault:
		a = rdcr2()
		if t.err&1 == 0 && touched(a) {
			return
		}
		sig, code = sigSEGV, segvMapErr
	case 13:
		sig, code = sigSEGV, siKernel
	case 16, 19:
		sig, code, a = sigFPE, fpeFltInv, t.rip
	default:
		fatalThread(t)
	}
	t.cr2 = a
	if t.idle != 0 || sigacts[sig].handler < 2 || t.mask>>(sig-1)&1 != 0 {
		fatalThread(t)
	}
	signalFrame(t, sig, code, a)
}
