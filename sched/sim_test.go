package sched

import (
	"math/bits"
	"slices"
	"testing"
)

// sim is a machine whose threads run for a while and block for a while, in
// simulated time, driven by a Scheduler as the kernel would drive it.
type sim struct {
	t       testing.TB
	s       *Scheduler
	now     int64
	ncpu    int
	cpus    [MaxCPUs]simCPU
	threads [MaxThreads]simThread
	delay   func() int64 // of an interprocessor interrupt
	late    func() int64 // of a CPU's timer
	picks   int
	check   bool
}

type simCPU struct {
	cur     int
	until   int64
	fires   int64 // when the timer for until does
	pending int64 // when a kick arrives; -1 is none
	since   int64
}

type simThread struct {
	exists bool
	run    func() int64 // next burst; nil runs forever
	sleep  func() int64
	yields bool // at the end of a burst, instead of sleeping
	left   int64
	wakeAt int64 // -1: not asleep
	asked  int64 // when it became runnable; -1: it has run since
	worst  int64 // latency
	ran    int64
	on     uint64 // CPUs that it ran on
}

const forever = int64(1) << 62

func newSim(t testing.TB, ncpu int) *sim {
	m := &sim{t: t, s: new(Scheduler), ncpu: ncpu, check: true}
	m.s.Init()
	for i := range ncpu {
		m.cpus[i] = simCPU{cur: Idle}
		m.s.CPUOnline(i, 0)
	}
	return m
}

func (m *sim) add(id uint16, class Class, run, sleep func() int64) *simThread {
	m.s.Add(id, class, m.now)
	th := &m.threads[id]
	*th = simThread{exists: true, run: run, sleep: sleep, wakeAt: m.now, asked: -1}
	return th
}

func (m *sim) kick(set uint64) {
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		if i >= m.ncpu {
			m.t.Fatalf("kick of CPU %d, which is not online", i)
		}
		d := int64(0)
		if m.delay != nil {
			d = m.delay()
		}
		if c := &m.cpus[i]; c.pending < 0 || c.pending > m.now+d {
			c.pending = m.now + d
		}
	}
}

// advance lets every CPU run up to now.
func (m *sim) advance(now int64) {
	for i := range m.ncpu {
		c := &m.cpus[i]
		if c.cur != Idle {
			th := &m.threads[c.cur]
			th.ran += now - c.since
			th.left -= now - c.since
		}
		c.since = now
	}
	m.now = now
}

func (m *sim) pick(i int, st State) {
	c := &m.cpus[i]
	old := c.cur
	c.pending = -1
	next, until, kick := m.s.Pick(i, m.now, st)
	m.picks++
	if until != 0 && until <= m.now {
		m.t.Fatalf("%d: CPU %d: until %d has passed", m.now, i, until)
	}
	for j := range m.ncpu {
		if next != Idle && j != i && m.cpus[j].cur == next {
			m.t.Fatalf("%d: thread %d runs on CPUs %d and %d", m.now, next, i, j)
		}
	}
	c.cur, c.until, c.fires = next, until, until
	if until != 0 && m.late != nil {
		c.fires += m.late()
	}
	if next != Idle {
		th := &m.threads[next]
		if !th.exists || th.wakeAt >= 0 {
			m.t.Fatalf("%d: CPU %d got thread %d, which sleeps or is gone", m.now, i, next)
		}
		if m.s.threads[next].hard>>i&1 == 0 {
			m.t.Fatalf("%d: CPU %d got thread %d against its affinity", m.now, i, next)
		}
		th.on |= 1 << i
		if th.asked >= 0 {
			th.worst = max(th.worst, m.now-th.asked)
			th.asked = -1
		}
	}
	if old != Idle && old != next && st == Running && m.threads[old].asked < 0 {
		m.threads[old].asked = m.now
	}
	m.kick(kick)
}

func (m *sim) wake(id uint16) {
	th := &m.threads[id]
	th.wakeAt, th.asked, th.left = -1, m.now, forever
	if th.run != nil {
		th.left = max(1, th.run())
	}
	m.kick(m.s.Wake(id, m.now))
}

