package netback

import (
	"slices"
	"sync"

	"nidus/drivers/link"
)

// groups are the multicast addresses that a guest listens to (io/netif.h,
// feature-multicast-control).
type groups struct {
	filter bool // nothing but these, and broadcast
	mu     sync.RWMutex
	addrs  []link.MAC
}

// change adds or removes an address; it returns false if there are too many, or it is
// none of a group.
func (g *groups) change(add bool, a link.MAC) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.addrs, a)
	switch {
	case !a.Group():
		return false
	case !add:
		if i >= 0 {
			g.addrs = slices.Delete(g.addrs, i, i+1)
		}
	case i >= 0:
	case len(g.addrs) >= maxMulticast:
		return false
	default:
		g.addrs = append(g.addrs, a)
	}
	return true
}

// wants tells whether the guest wants a frame for a.
func (g *groups) wants(a link.MAC) bool {
	if !g.filter || !a.Group() || a == link.Broadcast {
		return true
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.Contains(g.addrs, a)
}
