package xenstore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nidus/mm"
)

// SnapshotVersion is the version of Snapshot's meaning.
const SnapshotVersion = 1

// Snapshot is a store as plain data. Connections of the host's own code are not
// part of it: whoever holds one opens it again. Open transactions of guests
// are kept by number alone; after Restore they start again from the tree of
// that moment and end with EAGAIN.
type Snapshot struct {
	Version    int
	Generation uint64
	Nodes      []NodeState // parents before children
	Specials   map[string][]Perm
	Domains    []DomainState
}

// NodeState is a node of a Snapshot.
type NodeState struct {
	Path, Value string
	Perms       []Perm
	Generation  uint64
}

// DomainState is a guest's connection in a Snapshot.
type DomainState struct {
	Dom               mm.DomID
	ReqCons, RspProd  uint32 // the server's indexes
	Fault             uint32 // XENSTORE_ERROR_*
	In                []byte // a request that is not whole yet
	Out               []byte // whole messages, of which OutSent bytes are in the ring
	OutSent           int
	Watches           []WatchState
	Transactions      []uint32
	LastTransactionID uint32
}

// WatchState is a guest's watch in a Snapshot.
type WatchState struct {
	Path, Token string
	Relative    bool
	Levels      int // 1 more than the depth; 0: all
}

// Snapshot returns the store as it is between two requests.
func (s *Store) Snapshot() *Snapshot {
	s.lock()
	defer s.unlock()
	sn := &Snapshot{Version: SnapshotVersion, Generation: s.gen, Specials: map[string][]Perm{}}
	var add func(path string, n *node)
	add = func(path string, n *node) {
		sn.Nodes = append(sn.Nodes, NodeState{path, n.value, slices.Clone(n.perms), n.gen})
		for _, k := range n.kids {
			add(join(path, k.name), k)
		}
	}
	add("/", s.root)
	for p, perms := range s.specials {
		sn.Specials[p] = slices.Clone(perms)
	}
	of := map[*client][]*watch{}
	for _, ws := range s.watches {
		for _, w := range ws {
			of[w.c] = append(of[w.c], w)
		}
	}
	for _, dom := range slices.Sorted(maps.Keys(s.rings)) {
		r := s.rings[dom]
		d := DomainState{
			Dom: dom, ReqCons: r.reqCons, RspProd: r.rspProd, Fault: r.fault,
			In: slices.Clone(r.in[:r.inLen]), Out: slices.Clone(r.out[r.first:]), OutSent: r.sent - r.first,
			Transactions: slices.Sorted(maps.Keys(r.c.txs)), LastTransactionID: r.c.lastTx,
		}
		ws := of[&r.c]
		slices.SortFunc(ws, func(a, b *watch) int { return int(int64(a.seq - b.seq)) })
		for _, w := range ws {
			d.Watches = append(d.Watches, WatchState{w.path, w.token, w.strip > 0, w.levels})
		}
		sn.Domains = append(sn.Domains, d)
	}
	return sn
}

// Restore makes a store of a snapshot. Its domains are silent until Attach.
func Restore(q Quota, sn *Snapshot) (*Store, error) {
	if sn.Version != SnapshotVersion {
		return nil, fmt.Errorf("xenstore: snapshot of version %d, this is version %d", sn.Version, SnapshotVersion)
	}
	s := New(q)
	s.owned = map[mm.DomID]int{}
	s.gen = sn.Generation
	for i, n := range sn.Nodes {
		if err := s.restoreNode(i, n); err != nil {
			return nil, fmt.Errorf("xenstore: snapshot: node %d (%q): %w", i, n.Path, err)
		}
	}
	for p, perms := range sn.Specials {
		if special(p) && len(perms) > 0 {
			s.specials[p] = slices.Clone(perms)
		}
	}
	for _, d := range sn.Domains {
		if err := s.restoreDomain(&d); err != nil {
			return nil, fmt.Errorf("xenstore: snapshot: domain %d: %w", d.Dom, err)
		}
	}
	return s, nil
}

func (s *Store) restoreNode(i int, n NodeState) error {
	m := &node{value: n.Value, perms: slices.Clone(n.Perms), gen: n.Generation}
	switch {
	case len(n.Perms) == 0 || (n.Path == "/") != (i == 0) || !validAbs(n.Path):
		return EINVAL
	case i == 0:
		s.root = m
	default:
		v := view{s: s, root: s.root}
		up, _, _ := v.walk(parent(n.Path))
		m.name = n.Path[strings.LastIndexByte(n.Path, '/')+1:]
		if up == nil || up.child(m.name) != nil {
			return EINVAL
		}
		v.put(n.Path, m)
		s.root = v.root
	}
	s.owned[m.perms[0].Dom]++
	return nil
}

func (s *Store) restoreDomain(d *DomainState) error {
	if s.rings[d.Dom] != nil || d.Dom >= mm.DomIDFirstReserved || len(d.In) >= HeaderSize+PayloadMax {
		return EINVAL
	}
	r := s.newRing(d.Dom)
	r.reqCons, r.rspProd, r.fault = d.ReqCons, d.RspProd, d.Fault
	r.inLen = copy(r.in[:], d.In)
	for at := 0; at < len(d.Out); r.msgs++ {
		if len(d.Out)-at < HeaderSize {
			return EINVAL
		}
		n := DecodeHeader(d.Out[at:]).Len
		if n > PayloadMax || int(n) > len(d.Out)-at-HeaderSize {
			return EINVAL
		}
		at += HeaderSize + int(n)
	}
	if d.OutSent < 0 || d.OutSent > len(d.Out) {
		return EINVAL
	}
	r.out, r.sent = slices.Clone(d.Out), d.OutSent
	r.c.lastTx = d.LastTransactionID
	for _, id := range d.Transactions {
		if r.c.txs == nil {
			r.c.txs = map[uint32]*transaction{}
		}
		r.c.txs[id] = &transaction{v: view{s: s, root: s.root}, base: s.root, doomed: true}
	}
	home := len(DomainPath(d.Dom)) + 1
	for _, w := range d.Watches {
		k := &watch{path: w.Path, token: w.Token, levels: w.Levels, deliver: r.event}
		if !validAbs(w.Path) && !validWatch(w.Path) || len(w.Token) > tokenMax || w.Levels < 0 || w.Levels > AbsPathMax+1 {
			return EINVAL
		}
		if w.Relative {
			if !strings.HasPrefix(w.Path, DomainPath(d.Dom)+"/") {
				return EINVAL
			}
			k.strip = home
		}
		if err := r.c.addWatch(k); err != 0 {
			return err
		}
	}
	return nil
}

// Attach gives a restored domain its page back and returns its ring.
func (s *Store) Attach(dom mm.DomID, page mm.Page, notify func(full bool)) (*Ring, error) {
	s.lock()
	defer s.unlock()
	r := s.rings[dom]
	if r == nil || !r.page.IsZero() || page.IsZero() {
		return nil, fmt.Errorf("xenstore: attach domain %d: it is not waiting for its page: %w", dom, EINVAL)
	}
	r.attach(page, notify)
	return r, nil
}