// until runs the machine up to a time.
func (m *sim) until(end int64) {
	for {
		at := end
		for i := range m.ncpu {
			c := &m.cpus[i]
			if c.pending >= 0 {
				at = min(at, max(c.pending, m.now))
			}
			if c.until != 0 {
				at = min(at, max(c.fires, m.now))
			}
			if c.cur != Idle {
				at = min(at, m.now+max(0, m.threads[c.cur].left))
			}
		}
		for i := range m.threads {
			if th := &m.threads[i]; th.exists && th.wakeAt >= 0 {
				at = min(at, max(th.wakeAt, m.now))
			}
		}
		if at >= end {
			m.advance(end)
			return
		}
		m.advance(at)
		for i := range m.threads {
			if th := &m.threads[i]; th.exists && th.wakeAt >= 0 && th.wakeAt <= at {
				m.wake(uint16(i))
			}
		}
		for i := range m.ncpu {
			c := &m.cpus[i]
			if c.cur != Idle && m.threads[c.cur].left <= 0 {
				th := &m.threads[c.cur]
				if th.yields {
					th.left = max(1, th.run())
					m.pick(i, Yielded)
				} else {
					th.wakeAt = at + max(1, th.sleep())
					m.pick(i, Blocked)
				}
			} else if c.pending >= 0 && c.pending <= at || c.until != 0 && c.fires <= at {
				m.pick(i, Running)
			}
		}
		if m.check {
			m.invariants()
		}
	}
}

// invariants holds between any two calls.
func (m *sim) invariants() {
	s := m.s
	for l := range nlevel {
		m.subtree(s.root[l], none, uint8(l))
	}
	waiting := slices.ContainsFunc(s.threads[:], func(t thread) bool { return t.where == queued })
	if s.Waiting() != waiting {
		m.t.Fatalf("%d: a thread waits: %v", m.now, waiting)
	}
	settled := true
	for i := range m.ncpu {
		settled = settled && m.cpus[i].pending < 0
	}
	for id := range s.threads {
		t := &s.threads[id]
		if t.where != queued || !settled {
			continue
		}
		// Work conserving: no CPU idles that could run a waiting thread.
		if set := t.hard & s.idle; set != 0 {
			m.t.Fatalf("%d: thread %d waits although CPUs %#x idle", m.now, id, set)
		}
		// Nobody who runs without an end to his slice keeps one waiting.
		set := t.hard & s.tickless
		var spared uint64 // a host thread spares these while another CPU, to which it may go, looks after it
		watched := false
		for i := range m.ncpu {
			if c := &s.cpus[i]; c.cur != none && t.level == levelHost && t.hard>>i&1 != 0 {
				r := &s.threads[c.cur]
				watched = watched || r.level == levelHost && m.cpus[i].until != 0 && m.cpus[i].until <= m.now+patience
				if r.spared {
					spared |= 1 << i
				}
			}
		}
		if watched {
			set &^= spared
		}
		if set != 0 {
			m.t.Fatalf("%d: thread %d waits although CPUs %#x have no timer", m.now, id, set)
		}
	}
	for gi := range s.groups {
		g := &s.groups[gi]
		if g.parked == none {
			continue
		}
		c := &m.cpus[g.owner]
		if c.pending < 0 && (c.until == 0 || c.until > (m.now/capPeriod+1)*capPeriod) {
			m.t.Fatalf("%d: group %d is parked, but CPU %d will not look", m.now, gi, g.owner)
		}
	}
}

func (m *sim) subtree(n, parent uint16, level uint8) (sum [nmask]uint64, lo, hi int64) {
	if n == none {
		return
	}
	t := &m.s.threads[n]
	if t.parent != parent || t.level != level || t.where != queued {
		m.t.Fatalf("node %d: parent %d level %d where %d", n, t.parent, t.level, t.where)
	}
	sum, lo, hi = t.own, t.key, t.key
	for i, k := range [...]uint16{t.left, t.right} {
		if k == none {
			continue
		}
		if m.s.threads[k].prio > t.prio {
			m.t.Fatalf("node %d has less priority than its child %d", n, k)
		}
		u, l, h := m.subtree(k, n, level)
		if i == 0 && h > t.key || i == 1 && l < t.key {
			m.t.Fatalf("node %d: keys are out of order", n)
		}
		lo, hi = min(lo, l), max(hi, h)
		for j := range sum {
			sum[j] |= u[j]
		}
	}
	if sum != t.sum {
		m.t.Fatalf("node %d: union %x, want %x", n, t.sum, sum)
	}
	return
}
