package xenstore

import (
	"slices"
	"strconv"
	"strings"

	"nidus/mm"
)

// watch is one client's interest in a path and what is below it.
type watch struct {
	c     *client
	path  string // absolute, or special
	token string
	strip int // bytes that a relative watch's events lack
	// levels is how many levels of nodes it hears of, its own included; 0: all. A special
	// watch with 2 hears the number of the domain too (xenstore.txt, WATCH's depth).
	levels int
	seq    uint64 // order of registration
	// deliver queues one event. It runs under the store's lock.
	deliver func(w *watch, path string)
}

func (w *watch) send(path string) { w.deliver(w, path[min(w.strip, len(path)):]) }

// addWatch registers w. The first event, which every watch gets, is the
// caller's to send, behind its reply.
func (c *client) addWatch(w *watch) Errno {
	s := c.s
	if !c.priv && c.nwatches >= s.quota.Watches {
		return ENOSPC
	}
	if s.findWatch(c, w.path, w.token, w.strip) >= 0 {
		return EEXIST
	}
	s.watchSeq++
	w.c, w.seq = c, s.watchSeq
	s.watches[w.path] = append(s.watches[w.path], w)
	c.nwatches++
	return 0
}

func (s *Store) findWatch(c *client, path, token string, strip int) int {
	return slices.IndexFunc(s.watches[path], func(w *watch) bool {
		return w.c == c && w.token == token && w.strip == strip
	})
}

func (c *client) delWatch(path, token string, strip int) Errno {
	i := c.s.findWatch(c, path, token, strip)
	if i < 0 {
		return ENOENT
	}
	gone := c.s.watches[path][i]
	c.s.dropWatches(path, func(w *watch) bool { return w == gone })
	c.nwatches--
	return 0
}

// delWatches removes all watches of c.
func (c *client) delWatches() {
	if c.nwatches == 0 {
		return
	}
	for path := range c.s.watches {
		c.s.dropWatches(path, func(w *watch) bool { return w.c == c })
	}
	c.nwatches = 0
}

func (s *Store) dropWatches(path string, drop func(*watch) bool) {
	var keep []*watch
	for _, w := range s.watches[path] {
		if !drop(w) {
			keep = append(keep, w)
		}
	}
	if len(keep) == 0 {
		delete(s.watches, path)
	} else {
		s.watches[path] = keep
	}
}

// fire sends a committed change to the watches at its path and above it, and
// the removal of a subtree to those inside it, in the order in which they were
// registered. A client hears of nodes that it may read or whose parent it may
// list.
func (s *Store) fire(ch *change) {
	if len(s.watches) == 0 {
		return
	}
	type hit struct {
		w    *watch
		path string
	}
	var few [8]hit
	hits := few[:0]
	at := func(path, event string, level int, perms, parent []Perm) {
		for _, w := range s.watches[path] {
			if w.levels > 0 && level >= w.levels {
				continue
			}
			if c := w.c.cred; c.may(perms, AccessRead) || c.may(parent, AccessRead) {
				hits = append(hits, hit{w, event})
			}
		}
	}
	for p, level := ch.path, 0; ; p, level = parent(p), level+1 {
		at(p, ch.path, level, ch.perms, ch.parent)
		if p == "/" {
			break
		}
	}
	var below func(dir string, n *node)
	below = func(dir string, n *node) {
		for _, k := range n.kids {
			p := join(dir, k.name)
			at(p, p, 0, k.perms, n.perms)
			below(p, k)
		}
	}
	if ch.removed != nil {
		below(ch.path, ch.removed)
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		switch {
		case a.w.seq < b.w.seq:
			return -1
		case a.w.seq > b.w.seq:
			return 1
		}
		return strings.Compare(a.path, b.path)
	})
	for _, h := range hits {
		h.w.send(h.path)
	}
}

// fireSpecial sends a special event about domain dom: to the watches of its name, and to
// those of its name and this domain.
func (s *Store) fireSpecial(name string, dom mm.DomID) {
	perms := s.specials[name]
	one := name + "/" + strconv.Itoa(int(dom))
	for _, path := range [...]string{name, one} {
		for _, w := range s.watches[path] {
			switch {
			case !w.c.may(perms, AccessRead):
			case w.levels > 1:
				w.send(one)
			default:
				w.send(path)
			}
		}
	}
}
