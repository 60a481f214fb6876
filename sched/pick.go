package sched

import "math/bits"

// Wake makes a blocked thread runnable. For one whose CPU has not yet told Pick
// that it blocked, the wake is remembered until then.
func (s *Scheduler) Wake(id uint16, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil {
		return 0
	}
	switch t.where {
	case running:
		t.woken = true
	case blocked:
		if t.class == Host {
			t.rest(now)
		}
		return s.place(id, now)
	}
	return 0
}

// Boost makes a waiting thread run soon and before all others, for a moment: it
// has a signal pending that Go's runtime waits for. Caps don't hold it up; its
// time is charged.
func (s *Scheduler) Boost(id uint16, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil || t.boosted || !s.detach(id) {
		return 0
	}
	t.boosted = true
	return s.place(id, now)
}

// Pick ends the turn of the thread that runs on cpu, of which st tells what became
// of it, and chooses the next, maybe the same one, or Idle. Pick must be called
// again at the time until at the latest (0: no need), when the thread blocks,
// yields or exits, and when a call returns a kick for this CPU.
func (s *Scheduler) Pick(cpu int, now int64, st State) (next int, until int64, kick uint64) {
	if uint(cpu) >= MaxCPUs || s.online>>cpu&1 == 0 {
		return Idle, 0, 0
	}
	c := &s.cpus[cpu]
	bit := uint64(1) << cpu
	s.charge(cpu, now)
	s.kicked |= bit // so that nobody chooses this CPU meanwhile
	s.tickless &^= bit

	cur := c.cur
	if cur != none {
		st = s.endTurn(cpu, now, st)
		if st == Blocked || st == Exited {
			c.cur, cur = none, none
		}
	}
	again, k := s.release(cpu, now)
	kick |= k

	id := s.choose(cpu, now)
	fresh := true
	if cur != none {
		stay, away := s.stays(cpu, cur, id, now, st)
		if stay {
			id, fresh = cur, now >= c.sliceEnd
		} else {
			c.cur = none
			kick |= s.leave(cpu, cur, now, away)
		}
	}
	if s.cpus[cpu].parked != none && again == 0 {
		again = (now/capPeriod + 1) * capPeriod
	}
	s.kicked &^= bit
	if id == none {
		s.idle |= bit
		return Idle, again, kick | s.pull(bit) | s.settle(bit, now)
	}
	until = s.start(cpu, id, now, fresh)
	if again != 0 && (until == 0 || again < until) {
		until = again
	}
	return int(id), until, kick | s.settle(bit, now)
}

// endTurn settles what became of the thread that ran. One that blocked and was
// woken since goes on.
func (s *Scheduler) endTurn(cpu int, now int64, st State) State {
	c := &s.cpus[cpu]
	t := &s.threads[c.cur]
	if t.woken && st == Blocked {
		st = Running
	}
	t.woken = false
	if t.boosted && (st != Running || now >= c.sliceEnd) {
		t.boosted = false
	}
	// Demotion, promotion and the end of a boost change the level.
	if l := t.levelOf(); l != t.level {
		if l == levelVCPU && t.class == Host {
			s.join(t, cpu, now)
		}
		t.level = l
		c.sliceEnd = now
	}
	switch st {
	case Blocked:
		s.reached(cpu, now)
		s.part(t, cpu)
		t.where, t.stamp = blocked, now
	case Exited:
		s.reached(cpu, now)
		s.Spare(c.cur, false)
		t.where = absent
	}
	return st
}

// choose finds, and leaves in its queue, the thread that should run on cpu if the
// one that runs does not. Threads whose group is out of budget are parked.
func (s *Scheduler) choose(cpu int, now int64) uint16 {
	if v := s.returning(cpu, now); v != none {
		return v
	}
	h := s.leftmost(levelHost, maskHard, cpu)
	if h != none && s.cpus[cpu].hostRun < guardLimit {
		return h
	}
	for {
		v := s.preferred(cpu)
		if v == none {
			return h
		}
		if !s.broke(&s.threads[v], now) {
			return v
		}
		s.unlink(v)
		s.park(v, cpu)
	}
}

// preferred is the vcpu with the least virtual time, or one that is little ahead
// of it and was here last or wants to be here.
func (s *Scheduler) preferred(cpu int) uint16 {
	v := s.leftmost(levelVCPU, maskHard, cpu)
	if v == none {
		return none
	}
	key := s.threads[v].key
	for _, p := range [...]struct {
		mask int
		d    int64
	}{{maskHome, resistance}, {maskSoft, softTolerance}} {
		if x := s.leftmost(levelVCPU, p.mask, cpu); x != none {
			if t := &s.threads[x]; t.key-key <= vtime(p.d, s.weight(t)) {
				return x
			}
		}
	}
	return v
}

