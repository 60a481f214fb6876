package sched

// Who pays for the time that a CPU ran: virtual time, caps, and the patience that
// there is for host threads.

const (
	vtimeShift = 12      // fraction bits: small times count at large weights, too
	chargeMax  = 1 << 40 // ns; more at once would overflow virtual time
)

// vtime is the virtual time that d ns take at a weight.
func vtime(d int64, weight uint32) int64 {
	return min(d, chargeMax) << vtimeShift / int64(weight)
}

// slice is the longest turn of a vcpu while others wait. A light one has short
// turns, or it would move far ahead with each.
func slice(weight uint32) int64 {
	if weight >= DefaultWeight {
		return vcpuSlice
	}
	return max(vcpuSliceMin, vcpuSlice*int64(weight)/DefaultWeight)
}

// lag is how far, in virtual time, a thread moves in one turn, and so how far
// others may rightly be behind it.
func lag(weight uint32) int64 { return vtime(slice(weight), weight) }

func (s *Scheduler) weight(t *thread) uint32 {
	switch {
	case t.class == Host:
		return s.maxWeight
	case t.group == NoGroup:
		return DefaultWeight
	}
	return s.groups[t.group].weight
}

// levelOf is where t competes now.
func (t *thread) levelOf() uint8 {
	if t.boosted || t.class == Host && !t.demoted {
		return levelHost
	}
	return levelVCPU
}

// charge makes the thread that runs on a CPU pay up to now.
func (s *Scheduler) charge(i int, now int64) {
	c := &s.cpus[i]
	d := max(0, now-c.since)
	c.since = max(c.since, now)
	if c.cur == none || d == 0 {
		return
	}
	t := &s.threads[c.cur]
	t.runtime += d
	if t.class == VCPU || t.level == levelVCPU {
		t.vtime += vtime(d, s.weight(t))
	}
	if t.group != NoGroup {
		g := &s.groups[t.group]
		g.runtime += d
		if g.cap != 0 {
			g.budget -= d
		}
	}
	if t.class == Host {
		t.burst = min(t.burst+d, spinLimit)
		switch {
		case !t.demoted && t.burst >= spinLimit:
			t.demoted, t.since = true, now
		case t.demoted && now-t.since >= spinPeriod:
			t.demoted, t.burst = false, 0
		}
	}
	if t.level == levelHost {
		c.hostRun = min(c.hostRun+d, guardLimit)
	} else {
		c.hostRun = max(0, c.hostRun-min(d, guardSlice)*(guardLimit/guardSlice))
	}
}

// rest credits a host thread with the time that it was blocked.
func (t *thread) rest(now int64) {
	t.burst = max(0, t.burst-restCredit*max(0, now-t.stamp))
	if t.demoted && (t.burst <= spinLimit-restCredit*spinRest || now-t.since >= spinPeriod) {
		t.demoted = false
		t.burst = min(t.burst, spinLimit-restCredit*spinRest)
	}
}

// guarded tells whether a vcpu on c has the turn that host threads owe it, and goes on undisturbed.
func (c *cpu) guarded(now int64) bool { return c.hostRun >= guardLimit && now < c.sliceEnd }

// reached is the virtual time that vcpus have reached on a CPU: that of the one
// that runs, or of the first that waits, if that has less.
func (s *Scheduler) reached(i int, now int64) int64 {
	c := &s.cpus[i]
	if c.cur == none || s.threads[c.cur].level != levelVCPU {
		return c.vtime
	}
	t := &s.threads[c.cur]
	v := t.vtime + vtime(max(0, now-c.since), s.weight(t))
	if x := s.leftmost(levelVCPU, maskHard, i); x != none && s.threads[x].vtime-v < 0 {
		v = s.threads[x].vtime
	}
	if v-c.vtime > 0 {
		c.vtime = v
	}
	return c.vtime
}

// part notes how far a thread that blocks on CPU i is ahead of those that wait.
func (s *Scheduler) part(t *thread, i int) {
	if x := s.leftmost(levelVCPU, maskHard, i); x != none && t.level == levelVCPU {
		most := vtime(keep, s.weight(t))
		t.ahead = min(max(t.vtime-s.threads[x].vtime, -most), most)
	}
}

