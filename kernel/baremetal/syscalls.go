//go:build tamago

package baremetal

import (
	"sync/atomic"

	"nidus/mm"
	"nidus/sched"
)

// The Linux calls that the Go runtime makes (uapi/asm/unistd_64.h), and ours.

const (
	esrch     = 3
	ebadf     = 9
	eagain    = 11
	enomem    = 12
	enoent    = 2
	enodev    = 19
	einval    = 22
	eperm     = 1
	enosys    = 38
	etimedout = 110
)

func errno(e int64) uint64 { return uint64(-e) }

const (
	fdEpoll = 100
	fdEvent = 101
)

// Calls of our own, made with call.
const (
	callMapDevice = 0x1000 + iota
	callTake
	callRelease
	callFrameStats
	callVCPU
	callShare
	callResetGroup
	callCPUInit
	callDropIdentity
	callAffinity
	callSpare
	callKickSoon
	callDeadline
	callRouteIRQ
	callServed
	callWait // futex, of a vcpu that waits for its own deadline too
	callRest
	callLeaveVCPU
	callShow

	// mkoverlay has the runtime's exitThread make this one.
	callExitThread = 0x1100
)

var (
	evCount uint64 // the runtime's eventfd
	evData  uint64 // its epoll cookie

	unknownCalls [512 / 8]byte // logged once each
)

