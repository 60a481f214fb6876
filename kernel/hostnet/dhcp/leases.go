// Package dhcp gives a network's guests their addresses, and the host its own: the two
// sides of RFC 2131. The library dhcpv4 reads and writes the messages.
package dhcp

import (
	"net/netip"
	"sync"

	"nidus/drivers/link"
)

// maxLeases bounds the addresses that are given out, however large the network is.
const maxLeases = 1024

// Leases says who has which address of a network: one for each interface, for as long as
// the host runs or until Forget.
type Leases struct {
	own   netip.Prefix
	known func(link.MAC) bool

	mu     sync.RWMutex
	byMAC  map[link.MAC]netip.Addr
	byAddr map[netip.Addr]link.MAC
}

// NewLeases makes a table for a network, in which own is the gateway's address. known
// tells whether there is such an interface; nil: there is any.
func NewLeases(own netip.Prefix, known func(link.MAC) bool) *Leases {
	return &Leases{own: own, known: known, byMAC: map[link.MAC]netip.Addr{}, byAddr: map[netip.Addr]link.MAC{}}
}

// Of returns the address of an interface.
func (l *Leases) Of(m link.MAC) (netip.Addr, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	a, ok := l.byMAC[m]
	return a, ok
}

// Who returns the interface that has an address.
func (l *Leases) Who(a netip.Addr) (link.MAC, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	m, ok := l.byAddr[a]
	return m, ok
}

// Give finds an address for an interface: that which it has, or the one that it wants, if
// that is free, or any; false: there is none for it.
func (l *Leases) Give(m link.MAC, want netip.Addr) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.byMAC[m]; ok {
		return a, true
	}
	if !l.mayHave(m) {
		return netip.Addr{}, false
	}
	if l.free(want) {
		return want, l.bind(m, want)
	}
	// The first and the last are the network's own; maxLeases ends the search.
	for a, n := l.own.Masked().Addr().Next(), 0; l.own.Contains(a) && n <= maxLeases+1; a, n = a.Next(), n+1 {
		if l.free(a) {
			return a, l.bind(m, a)
		}
	}
	return netip.Addr{}, false
}

// Claim tells whether an interface may send from an address: from its own, or from one
// that nobody has, which is its own from then on.
func (l *Leases) Claim(m link.MAC, a netip.Addr) bool {
	if has, ok := l.Of(m); ok && has == a { // each frame asks
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if has, ok := l.byMAC[m]; ok && has == a { // it is so since
		return true
	}
	if !l.free(a) || !l.mayHave(m) {
		return false
	}
	delete(l.byAddr, l.byMAC[m])
	return l.bind(m, a)
}

// Forget frees the address of an interface that is gone.
func (l *Leases) Forget(m link.MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byAddr, l.byMAC[m])
	delete(l.byMAC, m)
}

// mayHave tells whether an interface may have an address at all. l.mu is held.
func (l *Leases) mayHave(m link.MAC) bool {
	_, has := l.byMAC[m]
	return m[0]&1 == 0 && m != link.MAC{} && (l.known == nil || l.known(m)) && (has || len(l.byMAC) < maxLeases)
}

// free tells whether an address is a guest's that nobody has. l.mu is held.
func (l *Leases) free(a netip.Addr) bool {
	if !a.Is4() || !l.own.Contains(a) || a == l.own.Addr() || a == l.own.Masked().Addr() || !l.own.Contains(a.Next()) {
		return false
	}
	_, taken := l.byAddr[a]
	return !taken
}

func (l *Leases) bind(m link.MAC, a netip.Addr) bool {
	l.byMAC[m], l.byAddr[a] = a, m
	return true
}
