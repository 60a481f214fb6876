package xenstore

import (
	"sync"

	"nidus/mm"
)

// Store is one xenstore. All its methods, and those of what it hands out, may
// be called from any goroutine. It never calls back with its lock held.
type Store struct {
	quota Quota

	mu       sync.Mutex
	root     *node
	gen      uint64
	owned    map[mm.DomID]int
	specials map[string][]Perm // who may hear of the special events
	watches  map[string][]*watch
	watchSeq uint64
	rings    map[mm.DomID]*Ring
	dirty    []*Ring // have something to send
}

// New returns a store that holds nothing but its root, owned by domain 0.
func New(q Quota) *Store {
	only0 := []Perm{{0, AccessNone}}
	return &Store{
		quota:    q,
		root:     &node{perms: only0},
		owned:    map[mm.DomID]int{0: 1},
		specials: map[string][]Perm{IntroduceDomain: only0, ReleaseDomain: only0},
		watches:  map[string][]*watch{},
		rings:    map[mm.DomID]*Ring{},
	}
}

func (s *Store) nextGen() uint64 {
	s.gen++
	return s.gen
}

// lock and unlock guard everything. unlock also sends what the rings got to
// say meanwhile, and tells their guests once the lock is free.
func (s *Store) lock() { s.mu.Lock() }

func (s *Store) unlock() {
	type kick struct {
		notify func(full bool)
		full   bool
	}
	var few [8]kick
	kicks := few[:0]
	for i, r := range s.dirty {
		s.dirty[i] = nil
		r.dirty = false
		if r.flush() && r.notify != nil {
			kicks = append(kicks, kick{r.notify, r.sent < len(r.out)})
		}
	}
	s.dirty = s.dirty[:0]
	s.mu.Unlock()
	for _, k := range kicks {
		k.notify(k.full)
	}
}

// commit makes v the tree and tells the watches.
func (s *Store) commit(v *view) {
	s.root = v.root
	for _, d := range v.delta {
		if s.owned[d.dom] += d.n; s.owned[d.dom] == 0 {
			delete(s.owned, d.dom)
		}
	}
	for i := range v.changes {
		s.fire(&v.changes[i])
	}
}

// Nodes returns how many nodes a domain owns.
func (s *Store) Nodes(dom mm.DomID) int {
	s.lock()
	defer s.unlock()
	return s.owned[dom]
}

// Totals counts what the store holds.
type Totals struct {
	Domains, Nodes, Watches int
	Transactions            int // of domains; the host's own are not known here
}

// Totals counts what the store holds, for finding what was left behind.
func (s *Store) Totals() Totals {
	s.lock()
	defer s.unlock()
	t := Totals{Domains: len(s.rings)}
	for _, n := range s.owned {
		t.Nodes += n
	}
	for _, ws := range s.watches {
		t.Watches += len(ws)
	}
	for _, r := range s.rings {
		t.Transactions += len(r.c.txs)
	}
	return t
}

// DomainShutdown tells the watches of @releaseDomain that a domain shut down or
// crashed, though its connection stays.
func (s *Store) DomainShutdown(dom mm.DomID) {
	s.lock()
	defer s.unlock()
	s.fireSpecial(ReleaseDomain, dom)
}