func syscall(c *pcpu, t *thread) {
	a0, a1, a2, a3 := t.rdi, t.rsi, t.rdx, t.r10
	r := uint64(0)
	touchArguments(t)
	switch n := t.rax; n {
	case 0: // read
		r = sysRead(a0, a1, a2)
	case 1: // write
		r = sysWrite(a0, a1, a2)
	case 2, 257, 267, 89, 262, 4, 6, 21, 269, 332: // open and its kin: no files here
		r = errno(enoent)
	case 3: // close
	case 9:
		lock(&memlock)
		r = sysMmap(a0, a1, a2, a3)
		unlock(&memlock)
	case 10: // mprotect
	case 11:
		lock(&memlock)
		r = sysMunmap(a0, a1)
		unlock(&memlock)
	case 13:
		r = sysSigaction(a0, a1, a2)
	case 14:
		r = sysSigprocmask(t, a0, a1, a2)
	case 15:
		sigreturn(t)
		return
	case 24: // sched_yield
		c.leaving = sched.Yielded
		c.resched = 1
	case 28:
		lock(&memlock)
		r = sysMadvise(a0, a1, a2)
		unlock(&memlock)
	case 35: // nanosleep
		d := timespec(a0)
		if d <= spinSleep && t.id != monitorThread {
			spin(c, Nanotime()+d)
			break
		}
		lock(&klock)
		if t.id == monitorThread {
			d = max(d, monitorPause())
		}
		block(c, t, kindSleep, after(d))
		unlockAndKick()
	case 39: // getpid
		r = 1
	case 56:
		r = sysClone(t)
	case 60: // exit
		sysExit(c, t)
		return
	case callExitThread:
		st32(a0, 0) // freeMStack: the stack is in nobody's use any more
		sysExit(c, t)
		return
	case 72: // fcntl: three descriptors are open
		const getFlags, readWrite = 3, 2
		if a0 > 2 {
			r = errno(ebadf)
		} else if a1 == getFlags {
			r = readWrite
		}
	case 131: // sigaltstack
		r = sysSigaltstack(t, a0, a1)
	case 186: // gettid
		r = t.id
	case 200: // tkill
		r = sysTgkill(c, a0, a1)
	case 234: // tgkill
		r = sysTgkill(c, a1, a2)
	case 202, callWait:
		if n == callWait {
			t.leaveAt = 0
		}
		sysFutex(c, t, a0, a1, uint32(a2), a3)
		return
	case 204: // sched_getaffinity
		st64(a2, 1<<ncpu-1)
		r = 8
	case 228: // clock_gettime
		ns := Nanotime()
		const realtime = 0
		if a0 == realtime {
			ns += atomic.LoadInt64(&wallOffset)
		}
		st64(a1, uint64(ns/1e9))
		st64(a1+8, uint64(ns%1e9))
	case 231: // exit_group
		exitGroup(a0)
	case 290: // eventfd2
		r = fdEvent
	case 291: // epoll_create1
		r = fdEpoll
	case 233: // epoll_ctl
		const add = 1
		if a1 == add && a2 == fdEvent {
			evData = uint64(ld32(a3+4)) | uint64(ld32(a3+8))<<32
		} else {
			r = errno(eperm) // not pollable
		}
	case 281, 232:
		sysEpollWait(c, t, a1, int32(a3))
		return
	case 318: // getrandom
		for i := uint64(0); i < a1; i++ {
			st8(a0+i, byte(randomWord()>>32))
		}
		r = a1
	case callMapDevice:
		r = mapDevice(a0, a1, a2)
	case callTake:
		lock(&memlock)
		m, ok := Frames.Take(uint(a0), mm.FrameKind(a1), mm.Zone(a2))
		unlock(&memlock)
		r = uint64(m)
		if !ok {
			r = uint64(mm.InvalidMFN)
		}
	case callRelease:
		lock(&memlock)
		Frames.Release(mm.MFN(a0), uint(a1), mm.FrameKind(a2))
		unlock(&memlock)
	case callFrameStats:
		lock(&memlock)
		*frameStatsAt(a0) = Frames.Stats()
		unlock(&memlock)
	case callVCPU:
		lock(&klock)
		choose(policy.SetClass(uint16(t.id-1), sched.VCPU, Nanotime()))
		setShare(t, a0, a1, a2)
		t.place, t.gptr = a3, currentG(t)
		unlockAndKick()
	case callRest:
		c.resched = 1
	case callLeaveVCPU:
		lock(&klock)
		t.place = 0
		now := Nanotime()
		policy.SetBusy(uint16(t.id-1), false)
		choose(policy.SetGroup(uint16(t.id-1), sched.NoGroup, now))
		choose(policy.SetClass(uint16(t.id-1), sched.Host, now))
		unlockAndKick()
	case callShare:
		lock(&klock)
		if a0-1 < MaxThreads && threads[a0-1].state != threadFree {
			setShare(&threads[a0-1], a1, a2, a3)
			r = setAffinity(&threads[a0-1], t.r8, t.r9)
		}
		unlockAndKick()
	case callResetGroup:
		lock(&klock)
		choose(policy.ResetGroup(uint16(a0), Nanotime()))
		unlockAndKick()
	case callAffinity:
		lock(&klock)
		r = setAffinity(t, a0, a1)
		unlockAndKick()
	case callSpare:
		lock(&klock)
		policy.Spare(uint16(t.id-1), true)
		unlock(&klock)
	case callKickSoon:
		kickSoon(c, t, late{a0, a1, a2})
	case callDeadline:
		lock(&klock)
		cancelDeadline(t)
		t.kickWord, t.leaveAt = a1, int64(a0)
		if a0 != 0 {
			setDeadline(c, t, int64(a0))
		}
		unlockAndArm(c, Nanotime())
	case callRouteIRQ:
		if routeIRQ(a0, uint32(a1), lineOf(a2)) {
			r = 1
		}
	case callServed:
		served(a0, a1)
	case callShow:
		if show(c, a0, a1) {
			r = 1
		}
	case callDropIdentity:
		lock(&memlock)
		st64(table(ld64(table(ld64(table(hostL4, 0))&pteAddr, 0))&pteAddr, 0), 0)
		flushAll()
		unlock(&memlock)
	case callCPUInit:
		lock(&memlock)
		cpuInit(a0, a1)
		pcpuOf(a0).useEntryStack()
		unlock(&memlock)
	// prlimit, setitimer, timer_*, sysinfo, uname...: the runtime does without
	case 5, 302, 157, 38, 222, 223, 226, 27, 63, 16, 102, 104, 107, 108, 79, 110, 203, 334, 439:
		r = errno(enosys)
	default:
		if n < 512 && unknownCalls[n/8]>>(n%8)&1 == 0 {
			unknownCalls[n/8] |= 1 << (n % 8)
			print2("baremetal: unknown call ", n)
		}
		r = errno(enosys)
	}
	t.rax = r
}

