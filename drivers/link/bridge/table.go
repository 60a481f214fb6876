package bridge

import (
	"sync"
	"sync/atomic"

	"nidus/drivers/link"
)

// table says which port an address is behind, in each VLAN. It is read without a lock: a
// chain's nodes don't change but for where their address is, and when it was seen.
type table struct {
	mu      sync.Mutex // of changes
	buckets [1 << bucketBits]atomic.Pointer[node]
	pinned  atomic.Pointer[map[link.MAC]*Member]
}

const bucketBits = 10

// key is an address in a VLAN.
type key uint64

func keyOf(a link.MAC, vlan int) key {
	k := key(vlan)
	for _, x := range a {
		k = k<<8 | key(x)
	}
	return k
}

func (k key) bucket() int { return int(uint64(k) * 0x9e3779b97f4a7c15 >> (64 - bucketBits)) }

type node struct {
	key  key
	at   atomic.Pointer[Member]
	seen atomic.Int64 // in seconds
	next *node        // never changed
}

// find returns where an address is, or nil.
func (t *table) find(a link.MAC, vlan int, now int64) *Member {
	if p := t.pinned.Load(); p != nil {
		if m := (*p)[a]; m != nil && m.cfg.VLANs.member(vlan) {
			return m
		}
	}
	n := t.node(keyOf(a, vlan))
	if n == nil || now-n.seen.Load() > int64(ageing.Seconds()) {
		return nil
	}
	return n.at.Load()
}

func (t *table) node(k key) *node {
	n := t.buckets[k.bucket()].Load()
	for n != nil && n.key != k {
		n = n.next
	}
	return n
}

// learn notes that an address is behind m.
func (t *table) learn(a link.MAC, vlan int, m *Member, now int64) {
	k := keyOf(a, vlan)
	if n := t.node(k); n != nil && n.at.Load() == m {
		if n.seen.Load() != now {
			n.seen.Store(now)
		}
		return
	}
	if p := t.pinned.Load(); p != nil && (*p)[a] != nil { // is known, and nobody else's
		return
	}
	full := int(m.learned.Load()) >= m.cfg.Addresses
	if full && m.purged.Swap(now) == now { // old ones are not looked for with each frame
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if full {
		t.remove(func(n *node) bool { return n.at.Load() == m && now-n.seen.Load() > int64(ageing.Seconds()) })
	}
	if int(m.learned.Load()) >= m.cfg.Addresses {
		return
	}
	n := t.node(k)
	if n == nil {
		b := &t.buckets[k.bucket()]
		n = &node{key: k, next: b.Load()}
		n.at.Store(m)
		n.seen.Store(now)
		m.learned.Add(1)
		b.Store(n)
		return
	}
	if old := n.at.Swap(m); old != m { // it has moved
		old.learned.Add(-1)
		m.learned.Add(1)
	}
	n.seen.Store(now)
}

// remove removes nodes. t.mu is held.
func (t *table) remove(which func(*node) bool) {
	for i := range t.buckets {
		var keep *node
		changed := false
		for n := t.buckets[i].Load(); n != nil; n = n.next {
			if which(n) {
				n.at.Load().learned.Add(-1)
				changed = true
				continue
			}
			c := &node{key: n.key, next: keep}
			c.at.Store(n.at.Load())
			c.seen.Store(n.seen.Load())
			keep = c
		}
		if changed {
			t.buckets[i].Store(keep)
		}
	}
}

// pin makes an address m's, unless it is another port's.
func (t *table) pin(a link.MAC, m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.repin(func(p map[link.MAC]*Member) {
		if p[a] == nil {
			p[a] = m
		}
	})
	t.remove(func(n *node) bool { return n.key<<16 == keyOf(a, 0)<<16 })
}

// repin changes a copy of what is pinned. t.mu is held.
func (t *table) repin(change func(map[link.MAC]*Member)) {
	p := map[link.MAC]*Member{}
	if old := t.pinned.Load(); old != nil {
		for a, m := range *old {
			p[a] = m
		}
	}
	change(p)
	t.pinned.Store(&p)
}

// forget removes all that is behind m.
func (t *table) forget(m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.repin(func(p map[link.MAC]*Member) {
		if p[m.cfg.MAC] == m {
			delete(p, m.cfg.MAC)
		}
	})
	t.remove(func(n *node) bool { return n.at.Load() == m })
}
