package xenstore

import (
	"slices"
	"strings"

	"nidus/mm"
)

// node is immutable once a tree holds it: a change makes a new node and new
// ancestors.
type node struct {
	name  string
	value string
	perms []Perm // never empty
	gen   uint64 // changes with the value, the permissions and the list of children
	kids  []*node
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.kids, name, func(k *node, s string) int {
		return strings.Compare(k.name, s)
	})
}

func (n *node) child(name string) *node {
	if i, ok := n.find(name); ok {
		return n.kids[i]
	}
	return nil
}

// with returns a copy of n that has k as a child, in place of one with its name.
func (n *node) with(k *node) *node {
	c := *n
	i, ok := n.find(k.name)
	if ok {
		c.kids = slices.Clone(n.kids)
		c.kids[i] = k
		return &c
	}
	c.kids = make([]*node, 0, len(n.kids)+1)
	c.kids = append(append(append(c.kids, n.kids[:i]...), k), n.kids[i:]...)
	return &c
}

// without returns a copy of n that lacks a child.
func (n *node) without(name string) *node {
	c := *n
	if i, ok := n.find(name); ok {
		c.kids = slices.Delete(slices.Clone(n.kids), i, i+1)
	}
	return &c
}

func (n *node) names() []string {
	s := make([]string, len(n.kids))
	for i, k := range n.kids {
		s[i] = k.name
	}
	return s
}

// change is what a watch may hear of once it is committed. The permissions are
// those that decide who may hear.
type change struct {
	path    string
	perms   []Perm
	parent  []Perm
	removed *node // the subtree that went, for watches below path
}

type owned struct {
	dom mm.DomID
	n   int
}

// view is a tree that one request or one transaction works on, with what has
// to happen if it becomes the store's tree.
type view struct {
	s       *Store
	root    *node
	delta   []owned
	changes []change
}

func (v *view) count(dom mm.DomID, n int) {
	for i := range v.delta {
		if v.delta[i].dom == dom {
			v.delta[i].n += n
			return
		}
	}
	v.delta = append(v.delta, owned{dom, n})
}

func (v *view) held(dom mm.DomID) int {
	n := v.s.owned[dom]
	for _, d := range v.delta {
		if d.dom == dom {
			n += d.n
		}
	}
	return n
}

// walk returns the node at path, or nil; deepest is the last node there is on
// the way and rest what is missing behind it.
func (v *view) walk(path string) (n, deepest *node, rest string) {
	n, rest = v.root, path[1:]
	for rest != "" {
		name, tail := nextName(rest)
		k := n.child(name)
		if k == nil {
			return nil, n, rest
		}
		n, rest = k, tail
	}
	return n, n, ""
}

// get returns the node at path if c may have want of it. A missing node is
// ENOENT only to those who may ask its nearest ancestor, so that nobody learns
// what is in a tree that is closed to them.
func (v *view) get(c cred, path string, want Access) (*node, Errno) {
	n, deepest, _ := v.walk(path)
	switch {
	case !c.may(deepest.perms, want):
		return nil, EACCES
	case n == nil:
		return nil, ENOENT
	}
	return n, 0
}

// put makes n the node at path, whose parent exists.
func (v *view) put(path string, n *node) { v.root = replace(v.root, path[1:], n) }

func replace(at *node, rest string, n *node) *node {
	if rest == "" {
		return n
	}
	name, tail := nextName(rest)
	if tail == "" {
		return at.with(n)
	}
	return at.with(replace(at.child(name), tail, n))
}

// ensure creates the node at path and what is missing above it, if there is
// none. New nodes take their parent's permissions; those that a guest makes
// belong to it.
func (v *view) ensure(c cred, path, value string) (created bool, err Errno) {
	n, deepest, rest := v.walk(path)
	if !c.may(deepest.perms, AccessWrite) {
		return false, EACCES
	}
	if n != nil {
		return false, 0
	}
	perms := deepest.perms
	if !c.priv && perms[0].Dom != c.dom {
		perms = slices.Clone(perms)
		perms[0].Dom = c.dom
	}
	want := strings.Count(rest, "/") + 1
	if !c.priv && (v.held(perms[0].Dom)+want > v.s.quota.Nodes || strings.Count(path, "/") > v.s.quota.Depth) {
		return false, ENOSPC
	}
	v.count(perms[0].Dom, want)
	// Build the missing branch from its leaf upwards.
	at := path[:len(path)-len(rest)]
	var branch *node
	for rest != "" {
		i := strings.LastIndexByte(rest, '/')
		k := &node{name: rest[i+1:], perms: perms, gen: v.s.nextGen()}
		if branch == nil {
			k.value = value
		} else {
			k.kids = []*node{branch}
		}
		branch, rest = k, rest[:max(i, 0)]
	}
	top := deepest.with(branch)
	top.gen = v.s.nextGen()
	if at != "/" {
		at = strings.TrimSuffix(at, "/")
	}
	v.put(at, top)
	return true, 0
}

// remove takes the node at path, which is not the root, out of the tree.
func (v *view) remove(path string, n *node) (parentPerms []Perm) {
	up := parent(path)
	p, _, _ := v.walk(up)
	q := p.without(n.name)
	q.gen = v.s.nextGen()
	v.put(up, q)
	v.uncount(n)
	return p.perms
}

func (v *view) uncount(n *node) {
	v.count(n.perms[0].Dom, -1)
	for _, k := range n.kids {
		v.uncount(k)
	}
}

func (v *view) changed(path string, n, removed *node) {
	p, _, _ := v.walk(parent(path))
	v.changes = append(v.changes, change{path: path, perms: n.perms, parent: p.perms, removed: removed})
}
