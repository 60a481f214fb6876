//go:build tamago

package baremetal

import (
	"math/bits"
	"sync/atomic"

	"nidus/kernel/trace"
	"nidus/sched"
)

// Threads on CPUs. Package sched decides who runs; klock guards it, every thread's
// state, the futex buckets and the deadline heaps.

type queue struct{ head, tail uint32 } // 1-based thread indexes

var (
	klock   uint32
	policy  sched.Scheduler
	futexes [256]queue
)

func (q *queue) push(t *thread) {
	i := uint32(t.id)
	t.next, t.prev = 0, q.tail
	if q.tail == 0 {
		q.head = i
	} else {
		threads[q.tail-1].next = i
	}
	q.tail = i
}

func (q *queue) remove(t *thread) {
	if t.prev == 0 {
		q.head = t.next
	} else {
		threads[t.prev-1].next = t.next
	}
	if t.next == 0 {
		q.tail = t.prev
	} else {
		threads[t.next-1].prev = t.prev
	}
	t.next, t.prev = 0, 0
}

// choose makes each CPU of the set choose again what it runs.
func choose(cpuset uint64) {
	me := pcpuAt(cpuself())
	for ; cpuset != 0; cpuset &= cpuset - 1 {
		c := pcpuOf(bits.TrailingZeros64(cpuset))
		atomic.SwapUint32(&c.resched, 1) // before polling is looked at
		if c != me {
			me.kicks |= 1 << c.id
		}
	}
}

// unlockAndKick gives klock back, and then interrupts the CPUs that have something new to
// look at. Not before: an access to the APIC may take as long as all that is done under
// klock, and far longer where it is emulated. Preconditions: klock, interrupts off.
func unlockAndKick() {
	unlock(&klock)
	me := pcpuAt(cpuself())
	for ; me.kicks != 0; me.kicks &= me.kicks - 1 {
		if c := pcpuOf(bits.TrailingZeros64(me.kicks)); atomic.LoadUint32(&c.polling) == 0 {
			kick(c)
		}
	}
}

// unlockAndArm is unlockAndKick for who has changed what c, this CPU, waits for.
func unlockAndArm(c *pcpu, now int64) {
	at := timerTarget(c) // others may take deadlines away, and need not be waited for
	unlockAndKick()
	armTimer(c, at, now)
}

// ready makes a blocked thread runnable.
func ready(t *thread) {
	t.state = threadReady
	choose(policy.Wake(uint16(t.id-1), Nanotime()))
}

// wake ends t's wait; r is what its call returns.
func wake(t *thread, r uint64) {
	if t.kind == kindFutex {
		bucket(t.futex).remove(t)
	}
	cancelDeadline(t)
	note(trace.Wake, t, 0)
	t.kind = kindNone
	t.rax = r
	if t.leaveAt != 0 { // its thread waited in the runtime, for something else
		c := pcpuAt(cpuself())
		setDeadline(c, t, t.leaveAt)
		c.resched = 1 // for its timer
	}
	ready(t)
}

// block stops the current thread, which pick then replaces.
func block(c *pcpu, t *thread, kind uint32, deadline int64) {
	t.state = threadBlocked
	t.kind = kind
	c.leaving = sched.Blocked
	c.resched = 1
	cancelDeadline(t) // a vcpu's: wake sets it again
	wait := int64(0)
	if deadline != 0 {
		setDeadline(c, t, deadline)
		wait = deadline - Nanotime()
	}
	note(trace.Block, t, uint64(wait))
}

// note adds an event of the thread to this CPU's trace.
func note(k trace.Kind, t *thread, arg uint64) {
	who := uint32(t.id)
	if t.idle != 0 {
		who = 0
	}
	trace.Add(pcpuAt(cpuself()).id, k, who, arg)
}

// pick chooses what c runs next. The current thread may have been woken since it
// blocked: what counts is how it left. Preconditions: klock.
func pick(c *pcpu, now int64) {
	t := threadAt(c.cur)
	if t.idle == 0 {
		t.runNS += now - t.since
		switch {
		case t.kickWord != 0:
			c.Stats.VCPUNS += now - t.since
		case t.hosts():
			hostNS += now - t.since
		}
	} else {
		c.Stats.IdleNS += now - t.since
		c.pollNext(now - t.since)
	}
	t.since = now
	c.resched = 0
	how := c.leaving
	c.leaving = sched.Running
	if t.place != 0 {
		policy.SetBusy(uint16(t.id-1), busy(t))
	}
	next, until, kicks := policy.Pick(int(c.id), now, how)
	c.until = until
	switch {
	case how == sched.Exited:
		t.state = threadFree
	case t.state == threadRunning:
		t.state = threadReady
	}
	n := threadAt(c.idle)
	if next != sched.Idle {
		n = &threads[next]
		n.state = threadRunning
		if n.place != 0 && ld32(n.place) == InHost && policy.Late(uint16(next), now) {
			st32(n.place, HostLate)
		}
	}
	n.cpu = c.id
	n.since = now
	if n != t {
		n.switches++
		c.Stats.Switches++
		c.cur = addr(n)
		if c.virt[guestFPU] != 0 {
			guestSwitched()
		}
		if rdcr3() != c.cr3 {
			keepRoot(c)
		}
		note(trace.Run, n, 0)
	}
	choose(kicks)
}

// currentG is the g that a thread of Go's runs: the runtime has it in the thread's memory.
func currentG(t *thread) uint64 { return ld64(t.fsbase - 8) }

