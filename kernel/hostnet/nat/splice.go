package nat

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"nidus/kernel/hostnet/ipstack"
)

// What finds out that a peer is gone without a word.
const (
	idle   = 2 * time.Minute
	probe  = 30 * time.Second
	probes = 4
)

// ending is how long peers have for the end of a connection, which counts until then.
type ending struct {
	// half is how long nothing may come after the other side said that no more comes
	// from there (RFC 5382, REQ-5).
	half time.Duration
	// last is how long a peer may take to acknowledge the last data and the end.
	last time.Duration
}

var usualEnding = ending{half: 4 * time.Minute, last: time.Minute}

// end is an end of a connection. A stack keeps one that is closed until the peer has all
// that was sent to it, which it may never take: so what is closed isn't over.
type end struct {
	*gonet.TCPConn
	ep   *tcp.Endpoint // nil: it is over
	over chan struct{} // closed when the peer has all, or there is no peer
}

// newEnd makes an end of a connection of a stack's, and has it watch its peer.
func newEnd(st *ipstack.Stack, c *gonet.TCPConn) *end {
	e := &end{TCPConn: c, over: make(chan struct{})}
	own, peer := address(c.LocalAddr()), address(c.RemoteAddr())
	if own.IsValid() && peer.IsValid() {
		id := stack.TransportEndpointID{LocalPort: own.Port(), LocalAddress: ipstack.Address(own.Addr()), RemotePort: peer.Port(), RemoteAddress: ipstack.Address(peer.Addr())}
		e.ep, _ = st.FindTransportEndpoint(ipv4.ProtocolNumber, tcp.ProtocolNumber, id, ipstack.NIC).(*tcp.Endpoint)
	}
	if e.ep == nil { // it has been reset
		close(e.over)
		return e
	}
	e.ep.SocketOptions().SetKeepAlive(true)
	i, p := tcpip.KeepaliveIdleOption(idle), tcpip.KeepaliveIntervalOption(probe)
	e.ep.SetSockOpt(&i)
	e.ep.SetSockOpt(&p)
	e.ep.SetSockOptInt(tcpip.KeepaliveCountOption, probes)
	go func() {
		e.ep.Wait() // until TIME-WAIT, CLOSED, or an error
		close(e.over)
	}()
	return e
}

// abort ends it now, with a reset if there is a peer.
func (e *end) abort() {
	if e.ep == nil {
		return
	}
	if s := e.ep.EndpointState(); s != tcp.StateClose && s != tcp.StateError {
		e.ep.Abort()
	}
}

// finish closes it. What was sent to the peer may reach it until done is closed; after that
// the stack has nothing of it any more, TIME-WAIT neither.
func (e *end) finish(done <-chan struct{}) {
	e.Close()
	if e.ep != nil && e.ep.EndpointState() != tcp.StateTimeWait { // it may have come before Wait looked for it
		select {
		case <-e.over:
		case <-done:
		}
	}
	e.abort()
	<-e.over
}

func address(a net.Addr) netip.AddrPort {
	t, _ := a.(*net.TCPAddr)
	if t == nil {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// splice joins the ends of two connections until both directions are at their end, one
// fails, or ctx ends. When it returns, the stacks have nothing of either.
func (n *Network) splice(ctx context.Context, a, b *end) {
	stop := context.AfterFunc(ctx, func() { a.abort(); b.abort() })
	defer stop()
	var half atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.carry(b, a, &half)
	}()
	n.carry(a, b, &half)
	<-done
	last, cancel := context.WithTimeout(ctx, n.ending.last)
	defer cancel()
	var other sync.WaitGroup
	other.Go(func() { a.finish(last.Done()) })
	b.finish(last.Done())
	other.Wait()
}

// piece is how much is copied at a time.
const piece = 32 << 10

var pieces = sync.Pool{New: func() any { return new([piece]byte) }}

// carry copies until there is no more, and says so; or until that fails, and closes both.
// half is set when the first of two directions is at its end.
func (n *Network) carry(to, from *end, half *atomic.Bool) {
	buf := pieces.Get().(*[piece]byte)
	defer pieces.Put(buf)
	for {
		if half.Load() {
			from.SetReadDeadline(time.Now().Add(n.ending.half))
		}
		k, err := from.Read(buf[:])
		if k > 0 {
			if _, err := to.Write(buf[:k]); err != nil {
				break
			}
		}
		if err == io.EOF && to.CloseWrite() == nil {
			half.Store(true)
			to.SetReadDeadline(time.Now().Add(n.ending.half))
			return
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}
