package nat

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// Forward is a TCP port of the host's that is a guest's.
type Forward struct {
	// Port is the host's.
	Port uint16
	// Guest is a guest's name, or its address.
	Guest string
	// To is the guest's port.
	To uint16
}

// Forward passes what connects to the host's port on to a guest, until the network ends.
func (n *Network) Forward(f Forward) error {
	l, err := n.up.ListenTCP(f.Port)
	if err != nil {
		return fmt.Errorf("port %d: %w", f.Port, err)
	}
	n.wg.Go(func() {
		defer context.AfterFunc(n.ctx, func() { l.Close() })()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.accept(f, c.(*gonet.TCPConn)) })
		}
	})
	return nil
}

// accept joins one that connected to the guest. The guest sees its address, unless that is
// one of the network's own.
func (n *Network) accept(f Forward, c *gonet.TCPConn) {
	to, ok := n.lookup(f.Guest)
	if a, err := netip.ParseAddr(f.Guest); !ok && err == nil {
		to, ok = a, n.cfg.Own.Contains(a) && a != n.cfg.Own.Addr()
	}
	if !ok {
		n.log("forwarded port %d: there is no guest %s with an address", f.Port, f.Guest)
		c.Close()
		return
	}
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	m, _ := n.leases.Who(to) // who has said nothing yet may answer
	w := &flow{of: m, kind: tcpFlow, stop: cancel}
	if !n.users.begin(w) {
		c.Close()
		return
	}
	defer n.users.end(w)
	from := peer(c)
	if n.cfg.Own.Contains(from) {
		from = n.cfg.Own.Addr()
	}
	near, err := n.dial(ctx, n.st, from, netip.AddrPortFrom(to, f.To))
	if err != nil {
		n.log("forwarded port %d: %s does not take the connection: %v", f.Port, f.Guest, err)
		c.Close()
		return
	}
	n.splice(ctx, newEnd(n.st, near), newEnd(n.up, c))
}

// peer is the address of who connected.
func peer(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		if b, ok := netip.AddrFromSlice(a.IP); ok {
			return b.Unmap()
		}
	}
	return netip.Addr{}
}

func (n *Network) log(format string, args ...any) {
	if n.cfg.Log != nil {
		n.cfg.Log(format, args...)
	}
}
