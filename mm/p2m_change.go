package mm

import (
	"fmt"
	"sync/atomic"
)

type changeOp uint8

const (
	opMap changeOp = iota
	opUnmap
	opType
)

// change is one change of the guest frames [start, end).
type change struct {
	op         changeOp
	start, end GFN
	mfn        MFN // opMap: what is at start
	from, to   Type
	keep       bool // tables stay, so that the change can be undone without memory
}

// apply makes the change. The lock is held.
func (p *P2M) apply(c *change) error {
	m := p.Root()
	if m == 0 {
		return fmt.Errorf("p2m of domain %d: %w", p.cfg.Owner, ErrDestroy)
	}
	return p.applyTable(p.cfg.Memory.Table(m), levels, 0, c)
}

// applyTable makes the part of the change that table t has, which maps what is
// at base.
func (p *P2M) applyTable(t *Table, level int, base GFN, c *change) error {
	o := orderOf(level)
	first := 0
	if c.start > base {
		first = int((c.start - base) >> o)
	}
	for i := first; i < tableEntries; i++ {
		lo := base + GFN(i)<<o
		if lo >= c.end {
			break
		}
		e := pte(atomic.LoadUint64(&t[i]))
		whole := c.start <= lo && lo+1<<o <= c.end
		if whole && p.applyEntry(t, i, level, lo, e, c) {
			continue
		}
		if c.op != opMap && e.isNone() || c.op == opType && !e.isTable() && e.typ() != c.from {
			continue
		}
		if !e.isTable() {
			var err error
			if e, err = p.split(t, i, level, e); err != nil {
				return err
			}
		}
		err := p.applyTable(p.cfg.Memory.Table(e.mfn()), level-1, lo, c)
		if !c.keep {
			p.collapse(t, i, level, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// applyEntry changes an entry that is wholly in the change, or says that this
// has to happen in a table below.
func (p *P2M) applyEntry(t *Table, i, level int, lo GFN, e pte, c *change) bool {
	switch c.op {
	case opMap:
		m := c.mfn + MFN(lo-c.start)
		if c.to == TypePoD {
			m = 0
		}
		if orderOf(level) > p.cfg.MaxOrder || m&(1<<orderOf(level)-1) != 0 {
			return false
		}
		p.set(t, i, level, e, p.cfg.Format.leafEntry(m, c.to, level))
	case opUnmap:
		p.set(t, i, level, e, 0)
	case opType:
		if e.isTable() {
			return false
		}
		if e.typ() == c.from {
			p.set(t, i, level, e, p.cfg.Format.leafEntry(e.mfn(), c.to, level))
		}
	}
	return true
}

// set writes an entry over old, with everything that follows from it.
func (p *P2M) set(t *Table, i, level int, old, e pte) {
	if p.cfg.Format.same(old, e) {
		return
	}
	atomic.StoreUint64(&t[i], uint64(e))
	// Nothing caches what is not present: AMD APM vol. 2, 5.5.1 and Intel SDM
	// vol. 3, 29.4.3.1. But a walk may hold a table that was linked here.
	if old.isTable() || old&present != 0 {
		p.due = true
	}
	if old.isTable() {
		p.retireTree(old, level-1)
	}
}

// split puts a table with the same contents (or an empty one) where a page (or
// nothing) is. On failure nothing has changed.
func (p *P2M) split(t *Table, i, level int, old pte) (pte, error) {
	m, sub, err := p.newTable()
	if err != nil {
		return 0, err
	}
	if !old.isNone() {
		o := orderOf(level - 1)
		for j := range sub {
			e := p.cfg.Format.leafEntry(old.mfn()+MFN(j)<<o, old.typ(), level-1)
			atomic.StoreUint64(&sub[j], uint64(e))
		}
	}
	e := p.cfg.Format.tableEntry(m)
	p.set(t, i, level, old, e)
	return e, nil
}

// collapse replaces the table that entry e names by one page, or by nothing,
// where its contents are uniform.
func (p *P2M) collapse(t *Table, i, level int, e pte) {
	f := p.cfg.Format
	sub := p.cfg.Memory.Table(e.mfn())
	first, last := pte(atomic.LoadUint64(&sub[0])), pte(atomic.LoadUint64(&sub[tableEntries-1]))
	if first.isTable() {
		return
	}
	typ, m, step := first.typ(), first.mfn(), MFN(0)
	if typ != TypeNone {
		if !typ.merges() || orderOf(level) > p.cfg.MaxOrder || m&(1<<orderOf(level)-1) != 0 {
			return
		}
		if typ.hasFrame() {
			step = 1 << orderOf(level-1)
		}
	}
	same := func(j int, e pte) bool {
		return f.same(e, f.leafEntry(m+MFN(j)*step, typ, level-1))
	}
	if !same(tableEntries-1, last) { // most often it is this one that differs
		return
	}
	for j := 1; j < tableEntries-1; j++ {
		if !same(j, pte(atomic.LoadUint64(&sub[j]))) {
			return
		}
	}
	p.set(t, i, level, e, f.leafEntry(m, typ, level))
}

// newTable takes a cleared table from the quota.
func (p *P2M) newTable() (MFN, *Table, error) {
	if p.tables.Load() >= int64(p.cfg.MaxTables) {
		p.flush() // tables that wait for it count too
		if p.tables.Load() >= int64(p.cfg.MaxTables) {
			return 0, nil, fmt.Errorf("p2m of domain %d: all %d tables of its quota are used: %w", p.cfg.Owner, p.cfg.MaxTables, ErrNoTables)
		}
	}
	m, ok := p.cfg.Memory.AllocTable(p.cfg.Owner)
	if !ok {
		return 0, nil, fmt.Errorf("p2m of domain %d: the machine is out of memory: %w", p.cfg.Owner, ErrNoTables)
	}
	p.tables.Add(1)
	return m, p.cfg.Memory.Table(m), nil
}

// retireTree frees a table that is not linked any more, and those below it, once
// a flush is over.
func (p *P2M) retireTree(e pte, level int) {
	if level > 1 {
		t := p.cfg.Memory.Table(e.mfn())
		for i := range t {
			if sub := pte(atomic.LoadUint64(&t[i])); sub.isTable() {
				p.retireTree(sub, level-1)
			}
		}
	}
	if p.nretired == len(p.retired) {
		p.flush()
	}
	p.due = true
	p.retired[p.nretired] = e.mfn()
	p.nretired++
}
