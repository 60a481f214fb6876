package xenstore

import "slices"

// op is one request on the tree, and answer what came of it: together they are
// an entry of a transaction's log.
type op struct {
	kind  MsgType
	path  string // absolute
	value string
	perms []Perm
}

type answer struct {
	err   Errno
	value string
	names []string
	perms []Perm
	gen   uint64
}

// same tells whether a client could not tell a from b. Generations don't
// count: a list that changed and changed back is the same list.
func (a *answer) same(b *answer) bool {
	return a.err == b.err && a.value == b.value &&
		slices.Equal(a.names, b.names) && slices.Equal(a.perms, b.perms)
}

// size estimates the memory that o and its answer hold, in bytes.
func (o *op) size(a *answer) int {
	n := 128 + len(o.path) + len(o.value) + len(a.value) + 4*(len(o.perms)+len(a.perms))
	for _, s := range a.names {
		n += 16 + len(s)
	}
	return n
}

// apply runs o on v. If the answer has an error, v is as before.
func (v *view) apply(c cred, o *op) answer {
	switch o.kind {
	case MsgRead:
		n, err := v.get(c, o.path, AccessRead)
		if err != 0 {
			return answer{err: err}
		}
		return answer{value: n.value}
	case MsgDirectory:
		n, err := v.get(c, o.path, AccessRead)
		if err != 0 {
			return answer{err: err}
		}
		return answer{names: n.names(), gen: n.gen}
	case MsgGetPerms:
		n, err := v.get(c, o.path, AccessRead)
		if err != 0 {
			return answer{err: err}
		}
		return answer{perms: n.perms}
	case MsgWrite:
		return answer{err: v.write(c, o.path, o.value)}
	case MsgMkdir:
		created, err := v.ensure(c, o.path, "")
		if created {
			n, _, _ := v.walk(o.path)
			v.changed(o.path, n, nil)
		}
		return answer{err: err}
	case MsgRm:
		return answer{err: v.rm(c, o.path)}
	case MsgSetPerms:
		return answer{err: v.setPerms(c, o.path, o.perms)}
	}
	return answer{err: ENOSYS}
}

func (v *view) write(c cred, path, value string) Errno {
	if !c.priv && len(value) > v.s.quota.NodeSize {
		return ENOSPC
	}
	created, err := v.ensure(c, path, value)
	if err != 0 {
		return err
	}
	n, _, _ := v.walk(path)
	if !created {
		m := *n
		m.value, m.gen = value, v.s.nextGen()
		v.put(path, &m)
		n = &m
	}
	v.changed(path, n, nil)
	return 0
}

func (v *view) rm(c cred, path string) Errno {
	if path == "/" {
		return EINVAL
	}
	n, err := v.get(c, path, AccessWrite)
	if err == ENOENT {
		if p, _, _ := v.walk(parent(path)); p != nil {
			return 0
		}
	}
	if err != 0 {
		return err
	}
	up := v.remove(path, n)
	v.changes = append(v.changes, change{path: path, perms: n.perms, parent: up, removed: n})
	return 0
}

func (v *view) setPerms(c cred, path string, perms []Perm) Errno {
	n, err := v.get(c, path, AccessRead)
	if err != 0 {
		return err
	}
	if e := v.s.checkPerms(c, n.perms, perms); e != 0 {
		return e
	}
	if from, to := n.perms[0].Dom, perms[0].Dom; from != to {
		v.count(from, -1)
		v.count(to, 1)
	}
	m := *n
	m.perms, m.gen = perms, v.s.nextGen()
	v.put(path, &m)
	v.changed(path, &m, nil)
	return 0
}

// checkPerms tells whether c may change old into new: only the owner may, and
// only domain 0 gives a node to somebody else.
func (s *Store) checkPerms(c cred, old, new []Perm) Errno {
	switch {
	case len(new) == 0:
		return EINVAL
	case !c.owns(old):
		return EACCES
	case c.priv:
		return 0
	case len(new) > s.quota.Perms:
		return ENOSPC
	case new[0].Dom != old[0].Dom:
		return EPERM
	}
	return 0
}