// touchArguments maps the memory that a call's arguments point at, where that has
// not been touched yet.
func touchArguments(t *thread) {
	switch t.rax {
	case 0, 1: // read, write
		touch(t.rsi, t.rdx)
	case 13: // rt_sigaction
		touch(t.rsi, 32)
		touch(t.rdx, 32)
	case 131: // sigaltstack
		touch(t.rdi, 24)
		touch(t.rsi, 24)
	case 14: // rt_sigprocmask
		touch(t.rsi, 8)
		touch(t.rdx, 8)
	case 35: // nanosleep
		touch(t.rdi, 16)
	case 202, callWait: // futex
		touch(t.rdi, 4)
		touch(t.r10, 16)
	case 204: // sched_getaffinity
		touch(t.rdx, 8)
	case 228, 281, 232: // clock_gettime, epoll_pwait
		touch(t.rsi, 16)
	case 233: // epoll_ctl
		touch(t.r10, 16)
	case 318: // getrandom
		touch(t.rdi, t.rsi)
	case callFrameStats:
		touch(t.rdi, frameStatsSize)
	case callDeadline:
		touch(t.rsi, 4)
	}
}

// after is the time d ns from now; one that does not fit is far away.
func after(d int64) int64 { return Nanotime() + min(max(d, 0), maxWait) }

func timespec(p uint64) int64 { return int64(ld64(p))*1e9 + int64(ld64(p+8)) }

func sysRead(fd, buf, n uint64) uint64 {
	if fd <= 2 {
		return 0
	}
	if fd != fdEvent || n < 8 {
		return errno(ebadf)
	}
	lock(&klock)
	v := evCount
	evCount = 0
	unlockAndKick()
	if v == 0 {
		return errno(eagain)
	}
	st64(buf, v)
	return 8
}

func sysWrite(fd, buf, n uint64) uint64 {
	switch fd {
	case 1, 2:
		serialWrite(buf, n)
		return n
	case fdEvent:
		lock(&klock)
		evCount += ld64(buf)
		for i := range threads {
			if t := &threads[i]; t.state == threadBlocked && t.kind == kindEpoll {
				epollEvent(t.evbuf)
				wake(t, 1)
			}
		}
		unlockAndKick()
		return 8
	}
	return errno(ebadf)
}

func epollEvent(p uint64) {
	const in = 1
	st32(p, in)
	st32(p+4, uint32(evData))
	st32(p+8, uint32(evData>>32))
}

func sysEpollWait(c *pcpu, t *thread, events uint64, ms int32) {
	lock(&klock)
	defer unlockAndKick()
	t.rax = 0
	if evCount != 0 {
		epollEvent(events)
		t.rax = 1
		return
	}
	if ms == 0 {
		return
	}
	at := int64(0)
	if ms > 0 {
		at = after(int64(ms) * 1e6)
	}
	t.evbuf = events
	block(c, t, kindEpoll, at)
}

func sysFutex(c *pcpu, t *thread, a, op uint64, v uint32, timeout uint64) {
	const wait, wakeUp, command = 0, 1, 0x7f
	t.rax = 0
	switch op & command {
	case wait:
		at := int64(0)
		if timeout != 0 {
			at = after(timespec(timeout))
		}
		futexWait(c, t, a, v, at)
	case wakeUp:
		lock(&klock)
		t.rax = futexWake(a, uint64(v))
		unlockAndKick()
	default:
		t.rax = errno(enosys)
	}
}

// sysExit ends the current thread; pick frees it.
func sysExit(c *pcpu, t *thread) {
	lock(&klock)
	cancelDeadline(t) // or its heap would name the slot's next thread
	t.kickWord, t.leaveAt, t.place = 0, 0, 0
	c.leaving = sched.Exited
	c.resched = 1
	unlockAndKick()
}

// sysClone makes a thread: the caller's registers, a stack and an FS base of its
// own.
func sysClone(t *thread) uint64 {
	const setTLS = 0x80000
	lock(&klock)
	defer unlockAndKick()
	for i := range threads {
		w := &threads[i]
		if w.state != threadFree {
			continue
		}
		id := w.id
		*w = *t
		w.id = id
		w.rax = 0
		w.rsp = t.rsi
		w.pending = 0
		w.altsp, w.altsize = 0, 0
		w.next, w.prev, w.heapPos, w.deadline = 0, 0, 0, 0
		w.runNS, w.switches, w.kickWord, w.leaveAt, w.place = 0, 0, 0, 0, 0
		policy.Add(uint16(i), sched.Host, Nanotime())
		if t.rdi&setTLS != 0 {
			w.fsbase = t.r8
		}
		ready(w)
		return w.id
	}
	return errno(eagain)
}
