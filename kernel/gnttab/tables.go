package gnttab

import (
	"maps"
	"sync"
	"sync/atomic"

	"nidus/mm"
)

// Tables are the grant tables of a machine's domains. The zero value has none, and
// a nil one can't have any. Of takes no lock.
type Tables struct {
	mu sync.Mutex // of changes
	m  atomic.Pointer[map[mm.DomID]*Table]
}

// Of returns a domain's table, or nil.
func (ts *Tables) Of(id mm.DomID) *Table {
	if ts == nil {
		return nil
	}
	m := ts.m.Load()
	if m == nil {
		return nil
	}
	return (*m)[id]
}

// InUse counts the tables, the uses of grants that Acquire has given and Release not taken
// back, and how many of them are mappings of domains.
func (ts *Tables) InUse() (tables, pins, mappings int) {
	m := ts.m.Load()
	if m == nil {
		return 0, 0, 0
	}
	for _, t := range *m {
		pins += t.Pins()
		mappings += t.Mappings()
	}
	return len(*m), pins, mappings
}

func (ts *Tables) add(id mm.DomID, t *Table) {
	ts.change(func(m map[mm.DomID]*Table) { m[id] = t })
}

// remove takes t out, if it is still the one of id.
func (ts *Tables) remove(id mm.DomID, t *Table) {
	ts.change(func(m map[mm.DomID]*Table) {
		if m[id] == t {
			delete(m, id)
		}
	})
}

func (ts *Tables) change(f func(map[mm.DomID]*Table)) {
	if ts == nil {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	m := map[mm.DomID]*Table{}
	if old := ts.m.Load(); old != nil {
		m = maps.Clone(*old)
	}
	f(m)
	ts.m.Store(&m)
}