// join brings the virtual time of a thread that did not compete, or competed
// elsewhere, near to that of the vcpus on a CPU: a sleeper has not saved up more
// than the turn of the one that runs, and nobody must wait for more than his own.
// What it was behind or ahead when it blocked, it is still: turns that end late
// bring a thread farther off, and are made up for.
func (s *Scheduler) join(t *thread, i int, now int64) {
	v := s.reached(i, now)
	back := lag(DefaultWeight)
	if c := &s.cpus[i]; c.cur != none && s.threads[c.cur].level == levelVCPU {
		back = lag(s.weight(&s.threads[c.cur]))
	}
	if least := v - max(back, -t.ahead); t.vtime-least < 0 {
		t.vtime = least
	}
	if most := v + max(lag(s.weight(t)), t.ahead); t.vtime-most > 0 {
		t.vtime = most
	}
	t.ahead = 0
}

// quota is g's budget of a period.
func (g *group) quota() int64 { return capPeriod * int64(g.cap) / 100 }

// renew adds the quotas of the periods that have begun. Some unused quotas are kept,
// for who came late because others ran; debt stays.
func (g *group) renew(now int64) {
	p := now / capPeriod
	if n := p - g.period; n > 0 {
		q := g.quota()
		g.budget = min(g.budget+min(n, 1<<20)*q, (1+capKeep)*q)
		g.period = p
	}
}

// broke says whether t must wait for its group's next budget.
func (s *Scheduler) broke(t *thread, now int64) bool { return !t.busy && s.over(t, now) }

// over says whether t's group is out of budget.
func (s *Scheduler) over(t *thread, now int64) bool {
	if t.group == NoGroup || s.groups[t.group].cap == 0 || t.levelOf() == levelHost {
		return false
	}
	for m := s.runners(t.group); m != 0; m &= m - 1 {
		s.charge(lowest(m), now)
	}
	g := &s.groups[t.group]
	g.renew(now)
	return g.budget <= 0
}

// park keeps a thread, which is in no queue, until its group has a budget again;
// CPU i will see to that.
func (s *Scheduler) park(id uint16, i int) {
	t := &s.threads[id]
	g := &s.groups[t.group]
	if g.parked == none {
		c := &s.cpus[i]
		g.owner, g.prev, g.next = uint8(i), none, c.parked
		if c.parked != none {
			s.groups[c.parked].prev = t.group
		}
		c.parked = t.group
	}
	t.where = parked
	t.prev, t.next = none, g.parked
	if g.parked != none {
		s.threads[g.parked].prev = id
	}
	g.parked = id
}

func (s *Scheduler) unpark(id uint16) {
	t := &s.threads[id]
	g := &s.groups[t.group]
	if t.prev == none {
		g.parked = t.next
	} else {
		s.threads[t.prev].next = t.next
	}
	if t.next != none {
		s.threads[t.next].prev = t.prev
	}
	t.where = blocked
	if g.parked != none {
		return
	}
	if g.prev == none {
		s.cpus[g.owner].parked = g.next
	} else {
		s.groups[g.prev].next = g.next
	}
	if g.next != none {
		s.groups[g.next].prev = g.prev
	}
}

// release lets the threads of CPU i's parked groups compete again whose budget is
// renewed, a bounded number, and says when to look again; 0 is never.
func (s *Scheduler) release(i int, now int64) (again int64, kick uint64) {
	n := 0
	for gi := s.cpus[i].parked; gi != none; {
		g := &s.groups[gi]
		gi = g.next
		if g.period == now/capPeriod && g.budget <= 0 {
			continue
		}
		g.renew(now)
		for g.budget > 0 && g.parked != none {
			if n == releaseMax {
				return now + retrySoon, kick
			}
			n++
			id := g.parked
			s.unpark(id)
			kick |= s.place(id, now)
		}
	}
	if s.cpus[i].parked == none {
		return 0, kick
	}
	return (now/capPeriod + 1) * capPeriod, kick
}
