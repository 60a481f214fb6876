//go:build tamago

package baremetal

// Threads on CPUs. klock guards every thread's state, the run queues, the futex
// buckets and the deadline heaps. Go's own threads come before vcpus.

const (
	classHost = 0
	classVCPU = 1
	nclass    = 2

	sliceHost = 2e6 // ns that a thread runs while others of its class wait
	sliceVCPU = 5e6
)

type queue struct{ head, tail uint32 } // 1-based thread indexes

var (
	klock   uint32
	runq    [nclass]queue
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

// pop takes the first thread that may run on cpu.
func (q *queue) pop(cpu uint64) *thread {
	for i := q.head; i != 0; {
		t := &threads[i-1]
		if t.affinity>>cpu&1 != 0 {
			q.remove(t)
			return t
		}
		i = t.next
	}
	return nil
}

// ready puts t on its run queue and finds a CPU for it: the one it ran on last if
// that idles, any idle one, or one that runs something of a lower class.
func ready(t *thread) {
	t.state = threadReady
	runq[t.class].push(t)
	me := pcpuAt(cpuself())
	if preempt(me, &cpus[t.cpu], t, true) {
		return
	}
	for i := uint64(0); i < ncpu; i++ {
		if preempt(me, &cpus[i], t, true) {
			return
		}
	}
	for i := uint64(0); i < ncpu && t.class == classHost; i++ {
		if preempt(me, &cpus[i], t, false) {
			return
		}
	}
}

// preempt makes c choose again, for t, if it idles or, with idle false, if it runs
// a thread of a lower class.
func preempt(me, c *pcpu, t *thread, idle bool) bool {
	if c.resched != 0 || c.online == 0 || t.affinity>>c.id&1 == 0 {
		return false
	}
	switch {
	case c.cur == c.idle:
	case !idle && threadAt(c.cur).class > t.class:
	default:
		return false
	}
	c.resched = 1
	if c != me {
		kick(c)
	}
	return true
}

// wake ends t's wait; r is what its call returns.
func wake(t *thread, r uint64) {
	if t.kind == kindFutex {
		bucket(t.futex).remove(t)
	}
	cancelDeadline(t)
	t.kind = kindNone
	t.rax = r
	ready(t)
}

// block stops the current thread, which pick then replaces.
func block(c *pcpu, t *thread, kind uint32, deadline int64) {
	t.state = threadBlocked
	t.kind = kind
	if deadline != 0 {
		setDeadline(c, t, deadline)
	}
}

// pick chooses what c runs next. Preconditions: klock.
func pick(c *pcpu, now int64) {
	t := threadAt(c.cur)
	c.resched = 0
	if t.idle == 0 {
		t.runNS += now - t.since
		t.since = now
		if t.state == threadRunning {
			t.state = threadReady
			if t.moving != 0 {
				t.moving = 0
				ready(t)
				c.resched = 0
			} else {
				runq[t.class].push(t)
			}
		}
	} else {
		c.Stats.IdleNS += now - t.since
		t.since = now
	}
	n := runq[classHost].pop(c.id)
	if n == nil {
		n = runq[classVCPU].pop(c.id)
	}
	if n == nil {
		n = threadAt(c.idle)
	}
	n.state = threadRunning
	n.cpu = c.id
	n.since = now
	if n != t {
		n.switches++
		c.Stats.Switches++
		c.cur = addr(n)
	}
	c.sliceEnd = now + sliceHost
	if n.class == classVCPU {
		c.sliceEnd = now + sliceVCPU
	}
}

// timerTarget is when c's timer must fire next. Preconditions: klock.
func timerTarget(c *pcpu) int64 {
	at := int64(0)
	if c.nheap > 0 {
		at = threads[c.heap[0]].deadline
	}
	if c.cur != c.idle && (runq[classHost].head != 0 || runq[classVCPU].head != 0) {
		if at == 0 || c.sliceEnd < at {
			at = c.sliceEnd
		}
	}
	return at
}

// expire wakes the threads whose deadline has come. Preconditions: klock.
func expire(c *pcpu, now int64) {
	for c.nheap > 0 {
		t := &threads[c.heap[0]]
		if t.deadline > now {
			return
		}
		if t.state == threadRunning || t.state == threadReady {
			cancelDeadline(t)
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
	unlock(&klock)
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
	c := &cpus[t.heapCPU]
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

// kickGuest makes a vcpu's thread leave its guest: its timer has come.
func kickGuest(c *pcpu, t *thread) {
	if t.kickWord == 0 {
		return
	}
	st32(t.kickWord, 1)
	if t.state == threadRunning && t.cpu != c.id {
		kick(&cpus[t.cpu])
	}
}

// setAffinity says where t may run. Preconditions: klock; t is the current thread.
func setAffinity(c *pcpu, t *thread, set uint64) uint64 {
	if set&(1<<ncpu-1) == 0 {
		return errno(einval)
	}
	t.affinity = set
	if set>>c.id&1 == 0 {
		c.resched = 1
		t.moving = 1
	}
	return 0
}
