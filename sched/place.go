package sched

import "math/bits"

// place makes a thread compete that did not until now, or not with those that run
// on the CPUs it may use now.
func (s *Scheduler) place(id uint16, now int64) uint64 {
	t := &s.threads[id]
	t.level = t.levelOf()
	i := s.target(t)
	if t.level == levelVCPU {
		s.join(t, i, now)
	}
	return s.enqueue(id, i, now)
}

// target is the CPU where t, which waits, should run: its last one if that is
// idle, another idle one, one that it prefers before others, or the one that runs the least
// urgent thread. A host thread leaves idle CPUs alone to which a vcpu comes back, if there
// are others.
func (s *Scheduler) target(t *thread) int {
	may := t.hard & s.online
	if may == 0 {
		return lowest(t.hard) // offline: the thread waits for it
	}
	soft := t.prefers() & s.online
	idle := s.idle &^ s.kicked
	away := idle
	if t.level == levelHost { // not where a vcpu would come back to
		away &^= s.homes
	}
	for _, m := range [...]uint64{soft & away, soft & idle, may & idle} {
		if m == 0 {
			continue
		}
		// The first from its last CPU on, so that threads spread.
		return (int(t.cpu) + lowest(bits.RotateLeft64(m, -int(t.cpu)))) & 63
	}
	if i := s.leastUrgent(soft &^ s.kicked); i >= 0 {
		return i
	}
	if i := s.leastUrgent(may &^ s.kicked); i >= 0 {
		return i
	}
	if may>>t.cpu&1 != 0 {
		return int(t.cpu)
	}
	return lowest(may)
}

// settleHome notes that vcpu id runs on a CPU now, to which it is to come back: its caches know it.
func (s *Scheduler) settleHome(cpu int, id uint16) {
	if old := int(s.threads[id].cpu); s.cpus[old].home == id {
		s.homes &^= 1 << old
	}
	s.cpus[cpu].home = id
	s.homes |= 1 << cpu
}

// leaveHome: id does not come back anywhere.
func (s *Scheduler) leaveHome(id uint16) {
	if i := s.threads[id].cpu; s.cpus[i].home == id {
		s.homes &^= 1 << i
	}
}

// awaits tells whether t, which waits, spares vcpu r, for a CPU that runs a host thread.
func (s *Scheduler) awaits(t, r *thread, now int64) bool {
	if !r.spared || t.level != levelHost || t.boosted || now-t.waits >= patience {
		return false
	}
	return s.runsHost(t.hard & s.online &^ s.idle)
}

// runsHost tells whether a CPU of a set runs a host thread.
func (s *Scheduler) runsHost(set uint64) bool {
	for m := set; m != 0; m &= m - 1 {
		// One with no thread is choosing: settle looks at what it has chosen.
		if c := s.cpus[lowest(m)].cur; c == none || s.threads[c].level == levelHost {
			return true
		}
	}
	return false
}

// returning is the spared vcpu that is back where it ran last, before host threads that have not waited for
// their patience and may have a CPU that it may not; none if there is no such vcpu. One that may have each CPU that they
// may, as a PV guest's, had better wait: what they do is mostly for it.
func (s *Scheduler) returning(cpu int, now int64) uint16 {
	c := &s.cpus[cpu]
	bit := uint64(1) << cpu
	if s.homes&bit == 0 || c.cur != none && c.earned {
		return none
	}
	v := &s.threads[c.home]
	if !v.spared || v.where != queued || v.level != levelVCPU || v.hard&bit == 0 || s.broke(v, now) {
		return none
	}
	id := c.cur
	if id == none {
		if id = s.leftmost(levelHost, maskHard, cpu); id == none || now-s.threads[id].waits >= patience {
			return none
		}
	}
	t := &s.threads[id]
	if others := t.hard & s.online &^ v.hard; t.level == levelHost && !t.boosted && (others&s.idle != 0 || s.runsHost(others&^s.idle)) {
		return c.home
	}
	return none
}

// unspared are those CPUs of a set that run no spared vcpu.
func (s *Scheduler) unspared(set uint64) uint64 {
	for m := set; m != 0 && s.spares != 0; m &= m - 1 {
		if c := s.cpus[lowest(m)].cur; c != none && s.threads[c].spared {
			set &^= m & -m
		}
	}
	return set
}

// leastUrgent is the CPU of set with the vcpu, or demoted host thread, that has the most virtual
// time; -1 if there is none.
func (s *Scheduler) leastUrgent(set uint64) int {
	best, most := -1, int64(0)
	for m := set; m != 0; m &= m - 1 {
		i := lowest(m)
		c := &s.cpus[i]
		if c.cur == none || s.threads[c.cur].level != levelVCPU {
			continue
		}
		if v := s.threads[c.cur].vtime; best < 0 || v-most > 0 {
			best, most = i, v
		}
	}
	return best
}

// enqueue puts t into its queue and kicks CPU i if t should run there at once;
// else those that must now end their slices.
func (s *Scheduler) enqueue(id uint16, i int, now int64) uint64 {
	t := &s.threads[id]
	t.level = t.levelOf()
	switch {
	case t.level == levelVCPU:
		t.key = t.vtime
	case t.boosted:
		s.first--
		t.key = s.first
	default:
		s.last++
		t.key = s.last
	}
	t.waits = now
	s.link(id)
	bit := uint64(1) << i
	if bit&t.hard&s.online == 0 {
		return 0
	}
	if s.idle&bit != 0 {
		return s.kick(bit)
	}
	kick := uint64(0)
	c := &s.cpus[i]
	if c.cur != none && s.kicked&bit == 0 {
		r := &s.threads[c.cur]
		if s.awaits(t, r, now) {
			return s.kick(s.unspared(t.hard & s.tickless)) // the one that it awaits looks at the end of a turn
		}
		if r.level == levelHost && s.returning(i, now) == id {
			return kick | s.kick(bit)
		}
		v := r.vtime + vtime(max(0, now-c.since), s.weight(r))
		if r.level == levelVCPU && (t.level == levelHost && !c.guarded(now) ||
			t.level == levelVCPU && v-t.vtime > vtime(granularity, s.weight(r))) {
			kick = s.kick(bit)
		}
	}
	return kick | s.kick(t.hard&s.tickless)
}
