// Package nat is the network behind the host's own address: guests get addresses by DHCP
// and names by DNS, and reach what the host reaches.
//
// It is a TCP/IP stack of its own, that takes all addresses outside of the network for its
// own: a guest's connection ends there, and another one begins at the host's stack. What a
// guest sends is data on both, and never a packet that leaves the host; how many
// connections it has is counted; and nothing listens to it but DHCP and DNS.
package nat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/kernel/hostnet/dhcp"
	"nidus/kernel/hostnet/ipstack"
	"nidus/kernel/hostnet/names"
)

// Domain is the one that guests' names are in; ICANN has set it aside for such use.
const Domain = "internal"

// hostName is the gateway's name.
const hostName = "host"

// leaseTime is how long guests are told to have their addresses.
const leaseTime = 12 * time.Hour

// MaxBuffer bounds each buffer of a guest's connection, in bytes. One has four, of which
// two are the host's stack's.
const MaxBuffer = 256 << 10

// Guests knows interfaces by their addresses.
type Guests interface {
	// Guest is the name of the domain that has an interface; ok is false if none has.
	Guest(link.MAC) (name string, ok bool)
	// Interfaces are those of a domain.
	Interfaces(name string) []link.MAC
}

// Config is a network's.
type Config struct {
	// Own is the gateway's address, and the network that it is in.
	Own netip.Prefix
	// Allow are ports of the host's own that guests reach at the gateway's address.
	Allow []uint16
	// Guests may be nil: then any interface is served, and none has a name.
	Guests Guests
	// Limits of what guests have at a time; zeros mean the defaults.
	Limits Limits
	// Log gets what a person is to see; may be nil.
	Log func(format string, args ...any)
}

// Network serves guests until it is closed.
type Network struct {
	cfg    Config
	up     *ipstack.Stack // the host's own
	st     *ipstack.Stack
	leases *dhcp.Leases
	users  users
	pings  pings
	ending ending

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	end    []func() error
}

// New serves the guests behind a port, through the host's stack up.
func New(c Config, port link.Port, mem device.Memory, up *ipstack.Stack) (*Network, error) {
	if !c.Own.IsValid() || !c.Own.Addr().Is4() || c.Own.Bits() < 8 || c.Own.Bits() > 29 || c.Own.Addr() == c.Own.Masked().Addr() {
		return nil, fmt.Errorf("%v is no address of a gateway; write one like 10.0.77.1/24", c.Own)
	}
	n := &Network{cfg: c, up: up, ending: usualEnding}
	n.users.limits = c.Limits.orDefaults()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	var known func(link.MAC) bool
	if c.Guests != nil {
		known = func(m link.MAC) bool { _, ok := c.Guests.Guest(m); return ok }
	}
	n.leases = dhcp.NewLeases(c.Own, known)
	var err error
	if n.st, err = ipstack.New(port, mem, ipstack.Options{Filter: n.filter, ForOthers: true, MaxBuffer: MaxBuffer}); err != nil {
		return nil, err
	}
	if err := errors.Join(n.setUp(), n.serve()); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// setUp says who takes what guests send to others.
func (n *Network) setUp() error {
	if err := n.st.Configure(ipstack.Config{Address: n.cfg.Own}); err != nil {
		return err
	}
	forward := tcp.NewForwarder(n.st.Stack, MaxBuffer, n.users.limits.Total, n.connect)
	n.st.SetTransportProtocolHandler(tcp.ProtocolNumber, forward.HandlePacket)
	n.st.SetTransportProtocolHandler(udp.ProtocolNumber, n.datagram)
	n.st.SetTransportProtocolHandler(icmp.ProtocolNumber4, n.echo)
	return nil
}

// serve starts DHCP and DNS.
func (n *Network) serve() error {
	conn, err := n.st.ListenUDP(dhcp.ServerPort)
	if err != nil {
		return fmt.Errorf("DHCP: %w", err)
	}
	n.end = append(n.end, conn.Close)
	d := &dhcp.Server{Leases: n.leases, Own: n.cfg.Own, Domain: Domain, MTU: n.st.MTU, Time: leaseTime, Name: n.nameOf}
	n.wg.Go(func() { d.Serve(n.st, conn) })

	f := &names.Forwarder{Domain: Domain, Lookup: n.lookup, Reverse: n.reverse, Dial: n.up.DialContext,
		Servers: func() []netip.Addr { c, _ := n.up.Config(); return c.DNS }}
	u, err := n.st.ListenUDP(names.Port)
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	n.end = append(n.end, u.Close)
	n.wg.Go(func() { f.ServeUDP(n.ctx, u) })
	l, err := n.st.ListenTCP(names.Port)
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	n.end = append(n.end, l.Close)
	n.wg.Go(func() { f.ServeTCP(n.ctx, l) })
	return nil
}

// Close ends the network and all that goes through it.
func (n *Network) Close() error {
	n.cancel()
	for _, end := range n.end {
		end()
	}
	n.users.close()
	n.st.Destroy()
	n.wg.Wait()
	return nil
}

// Forget ends what an interface has: its guest is gone.
func (n *Network) Forget(m link.MAC) {
	n.leases.Forget(m)
	n.users.endAll(m)
}

// begin counts a flow of the interface that has an address. One that takes another address
// keeps its flows, and what they count.
func (n *Network) begin(guest netip.Addr, f *flow) (ok bool) {
	f.of, ok = n.leases.Who(guest)
	return ok && n.users.begin(f)
}

func (n *Network) nameOf(m link.MAC) string {
	if n.cfg.Guests == nil {
		return ""
	}
	name, _ := n.cfg.Guests.Guest(m)
	return name
}

// lookup finds a guest's address, or the gateway's.
func (n *Network) lookup(name string) (netip.Addr, bool) {
	if name == hostName {
		return n.cfg.Own.Addr(), true
	}
	if n.cfg.Guests == nil {
		return netip.Addr{}, false
	}
	for _, m := range n.cfg.Guests.Interfaces(name) {
		if a, ok := n.leases.Of(m); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (n *Network) reverse(a netip.Addr) (string, bool) {
	if a == n.cfg.Own.Addr() {
		return hostName, true
	}
	m, _ := n.leases.Who(a)
	return n.nameOf(m), n.cfg.Own.Contains(a)
}

// reach says where a connection of a guest's to an address goes; false: nowhere.
func (n *Network) reach(to netip.AddrPort, network string) (netip.AddrPort, bool) {
	a := to.Addr()
	own, _ := n.up.Config()
	if a == n.cfg.Own.Addr() && network == "tcp" {
		for _, p := range n.cfg.Allow {
			if p == to.Port() && own.Address.IsValid() {
				return netip.AddrPortFrom(own.Address.Addr(), p), true
			}
		}
	}
	if n.cfg.Own.Contains(a) || !a.IsGlobalUnicast() || a == own.Address.Addr() || a.As4()[0] == 0 || a.As4()[0] >= 240 {
		return to, false
	}
	return to, own.Address.IsValid()
}
