//go:build tamago

package baremetal

// Signals: how the runtime learns of exceptions and of preemption. The frame is
// laid out as Linux does on x86-64 (uapi/asm/sigcontext.h, ucontext.h).

type sigact struct{ handler, flags, restorer, mask uint64 }

var sigacts [65]sigact

const (
	siTKill   = ^uint64(5) // -6
	saOnStack = 0x08000000

	// ucontext: flags, link, stack (24), then the registers at 40, mask at 296.
	ucRegs = 40
	ucMask = 296
	ucSize = 304
)

// deliver starts the handler of one pending signal. Others may add to those of t,
// which runs here: hence the lock.
func deliver(t *thread) {
	lock(&klock)
	defer unlock(&klock)
	for s := uint64(1); s < 65; s++ {
		b := uint64(1) << (s - 1)
		if t.pending&^t.mask&b == 0 {
			continue
		}
		t.pending &^= b
		if sigacts[s].handler < 2 {
			continue
		}
		signalFrame(t, s, siTKill, 0)
		return
	}
}

// signalFrame makes t run its handler for sig.
func signalFrame(t *thread, sig, code, a uint64) {
	h := &sigacts[sig]
	sp := t.rsp - 128
	if h.flags&saOnStack != 0 && t.altsize != 0 && !(t.rsp > t.altsp && t.rsp <= t.altsp+t.altsize) {
		sp = t.altsp + t.altsize
	}
	fp := (sp - 512) &^ 63
	if t.fxvalid != 0 {
		for i := uint64(0); i < 512; i += 8 {
			st64(fp+i, ld64(addr(&t.fx)+i))
		}
	}
	info := fp - 128
	uc := (info - ucSize - 16) &^ 15
	sp = uc - 8
	clear64(info, 128)
	st32(info, uint32(sig))
	st32(info+8, uint32(code))
	st64(info+16, a)
	st64(uc, t.fxvalid) // uc_flags: our own note
	st64(uc+8, 0)
	st64(uc+16, t.altsp)
	st64(uc+24, 0)
	st64(uc+32, t.altsize)
	g := uc + ucRegs
	for i, v := range [...]uint64{
		t.r8, t.r9, t.r10, t.r11, t.r12, t.r13, t.r14, t.r15,
		t.rdi, t.rsi, t.rbp, t.rbx, t.rdx, t.rax, t.rcx, t.rsp,
		t.rip, t.rflags, selData<<48 | selCode, t.err, t.vec, t.mask, t.cr2, fp,
	} {
		st64(g+uint64(i)*8, v)
	}
	st64(uc+ucMask, t.mask)
	st64(sp, h.restorer)
	t.mask |= h.mask | 1<<(sig-1)
	t.rsp = sp
	t.rip = h.handler
	t.rdi, t.rsi, t.rdx = sig, info, uc
	t.rax = 0
	t.rflags = interruptOn
	t.fxvalid = 0
}

// sigreturn takes back what signalFrame saved, as the handler left it.
func sigreturn(t *thread) {
	uc := t.rsp
	g := uc + ucRegs
	t.r8, t.r9, t.r10, t.r11 = ld64(g), ld64(g+8), ld64(g+16), ld64(g+24)
	t.r12, t.r13, t.r14, t.r15 = ld64(g+32), ld64(g+40), ld64(g+48), ld64(g+56)
	t.rdi, t.rsi, t.rbp, t.rbx = ld64(g+64), ld64(g+72), ld64(g+80), ld64(g+88)
	t.rdx, t.rax, t.rcx, t.rsp = ld64(g+96), ld64(g+104), ld64(g+112), ld64(g+120)
	t.rip, t.rflags = ld64(g+128), ld64(g+136)
	t.mask = ld64(uc + ucMask)
	t.fxvalid = ld64(uc)
	if t.fxvalid != 0 {
		fp := ld64(g + 184)
		for i := uint64(0); i < 512; i += 8 {
			st64(addr(&t.fx)+i, ld64(fp+i))
		}
	}
}

func sysSigaction(sig, act, old uint64) uint64 {
	if sig == 0 || sig > 64 {
		return errno(einval)
	}
	s := &sigacts[sig]
	if old != 0 {
		st64(old, s.handler)
		st64(old+8, s.flags)
		st64(old+16, s.restorer)
		st64(old+24, s.mask)
	}
	if act != 0 {
		s.handler, s.flags, s.restorer, s.mask = ld64(act), ld64(act+8), ld64(act+16), ld64(act+24)
	}
	return 0
}

func sysSigprocmask(t *thread, how, set, old uint64) uint64 {
	const block, unblock = 0, 1
	o := t.mask
	if set != 0 {
		switch m := ld64(set); how {
		case block:
			t.mask |= m
		case unblock:
			t.mask &^= m
		default:
			t.mask = m
		}
	}
	if old != 0 {
		st64(old, o)
	}
	return 0
}

func sysSigaltstack(t *thread, ss, old uint64) uint64 {
	const disable = 2
	if old != 0 {
		f := uint64(0)
		if t.altsize == 0 {
			f = disable
		}
		st64(old, t.altsp)
		st64(old+8, f)
		st64(old+16, t.altsize)
	}
	if ss != 0 {
		t.altsp, t.altsize = ld64(ss), ld64(ss+16)
		if ld64(ss+8)&disable != 0 {
			t.altsp, t.altsize = 0, 0
		}
	}
	return 0
}

// sysTgkill marks sig pending; a thread that runs on another CPU takes it there.
func sysTgkill(c *pcpu, tid, sig uint64) uint64 {
	if tid-1 >= MaxThreads || sig-1 >= 64 {
		return errno(einval)
	}
	t := &threads[tid-1]
	lock(&klock)
	defer unlockAndKick()
	if t.state == threadFree {
		return errno(esrch)
	}
	t.pending |= 1 << (sig - 1)
	switch {
	case t.state == threadRunning && t.cpu != c.id:
		c.kicks |= 1 << t.cpu
	case t.state == threadReady: // stop-the-world waits for it
		choose(policy.Boost(uint16(t.id-1), Nanotime()))
	}
	return 0
}
