package sched

import "math/bits"

// A level's queue: a treap (Seidel and Aragon, "Randomized Search Trees",
// Algorithmica 16, 1996) ordered by key, the heap order by random priority. Each
// node also holds, for its whole branch, the union of the threads' CPU sets, so
// that the first thread for a CPU is found on one way down.

// The CPU sets of a thread.
const (
	maskHard = iota // where it may run
	maskSoft        // where it prefers to
	maskHome        // where it ran last, if it prefers to run there
	nmask
)

// link puts a thread into its level's tree by its key, equal keys in order of
// arrival.
func (s *Scheduler) link(id uint16) {
	t := &s.threads[id]
	t.where = queued
	t.left, t.right = none, none
	t.own[maskHard] = t.hard
	t.own[maskSoft] = t.prefers()
	t.own[maskHome] = t.own[maskSoft] & (1 << t.cpu)
	t.prio = s.random()

	p, less := uint16(none), false
	for n := s.root[t.level]; n != none; {
		p = n
		if less = t.key-s.threads[n].key < 0; less {
			n = s.threads[n].left
		} else {
			n = s.threads[n].right
		}
	}
	t.parent = p
	switch {
	case p == none:
		s.root[t.level] = id
	case less:
		s.threads[p].left = id
	default:
		s.threads[p].right = id
	}
	for t.parent != none && s.threads[t.parent].prio < t.prio {
		s.rotate(id)
	}
	s.refresh(id)
}

// unlink takes a queued thread out of its tree.
func (s *Scheduler) unlink(id uint16) {
	t := &s.threads[id]
	for t.left != none || t.right != none {
		up := t.left
		if up == none || t.right != none && s.threads[t.right].prio > s.threads[up].prio {
			up = t.right
		}
		s.rotate(up)
	}
	s.replace(t.parent, id, none, t.level)
	s.refresh(t.parent)
	t.where = blocked
}

// rotate lifts n over its parent. It corrects the parent's union; the caller
// refreshes n and those above it.
func (s *Scheduler) rotate(n uint16) {
	t := &s.threads[n]
	p := t.parent
	q := &s.threads[p]
	var inner uint16
	if q.left == n {
		inner = t.right
		q.left, t.right = inner, p
	} else {
		inner = t.left
		q.right, t.left = inner, p
	}
	if inner != none {
		s.threads[inner].parent = p
	}
	t.parent = q.parent
	s.replace(q.parent, p, n, q.level)
	q.parent = n
	s.union(p)
}

// replace makes n, instead of old, the child of p or, without p, the root.
func (s *Scheduler) replace(p, old, n uint16, level uint8) {
	switch {
	case p == none:
		s.root[level] = n
	case s.threads[p].left == old:
		s.threads[p].left = n
	default:
		s.threads[p].right = n
	}
}

// refresh corrects the unions from n up.
func (s *Scheduler) refresh(n uint16) {
	for n != none {
		s.union(n)
		n = s.threads[n].parent
	}
}

func (s *Scheduler) union(n uint16) {
	t := &s.threads[n]
	t.sum = t.own
	for i := range t.sum {
		if t.left != none {
			t.sum[i] |= s.threads[t.left].sum[i]
		}
		if t.right != none {
			t.sum[i] |= s.threads[t.right].sum[i]
		}
	}
}

// leftmost is the first thread of level whose CPU set of that kind has cpu.
func (s *Scheduler) leftmost(level, mask, cpu int) uint16 {
	bit := uint64(1) << cpu
	n := s.root[level]
	if n == none || s.threads[n].sum[mask]&bit == 0 {
		return none
	}
	for {
		t := &s.threads[n]
		switch {
		case t.left != none && s.threads[t.left].sum[mask]&bit != 0:
			n = t.left
		case t.own[mask]&bit != 0:
			return n
		default:
			n = t.right
		}
	}
}

// waiting is the set of CPUs that some queued thread of level may use.
func (s *Scheduler) waiting(level int) uint64 {
	if n := s.root[level]; n != none {
		return s.threads[n].sum[maskHard] & s.online
	}
	return 0
}

// random is Marsaglia's xorshift.
func (s *Scheduler) random() uint32 {
	s.rnd ^= s.rnd << 13
	s.rnd ^= s.rnd >> 17
	s.rnd ^= s.rnd << 5
	return s.rnd
}

// lowest is the first CPU of a set that is not empty.
func lowest(set uint64) int { return bits.TrailingZeros64(set) & 63 }
