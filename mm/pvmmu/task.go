package pvmmu

import "nidus/mm"

// stepBudget is how many entries one call looks at before it returns ErrAgain: some
// 100 us of work.
const stepBudget = 2048

// maxDepth is the longest way from a table down: a table of each level, and of 2 to 4 also
// one that is referred to as a linear page table.
const maxDepth = 7

// task is what a domain does to a tree of page tables: it validates it, or unmakes it. There
// is one at a time, and who wants to change anything else of the tables finishes it first.
// So no tree is ever half done in a way that another operation could see.
type task struct {
	by    *VCPU // who wants the root validated; nil: nobody, it is unmade
	root  mm.MFN
	typ   Type
	err   error // why it is not valid
	depth int   // 0: there is no task
	way   [maxDepth]step
}

// step is one table on the way. The entries below next hold references. The table itself has
// one type reference, is not validated, and so nobody else's.
type step struct {
	m       mm.MFN
	typ     Type
	next    int
	undo    bool
	flushed bool
}

// parked is a task's result that waits for the vcpu that began it: it comes again with the
// same operation, or with another one, and then it is taken back. If err is nil, a reference
// of the type is held.
type parked struct {
	m   mm.MFN
	typ Type
	err error
	ok  bool
}

// push goes down to a table.
func (t *task) push(s step) {
	if t.depth == maxDepth {
		panic("pvmmu: page tables are deeper than they can be")
	}
	t.way[t.depth] = s
	t.depth++
}

// work goes on with the domain's task, for at most *budget entries, and tells whether it is
// done. The lock is held.
func (d *Domain) work(budget *int) bool {
	for d.task.depth > 0 {
		if *budget <= 0 {
			return false
		}
		s := &d.task.way[d.task.depth-1]
		switch {
		case s.undo:
			d.undo(s, budget)
		default:
			d.validate(s, budget)
		}
	}
	return true
}

// finish is what every operation on tables above L1 begins with: it ends the task that
// there may be, or returns ErrAgain. The lock is held.
func (d *Domain) finish(budget *int) error {
	if d.task.depth == 0 {
		return nil
	}
	if !d.work(budget) {
		return ErrAgain
	}
	d.left.Store(false)
	return nil
}

// complete ends the task of validating its root: it is done, or undone. The result is for
// who wanted it.
func (d *Domain) complete() {
	t := &d.task
	if t.by != nil {
		t.by.parked = parked{t.root, t.typ, t.err, true}
	}
	t.by, t.err = nil, nil
}

// acquire takes a reference to a frame as a page table, for a vcpu's operation. The table is
// validated for that. No task is under way. The lock is held.
func (d *Domain) acquire(v *VCPU, m mm.MFN, typ Type, budget *int) error {
	if err := d.unpark(v, m, typ, budget); err != nil {
		return err
	}
	if p := &v.parked; p.ok {
		p.ok = false
		return p.err
	}
	started, err := d.reference(m, typ)
	if err != nil || !started {
		return err
	}
	d.task.by, d.task.root, d.task.typ, d.task.err = v, m, typ, nil
	d.task.push(step{m: m, typ: typ})
	if !d.work(budget) {
		return ErrAgain
	}
	v.parked.ok = false
	return v.parked.err
}

// unpark gives back the result of an operation that the vcpu did not repeat, unless it is
// for what it wants now.
func (d *Domain) unpark(v *VCPU, m mm.MFN, typ Type, budget *int) error {
	p := &v.parked
	if !p.ok || p.m == m && p.typ == typ {
		return nil
	}
	p.ok = false
	if p.err != nil {
		return nil
	}
	d.release(p.m, budget)
	return d.finish(budget)
}

// reference takes a reference to a frame, as a page table. started says that it is not one
// yet: it has to be validated, and is nobody else's until then. The lock is held.
func (d *Domain) reference(m mm.MFN, typ Type) (started bool, err error) {
	if err := d.ref(m, d.id); err != nil {
		return false, err
	}
	if started, err = d.retype(d.types.at(m), typ); err != nil {
		d.unref(m)
	}
	return started, err
}

func (d *Domain) retype(f *FrameType, typ Type) (started bool, err error) {
	for {
		w := f.load()
		switch {
		case w.is(changing):
			wait()
		case w.count() == 0:
			if d.types.retype(f, w, typ, d.id) {
				return true, nil
			}
		case w.typ() != typ || !w.is(validated):
			return false, ErrType
		case w.count() >= maxCount:
			return false, ErrCount
		case f.cas(w, w+1):
			return false, nil
		}
	}
}

// release gives back a reference to a validated table. If it was the last, the table is
// unmade, and what is left of that after the budget is the domain's task. No task is under
// way. The lock is held.
func (d *Domain) release(m mm.MFN, budget *int) {
	if d.unshare(m) {
		d.task.by = nil
		d.task.push(step{m: m, typ: d.types.Info(m).Type, next: tableSize, undo: true})
		if !d.work(budget) {
			d.left.Store(true)
		}
	}
}

// unshare gives back a reference to a validated table. If it is the last one, it is kept,
// last is true, and the table is nobody's until it is unmade. The lock is held.
func (d *Domain) unshare(m mm.MFN) (last bool) {
	f := d.types.at(m)
	for {
		w := f.load()
		switch {
		case w.count() == 0 || !w.is(validated):
			panic("pvmmu: a page table lost its references")
		case w.count() > 1:
			if f.cas(w, w-1) {
				d.unref(m)
				return false
			}
		case w.is(pinned) || w.linear() < 0:
			panic("pvmmu: the last reference to a page table that is pinned or linear")
		case f.cas(w, w&^validated):
			d.types.touch(f)
			return true
		}
	}
}
