package nat

import (
	"context"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"nidus/kernel/hostnet/ipstack"
)

// Times of TCP.
const (
	// dialTime is how long the other side may take to answer.
	dialTime = 30 * time.Second
)

func ends(id stack.TransportEndpointID) (guest, to netip.AddrPort) {
	return netip.AddrPortFrom(ipstack.FromAddress(id.RemoteAddress), id.RemotePort), netip.AddrPortFrom(ipstack.FromAddress(id.LocalAddress), id.LocalPort)
}

// connect joins a guest to who it wants to reach. The guest hears that it is connected when
// the other side has said so.
func (n *Network) connect(r *tcp.ForwarderRequest) {
	guest, to := ends(r.ID())
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	f := &flow{kind: tcpFlow, stop: cancel}
	to, ok := n.reach(to, "tcp")
	if !ok || !n.begin(guest.Addr(), f) {
		r.Complete(true)
		return
	}
	defer n.users.end(f)
	far, err := n.dial(ctx, n.up, netip.Addr{}, to)
	if err != nil {
		r.Complete(true)
		return
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		r.Complete(true)
		far.Close()
		return
	}
	r.Complete(false)
	n.splice(ctx, newEnd(n.st, gonet.NewTCPConn(&wq, ep)), newEnd(n.up, far))
}

func (n *Network) dial(ctx context.Context, st *ipstack.Stack, from netip.Addr, to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	return st.DialTCP(ctx, from, to)
}
