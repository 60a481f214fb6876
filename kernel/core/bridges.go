package core

import (
	"sync"

	"nidus/drivers/link/bridge"
	"nidus/rpc/control"
)

const (
	// DefaultBridge is the one that always is, and that interfaces join unless their
	// configuration names another (xl-network-configuration(5), bridge).
	DefaultBridge = "xenbr0"
	// maxBridges bounds those of the host.
	maxBridges = 64
)

// bridges are those of the host by name.
type bridges struct {
	mu  sync.Mutex
	all map[string]*bridge.Bridge
}

// Bridge returns the bridge of a name; it is made if there is none.
func (c *Core) Bridge(name string) (b *bridge.Bridge, made bool, err error) {
	l := &c.bridges
	l.mu.Lock()
	defer l.mu.Unlock()
	if b = l.all[name]; b != nil {
		return b, false, nil
	}
	if len(l.all) >= maxBridges {
		return nil, false, control.Errorf(control.ErrNoMemory, "bridge=%s: %d bridges are the most that there can be", name, maxBridges)
	}
	if l.all == nil {
		l.all = map[string]*bridge.Bridge{}
	}
	b = bridge.New(name, c.Host.Memory)
	l.all[name] = b
	return b, true, nil
}