// stays says whether cur goes on although id waits; away, that it must not even
// if nobody does.
func (s *Scheduler) stays(cpu int, cur, id uint16, now int64, st State) (stay, away bool) {
	c := &s.cpus[cpu]
	t := &s.threads[cur]
	bit := uint64(1) << cpu
	if t.hard&bit == 0 || s.broke(t, now) {
		return false, true
	}
	if p := t.prefers(); p&bit == 0 && p&s.idle&^s.kicked != 0 {
		return false, true
	}
	if id == none {
		return true, false
	}
	if st == Yielded {
		return false, false
	}
	w := &s.threads[id]
	ended := now >= c.sliceEnd
	switch {
	case t.level == levelVCPU && w.level == levelHost:
		if s.awaits(w, t, now) {
			return true, false
		}
		return c.guarded(now), false
	case t.level == levelHost && w.level == levelVCPU:
		return c.hostRun < guardLimit && s.returning(cpu, now) != id, false
	case t.level == levelHost:
		return !ended && !w.boosted || t.boosted, false
	case ended:
		return t.vtime-w.vtime < 0, false
	}
	return t.vtime-w.vtime <= vtime(granularity, s.weight(t)), false
}

// leave puts the thread that ran on cpu where it waits.
func (s *Scheduler) leave(cpu int, id uint16, now int64, away bool) uint64 {
	t := &s.threads[id]
	t.where = blocked
	if away && t.hard>>cpu&1 == 0 {
		return s.place(id, now)
	}
	if away && s.broke(t, now) {
		s.park(id, cpu)
		return 0
	}
	return s.enqueue(id, s.target(t), now)
}

// start makes id the thread that runs on cpu, with a new turn if fresh, and says
// when Pick must be called for its sake.
func (s *Scheduler) start(cpu int, id uint16, now int64, fresh bool) (until int64) {
	c := &s.cpus[cpu]
	t := &s.threads[id]
	bit := uint64(1) << cpu
	if t.where == queued {
		s.unlink(id)
	}
	if t.level == levelVCPU {
		s.settleHome(cpu, id)
	}
	t.where, t.cpu = running, uint8(cpu)
	c.earned = t.level == levelHost && now-t.waits >= patience
	s.idle &^= bit
	c.cur = id
	w := s.weight(t)
	if t.level == levelVCPU {
		s.catchUp(cpu, t)
	}
	host := s.waiting(levelHost)&bit != 0
	vcpus := s.waiting(levelVCPU)&bit != 0
	if fresh {
		switch {
		case t.boosted:
			c.sliceEnd = now + boostSlice
		case t.level == levelHost:
			c.sliceEnd = now + hostSlice
		case host || c.hostRun >= guardLimit:
			c.sliceEnd = now + guardSlice
		default:
			c.sliceEnd = now + slice(w)
		}
	}
	if host || vcpus || t.boosted {
		until = c.sliceEnd
	} else {
		s.tickless |= bit
	}
	if t.level == levelHost && vcpus {
		until = min(until, now+max(capMinRun, guardLimit-c.hostRun))
		if t.class == Host {
			until = min(until, now+max(capMinRun, spinLimit-t.burst))
		}
	}
	if t.level == levelVCPU && t.group != NoGroup && s.groups[t.group].cap != 0 {
		n := int64(bits.OnesCount64(s.runners(t.group)))
		least := capMinRun
		if t.busy {
			least = busyRun
		}
		end := now + max(least, s.groups[t.group].budget/max(1, n))
		if until == 0 || end < until {
			until = end
		}
	}
	return until
}

// catchUp forgets what the thread that runs next is behind those that wait, beyond
// what is theirs to have run before it and what late turns of theirs may have added:
// it could not have used more.
func (s *Scheduler) catchUp(cpu int, t *thread) {
	v := t.vtime
	if x := s.leftmost(levelVCPU, maskHard, cpu); x != none {
		w := &s.threads[x]
		if least := w.vtime - lag(s.weight(w)) - vtime(keep, s.weight(t)); t.vtime-least < 0 {
			t.vtime = least
		}
		v = t.vtime
		if w.vtime-v < 0 {
			v = w.vtime
		}
	}
	if c := &s.cpus[cpu]; v-c.vtime > 0 {
		c.vtime = v
	}
}

// pull makes a CPU give up a thread that would rather run on self, which idles.
func (s *Scheduler) pull(self uint64) uint64 {
	for m := s.online &^ (s.idle | s.kicked); m != 0; m &= m - 1 {
		bit := m & -m
		c := &s.cpus[lowest(m)]
		if c.cur == none {
			continue
		}
		if p := s.threads[c.cur].prefers(); p&bit == 0 && p&self != 0 {
			return s.kick(bit)
		}
	}
	return 0
}

// settle makes other CPUs look at what waits after a Pick: an idle one that could
// run it, or those that must now end their slices or give way to a host thread.
func (s *Scheduler) settle(self uint64, now int64) uint64 {
	h := s.waiting(levelHost) &^ self
	w := h | s.waiting(levelVCPU)&^self
	if m := w & s.idle &^ s.kicked; m != 0 {
		return s.kick(m & -m)
	}
	if w&s.idle != 0 {
		return 0 // one is on its way
	}
	kick := uint64(0)
	if i := s.leastUrgent(h &^ s.kicked); i >= 0 {
		c := &s.cpus[i]
		r := &s.threads[c.cur]
		if s.awaits(&s.threads[s.leftmost(levelHost, maskHard, i)], r, now) {
			w = s.unspared(w) | s.waiting(levelVCPU)&^self
		} else if r.spared && !c.guarded(now) {
			kick = s.kick(1 << i)
		}
	}
	return kick | s.kick(w&s.tickless)
}