// busy tells whether a vcpu's thread, which entered the kernel, may have what others wait
// for: it is in the host's code; or the runtime is, on the stack of its own on which it takes
// its locks, on the way into the guest and back.
func busy(t *thread) bool { return ld32(t.place) != InGuest || currentG(t) != t.gptr }

// timerTarget is when c's timer must fire next. Preconditions: klock.
func timerTarget(c *pcpu) int64 {
	at := lenient(c, c.soon())
	if c.nheap > 0 {
		if d := threads[c.heap[0]].deadline; at == 0 || d < at {
			at = d
		}
	}
	return at
}

// overdue does what c's timer is for. Preconditions: klock.
func overdue(c *pcpu, now int64) {
	expire(c, now)
	if c.until != 0 && c.until <= now {
		c.resched = 1
	}
}

// timeUp does what c's timer is for, in a kernel entry that another reason had.
func timeUp(c *pcpu, now int64) {
	lock(&klock)
	overdue(c, now)
	unlockAndKick()
}

// expire wakes the threads whose deadline has come, and kicks whom KickSoon was called for. Preconditions: klock.
func expire(c *pcpu, now int64) {
	if c.nlate > 0 && c.lateAt <= now {
		kickLate(c)
	}
	for c.nheap > 0 {
		t := &threads[c.heap[0]]
		if t.deadline > now {
			return
		}
		if t.state == threadRunning || t.state == threadReady {
			cancelDeadline(t)
			t.leaveAt = 0
			kickGuest(c, t)
			continue
		}
		r := uint64(0)
		if t.kind == kindFutex {
			r = errno(etimedout)
		}
		wake(t, r)
	}
}

func bucket(a uint64) *queue {
	return &futexes[(a>>2*0x9e3779b97f4a7c15)>>56]
}

func futexWait(c *pcpu, t *thread, a uint64, v uint32, deadline int64) {
	lock(&klock)
	if ld32(a) != v {
		t.rax = errno(eagain)
	} else {
		t.futex = a
		block(c, t, kindFutex, deadline)
		bucket(a).push(t)
	}
	unlockAndKick()
}

// futexWake wakes up to n threads that wait for the word at a. Preconditions:
// klock.
func futexWake(a, n uint64) (woken uint64) {
	q := bucket(a)
	for i := q.head; i != 0 && woken < n; {
		t := &threads[i-1]
		i = t.next
		if t.futex == a {
			wake(t, 0)
			woken++
		}
	}
	return woken
}

// The deadline heap of a CPU: threads that block, or run a guest, on it.

// setDeadline puts t on c's heap. Preconditions: it is on none.
func setDeadline(c *pcpu, t *thread, at int64) {
	t.deadline = at
	t.heapCPU = int32(c.id)
	c.nheap++
	heapUp(c, c.nheap-1, uint16(t.id-1))
}

func cancelDeadline(t *thread) {
	if t.heapPos == 0 {
		return
	}
	c := pcpuOf(t.heapCPU)
	i := t.heapPos - 1
	t.heapPos, t.deadline = 0, 0
	c.nheap--
	last := c.heap[c.nheap]
	if i == c.nheap {
		return
	}
	if i > 0 && threads[last].deadline < threads[c.heap[(i-1)/2]].deadline {
		heapUp(c, i, last)
	} else {
		heapDown(c, i, last)
	}
}

func heapSet(c *pcpu, i int32, x uint16) {
	c.heap[i] = x
	threads[x].heapPos = i + 1
}

func heapUp(c *pcpu, i int32, x uint16) {
	for i > 0 {
		p := (i - 1) / 2
		if threads[c.heap[p]].deadline <= threads[x].deadline {
			break
		}
		heapSet(c, i, c.heap[p])
		i = p
	}
	heapSet(c, i, x)
}

func heapDown(c *pcpu, i int32, x uint16) {
	for {
		k := 2*i + 1
		if k >= c.nheap {
			break
		}
		if k+1 < c.nheap && threads[c.heap[k+1]].deadline < threads[c.heap[k]].deadline {
			k++
		}
		if threads[x].deadline <= threads[c.heap[k]].deadline {
			break
		}
		heapSet(c, i, c.heap[k])
		i = k
	}
	heapSet(c, i, x)
}

// kickGuest makes a vcpu's thread leave its guest: its timer has come. Preconditions:
// klock; c is this CPU.
func kickGuest(c *pcpu, t *thread) {
	if t.kickWord == 0 {
		return
	}
	note(trace.Leave, t, 0)
	st32(t.kickWord, 1)
	if t.state == threadRunning && t.cpu != c.id {
		c.kicks |= 1 << t.cpu
	}
}

// setAffinity says where t may run, and better runs. Preconditions: klock.
func setAffinity(t *thread, hard, soft uint64) uint64 {
	if hard&(1<<ncpu-1) == 0 {
		return errno(einval)
	}
	choose(policy.SetAffinity(uint16(t.id-1), hard, soft, Nanotime()))
	return 0
}

// setShare sets a vcpu's domain and what that has of the CPUs. Preconditions: klock.
func setShare(t *thread, group, weight, percent uint64) {
	now := Nanotime()
	choose(policy.SetGroup(uint16(t.id-1), uint16(group), now))
	policy.SetWeight(uint16(group), uint32(weight))
	choose(policy.SetCap(uint16(group), uint32(percent), now))
}
