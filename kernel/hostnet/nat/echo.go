package nat

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"

	"nidus/kernel/hostnet/ipstack"
)

// echoIdle is how long an answer to an echo is waited for (RFC 5508, REQ-2).
const echoIdle = time.Minute

// pings are the echoes that are under way, by who asks whom with which number.
type pings struct {
	mu  sync.Mutex
	all map[ping]*socket
}

type ping struct {
	guest, to netip.Addr
	ident     uint16
}

// echo passes on a guest's echo request (RFC 792). gVisor calls it for echo requests and for
// answers that nobody waits for.
func (n *Network) echo(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	guest, at := ends(id)
	to := at.Addr()
	h := header.ICMPv4(p.TransportHeader().Slice())
	if to == n.cfg.Own.Addr() {
		return false // the stack answers itself
	}
	if _, ok := n.reach(netip.AddrPortFrom(to, 0), "icmp"); !ok || len(h) < header.ICMPv4MinimumSize || h.Type() != header.ICMPv4Echo {
		return true
	}
	message := stack.PayloadSince(p.TransportHeader())
	defer message.Release()
	k := ping{guest.Addr(), to, h.Ident()}
	n.pings.mu.Lock()
	far := n.pings.all[k]
	n.pings.mu.Unlock()
	if far == nil {
		if far = n.ping(k); far == nil {
			return true
		}
	}
	far.send(message.AsSlice())
	return true
}

// ping begins a flow; nil: it can't be.
func (n *Network) ping(k ping) *socket {
	ctx, cancel := context.WithCancel(n.ctx)
	f := &flow{kind: echoFlow, stop: cancel, used: clock.Add(1)}
	if !n.begin(k.guest, f) {
		cancel()
		return nil
	}
	far := &socket{}
	if far.open(n.up.Stack, icmp.ProtocolNumber4) != nil || far.connect(tcpip.FullAddress{NIC: ipstack.NIC, Addr: ipstack.Address(k.to)}) != nil {
		far.close()
		n.users.end(f)
		cancel()
		return nil
	}
	n.pings.mu.Lock()
	if n.pings.all == nil {
		n.pings.all = map[ping]*socket{}
	}
	n.pings.all[k] = far
	n.pings.mu.Unlock()
	n.wg.Go(func() {
		defer cancel()
		defer n.users.end(f)
		defer far.close()
		defer func() {
			n.pings.mu.Lock()
			delete(n.pings.all, k)
			n.pings.mu.Unlock()
		}()
		n.relay(ctx, f, &socket{}, far, echoIdle, func(b []byte) { n.answer(k, b) })
	})
	return far
}

// answer gives a guest an echo's answer.
func (n *Network) answer(k ping, message []byte) {
	h := header.ICMPv4(message)
	if len(h) < header.ICMPv4MinimumSize || h.Type() != header.ICMPv4EchoReply {
		return
	}
	h.SetIdent(k.ident)
	h.SetChecksum(0)
	h.SetChecksum(^checksum.Checksum(h, 0))
	r, err := n.st.FindRoute(ipstack.NIC, ipstack.Address(k.to), ipstack.Address(k.guest), ipv4.ProtocolNumber, false)
	if err != nil {
		return
	}
	defer r.Release()
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(message)})
	defer p.DecRef()
	p.TransportProtocolNumber = header.ICMPv4ProtocolNumber
	r.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv4ProtocolNumber, TTL: r.DefaultTTL()}, p) // one that is lost is asked for again
}
