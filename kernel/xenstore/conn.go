package xenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"nidus/mm"
)

// Conn is the host's own door to the store: as domain 0, or as the domain that
// a backend stands for. Errors wrap an Errno.
type Conn struct {
	nodes
	c client
}

// Tx is a transaction of a Conn. It ends with Commit or Abort.
type Tx struct{ nodes }

// Open returns a connection that acts as domain dom.
func (s *Store) Open(dom mm.DomID) *Conn {
	k := &Conn{c: newClient(s, dom)}
	k.nodes = nodes{c: &k.c}
	return k
}

// Close drops the connection's watches and transactions.
func (k *Conn) Close() {
	k.c.s.lock()
	defer k.c.s.unlock()
	k.c.reset()
}

// Nodes is what can be done with nodes, in a transaction or outside. Paths that
// don't begin with / start at /local/domain/<dom>.
type Nodes interface {
	Read(path string) (string, error)
	Write(path, value string) error
	Mkdir(path string) error
	Rm(path string) error
	List(path string) ([]string, error)
	Perms(path string) ([]Perm, error)
	SetPerms(path string, perms ...Perm) error
}

var (
	_ Nodes = (*Conn)(nil)
	_ Nodes = (*Tx)(nil)
)

// nodes implements Nodes for a Conn (tx 0) and a Tx.
type nodes struct {
	c  *client
	tx uint32
}

func (n nodes) do(verb string, o op) (answer, error) {
	path := o.path
	if !special(path) {
		abs, _, err := resolve(n.c.dom, path)
		if err != 0 {
			return answer{}, fmt.Errorf("xenstore: %s: bad path %q: %w", verb, path, err)
		}
		o.path = abs
	}
	n.c.s.lock()
	a := n.c.do(n.tx, &o)
	n.c.s.unlock()
	if a.err != 0 {
		return a, fmt.Errorf("xenstore: %s %s: %w", verb, path, a.err)
	}
	return a, nil
}

// Read returns the value of the node at path.
func (n nodes) Read(path string) (string, error) {
	a, err := n.do("read", op{kind: MsgRead, path: path})
	return a.value, err
}

// Write sets the value of the node at path, and creates what is missing.
func (n nodes) Write(path, value string) error {
	if len(value) > PayloadMax {
		return fmt.Errorf("xenstore: write %s: value of %d bytes, at most %d fit: %w", path, len(value), PayloadMax, E2BIG)
	}
	_, err := n.do("write", op{kind: MsgWrite, path: path, value: value})
	return err
}

// Mkdir creates the node at path, unless it is there, and what is missing above.
func (n nodes) Mkdir(path string) error {
	_, err := n.do("mkdir", op{kind: MsgMkdir, path: path})
	return err
}

// Rm removes the node at path and everything below. A missing node is no error
// if its parent is there.
func (n nodes) Rm(path string) error {
	_, err := n.do("rm", op{kind: MsgRm, path: path})
	return err
}

// List returns the names of the children of the node at path, sorted.
func (n nodes) List(path string) ([]string, error) {
	a, err := n.do("list", op{kind: MsgDirectory, path: path})
	return slices.Clone(a.names), err
}

// Perms returns the permissions of the node at path.
func (n nodes) Perms(path string) ([]Perm, error) {
	a, err := n.do("get permissions of", op{kind: MsgGetPerms, path: path})
	return slices.Clone(a.perms), err
}

// SetPerms sets the permissions of the node at path; the first names its owner.
func (n nodes) SetPerms(path string, perms ...Perm) error {
	_, err := n.do("set permissions of", op{kind: MsgSetPerms, path: path, perms: slices.Clone(perms)})
	return err
}

// Begin starts a transaction.
func (k *Conn) Begin() (*Tx, error) {
	k.c.s.lock()
	defer k.c.s.unlock()
	id, err := k.c.begin()
	if err != 0 {
		return nil, fmt.Errorf("xenstore: start a transaction: %w", err)
	}
	return &Tx{nodes{&k.c, id}}, nil
}

// Commit ends the transaction. An error that is EAGAIN says that somebody
// else's change came between: nothing happened, do it again.
func (t *Tx) Commit() error { return t.end(true) }

// Abort ends the transaction and forgets what it did. After Commit it does
// nothing.
func (t *Tx) Abort() { _ = t.end(false) }

func (t *Tx) end(commit bool) error {
	t.c.s.lock()
	defer t.c.s.unlock()
	if err := t.c.end(t.tx, commit); err != 0 {
		return fmt.Errorf("xenstore: end a transaction: %w", err)
	}
	return nil
}

// Transact runs fn in a transaction, again whenever it collides with somebody
// else's, until ctx ends. An error of fn drops the transaction.
func (k *Conn) Transact(ctx context.Context, fn func(*Tx) error) error {
	for {
		t, err := k.Begin()
		if err != nil {
			return err
		}
		if err := fn(t); err != nil {
			t.Abort()
			return err
		}
		if err = t.Commit(); !errors.Is(err, EAGAIN) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}
