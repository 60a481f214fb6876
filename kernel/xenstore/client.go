package xenstore

import "nidus/mm"

// client is one connection, of either door: who it is, its watches and its
// transactions. Everything in it is guarded by the store's lock.
type client struct {
	cred
	s        *Store
	nwatches int
	txs      map[uint32]*transaction
	lastTx   uint32
}

func newClient(s *Store, dom mm.DomID) client {
	return client{cred: cred{dom, dom == 0}, s: s}
}

// transaction is a private view and the log that its end runs again.
type transaction struct {
	v      view
	base   *node
	log    []logged
	bytes  int
	doomed bool // can't commit any more
}

type logged struct {
	op
	want answer
}

// do runs o in transaction tx, or on the tree itself if tx is 0.
func (c *client) do(tx uint32, o *op) answer {
	if special(o.path) {
		return c.doSpecial(o)
	}
	if tx == 0 {
		v := view{s: c.s, root: c.s.root}
		a := v.apply(c.cred, o)
		if a.err == 0 && v.root != c.s.root {
			c.s.commit(&v)
		}
		return a
	}
	t := c.txs[tx]
	if t == nil {
		return answer{err: ENOENT}
	}
	if !c.priv && (len(t.log) >= c.s.quota.TxOps || t.bytes >= c.s.quota.TxBytes) {
		return answer{err: ENOSPC}
	}
	a := t.v.apply(c.cred, o)
	t.log = append(t.log, logged{*o, a})
	t.bytes += o.size(&a)
	return a
}

// doSpecial serves the permissions of special events, all they have.
func (c *client) doSpecial(o *op) answer {
	perms := c.s.specials[o.path]
	switch o.kind {
	case MsgGetPerms:
		if !c.may(perms, AccessRead) {
			return answer{err: EACCES}
		}
		return answer{perms: perms}
	case MsgSetPerms:
		if err := c.s.checkPerms(c.cred, perms, o.perms); err != 0 {
			return answer{err: err}
		}
		c.s.specials[o.path] = o.perms
		return answer{}
	}
	return answer{err: EINVAL}
}

func (c *client) begin() (uint32, Errno) {
	if !c.priv && len(c.txs) >= c.s.quota.Transactions {
		return 0, ENOSPC
	}
	if c.txs == nil {
		c.txs = map[uint32]*transaction{}
	}
	for c.lastTx++; c.lastTx == 0 || c.txs[c.lastTx] != nil; c.lastTx++ {
	}
	c.txs[c.lastTx] = &transaction{v: view{s: c.s, root: c.s.root}, base: c.s.root}
	return c.lastTx, 0
}

// end closes a transaction. With commit it becomes part of the tree, or the
// error is EAGAIN and nothing happened.
func (c *client) end(tx uint32, commit bool) Errno {
	t := c.txs[tx]
	if t == nil {
		return ENOENT
	}
	delete(c.txs, tx)
	if !commit {
		return 0
	}
	if t.doomed {
		return EAGAIN
	}
	if t.base == c.s.root {
		c.s.commit(&t.v)
		return 0
	}
	v := view{s: c.s, root: c.s.root}
	for i := range t.log {
		a := v.apply(c.cred, &t.log[i].op)
		if !a.same(&t.log[i].want) {
			return EAGAIN
		}
	}
	c.s.commit(&v)
	return 0
}

// reset drops all watches and transactions.
func (c *client) reset() {
	c.delWatches()
	clear(c.txs)
}
