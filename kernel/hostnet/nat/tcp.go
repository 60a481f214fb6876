package nat

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
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
	// idle, probe and probes find out that a peer is gone without a word.
	idle   = 2 * time.Minute
	probe  = 30 * time.Second
	probes = 4
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
	watch(ep)
	splice(ctx, gonet.NewTCPConn(&wq, ep), far)
}

func (n *Network) dial(ctx context.Context, st *ipstack.Stack, from netip.Addr, to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	return st.DialTCP(ctx, from, to)
}

// watch makes an end notice that its peer is gone.
func watch(ep tcpip.Endpoint) {
	ep.SocketOptions().SetKeepAlive(true)
	i, p := tcpip.KeepaliveIdleOption(idle), tcpip.KeepaliveIntervalOption(probe)
	ep.SetSockOpt(&i)
	ep.SetSockOpt(&p)
	ep.SetSockOptInt(tcpip.KeepaliveCountOption, probes)
}

// piece is how much is copied at a time.
const piece = 32 << 10

var pieces = sync.Pool{New: func() any { return new([piece]byte) }}

// halfCloser is a connection that can say that no more comes, and still listen.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice joins two connections until both directions are at their end, one fails, or ctx
// ends; then both are closed.
func splice(ctx context.Context, a, b halfCloser) {
	end := func() { a.Close(); b.Close() }
	defer end()
	defer context.AfterFunc(ctx, func() {
		// A peer that doesn't listen can't hold the end up.
		a.SetDeadline(time.Unix(1, 0))
		b.SetDeadline(time.Unix(1, 0))
	})()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if carry(b, a) != nil {
			end()
		}
	}()
	if carry(a, b) != nil {
		end()
	}
	<-done
}

// carry copies until there is no more, and says so; an error means that the connection is
// of no use any more.
func carry(to, from halfCloser) error {
	buf := pieces.Get().(*[piece]byte)
	defer pieces.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return to.CloseWrite()
		case err != nil:
			return err
		}
	}
}
