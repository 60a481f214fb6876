// Package hostnet is the host's own place in the network: a TCP/IP stack on the bridge that
// its network card is on, with an address that is said or asked for (docs/hostnet.md).
package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/kernel/boot"
	"nidus/kernel/hostnet/dhcp"
	"nidus/kernel/hostnet/ipstack"
	"nidus/kernel/hostnet/nat"
)

// Config is what a Network is made of.
type Config struct {
	Options boot.NetOptions
	// Port is the stack's, on the bridge.
	Port   link.Port
	Memory device.Memory
	// Name is what the host calls itself.
	Name string
	// Clock is kept right, unless the options say not to.
	Clock Clock
	// Log gets what a person is to see.
	Log func(format string, args ...any)
}

// Network is the host's own.
type Network struct {
	*ipstack.Stack
	cfg Config

	mu      sync.Mutex
	from    netip.Addr    // the DHCP server that gave the address; invalid: it was said
	ntp     []netip.Addr  // servers of the time that it named
	changed chan struct{} // closed at the next change of the address, and of ntp
}

// New makes a stack, and gives it its address, as soon as it has one, until ctx ends.
func New(ctx context.Context, cfg Config) (*Network, error) {
	st, err := ipstack.New(cfg.Port, cfg.Memory, ipstack.Options{MaxBuffer: nat.MaxBuffer})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, st.Destroy)
	n := &Network{Stack: st, cfg: cfg, changed: make(chan struct{})}
	switch o := &cfg.Options; o.IP {
	case boot.IPStatic:
		if err := st.Configure(ipstack.Config{Address: o.Address, Gateway: o.Gateway, DNS: o.DNS}); err != nil {
			st.Destroy()
			return nil, err
		}
		cfg.Log("network: %v", n)
	case boot.IPDHCP:
		c := &dhcp.Client{Stack: st, Name: cfg.Name, Changed: n.leased, Log: func(format string, args ...any) { cfg.Log("network: "+format, args...) }}
		go func() {
			if err := c.Run(ctx); ctx.Err() == nil {
				cfg.Log("network: the host has no address: %v", err)
			}
		}()
	}
	if !cfg.Options.NoNTP {
		k := &keeper{clock: cfg.Clock, servers: n.timeServers, dial: st.DialContext, log: cfg.Log}
		go k.run(ctx)
	}
	return n, nil
}

// leased notes what a DHCP server gave.
func (n *Network) leased(l dhcp.Lease) {
	n.mu.Lock()
	n.from, n.ntp = l.Server, l.NTP
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	if !l.Address.IsValid() {
		n.cfg.Log("network: the host's address is lost; it asks for another")
		return
	}
	n.cfg.Log("network: %v", n)
}

// String describes what the host is in the network, for people.
func (n *Network) String() string {
	c, _ := n.Config()
	n.mu.Lock()
	from := n.from
	n.mu.Unlock()
	if !c.Address.IsValid() {
		return "the host has no address"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the host is %v", c.Address)
	for _, p := range []struct {
		is   bool
		name string
		what any
	}{{from.IsValid(), "by DHCP from", from}, {c.Gateway.IsValid(), "gateway", c.Gateway}, {len(c.DNS) > 0, "DNS", c.DNS}} {
		if p.is {
			fmt.Fprintf(&b, ", %s %v", p.name, p.what)
		}
	}
	return b.String()
}
