package core

import (
	"fmt"
	"iter"
	"slices"
	"sync"

	"nidus/drivers/link"
)

// nics are the network cards of the host by name, and who uses them.
type nics struct {
	mu    sync.Mutex
	ports map[string]link.Port
	users map[string]string
}

// RegisterNIC makes a network card of the host known under a name such as eth0. A nil
// port takes the name away.
func (c *Core) RegisterNIC(name string, p link.Port) {
	n := &c.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports, n.users = map[string]link.Port{}, map[string]string{}
	}
	if p == nil {
		delete(n.ports, name)
	} else {
		n.ports[name] = p
	}
}

// NICs returns the names of the host's network cards.
func (c *Core) NICs() []string {
	n := &c.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make([]string, 0, len(n.ports))
	for name := range n.ports {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NICStats yields the host's network cards by name, and what each has counted.
func (c *Core) NICStats() iter.Seq2[string, link.Stats] {
	return func(yield func(string, link.Stats) bool) {
		for _, name := range c.NICs() {
			c.nics.mu.Lock()
			p := c.nics.ports[name]
			c.nics.mu.Unlock()
			if p != nil && !yield(name, p.Stats()) {
				return
			}
		}
	}
}

// TakeNIC gives a network card to one user, a bridge or the host's own stack, until
// ReturnNIC. The error says that there is none of that name, or who has it.
func (c *Core) TakeNIC(name, user string) (link.Port, error) {
	n := &c.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.ports[name]
	if !ok {
		return nil, fmt.Errorf("there is no network card %s", name)
	}
	if by, ok := n.users[name]; ok {
		return nil, fmt.Errorf("network card %s belongs to %s already", name, by)
	}
	n.users[name] = user
	return p, nil
}

// ReturnNIC takes a network card from its user, who is not told any more what comes in;
// nothing happens if that is another one.
func (c *Core) ReturnNIC(name, user string) {
	n := &c.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.users[name] != user {
		return
	}
	delete(n.users, name)
	if p := n.ports[name]; p != nil {
		p.Receive(nil)
	}
}
