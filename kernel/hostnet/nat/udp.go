package nat

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"nidus/kernel/hostnet/ipstack"
)

// udpIdle is how long a flow lives on which nothing is sent (RFC 4787, REQ-5).
const udpIdle = 2 * time.Minute

// clock counts what is sent, for users.touch.
var clock atomic.Uint64

// datagram takes the first datagram of a flow. It is called by the goroutine that delivers,
// which has all later ones, too: until it returns, none comes.
func (n *Network) datagram(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	guest, to := ends(id)
	target, ok := n.reach(to, "udp")
	if !ok {
		// The gateway says that nothing listens; broadcasts and the like are nobody's
		// business.
		return to.Addr() != n.cfg.Own.Addr()
	}
	ctx, cancel := context.WithCancel(n.ctx)
	f := &flow{kind: udpFlow, stop: cancel, used: clock.Add(1)}
	if !n.begin(guest.Addr(), f) {
		cancel()
		return true
	}
	var near, far socket
	err := far.open(n.up.Stack, udp.ProtocolNumber)
	if err == nil {
		err = far.connect(tcpip.FullAddress{NIC: ipstack.NIC, Addr: ipstack.Address(target.Addr()), Port: target.Port()})
	}
	if err == nil {
		q := p.Clone()
		defer q.DecRef()
		var terr tcpip.Error
		if near.Endpoint, terr = udp.NewForwarderRequest(n.st.Stack, id, q).CreateEndpoint(&near.queue); terr != nil {
			err = errors.New(terr.String())
		}
	}
	if err != nil {
		far.close()
		n.users.end(f)
		cancel()
		return true
	}
	n.wg.Go(func() {
		defer cancel()
		defer n.users.end(f)
		defer far.close()
		defer near.close()
		n.relay(ctx, f, &near, &far, udpIdle, nil)
	})
	return true
}

// socket is an endpoint, and what waits for it.
type socket struct {
	tcpip.Endpoint
	queue waiter.Queue
}

func (s *socket) open(st *stack.Stack, p tcpip.TransportProtocolNumber) error {
	ep, err := st.NewEndpoint(p, ipv4.ProtocolNumber, &s.queue)
	if err != nil {
		return errors.New(err.String())
	}
	s.Endpoint = ep
	return nil
}

func (s *socket) connect(to tcpip.FullAddress) error {
	if err := s.Connect(to); err != nil {
		return errors.New(err.String())
	}
	return nil
}

func (s *socket) close() {
	if s.Endpoint != nil {
		s.Close()
	}
}

// relay carries datagrams both ways until none was sent for a while, one side says that it
// can't be reached, or ctx ends. What far sends goes to back, if that isn't nil.
func (n *Network) relay(ctx context.Context, f *flow, near, far *socket, most time.Duration, back func([]byte)) {
	readable := waiter.EventMask(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	nearEntry, nearReady := waiter.NewChannelEntry(readable)
	farEntry, farReady := waiter.NewChannelEntry(readable)
	near.queue.EventRegister(&nearEntry)
	defer near.queue.EventUnregister(&nearEntry)
	far.queue.EventRegister(&farEntry)
	defer far.queue.EventUnregister(&farEntry)
	if back == nil {
		back = near.send
	}
	end := time.NewTimer(most)
	defer end.Stop()
	var buf bytes.Buffer
	for ctx.Err() == nil {
		out, err := near.drain(&buf, far.send)
		if err != nil {
			return
		}
		in, err := far.drain(&buf, back)
		if err != nil {
			return
		}
		if out || in {
			n.users.touch(f, clock.Add(1))
			end.Reset(most)
			continue
		}
		select {
		case <-nearReady:
		case <-farReady:
		case <-end.C:
			return
		case <-ctx.Done():
		}
	}
}

// batch is how many datagrams are carried one way before the other has its turn.
const batch = 32

// drain gives to what has come in.
func (s *socket) drain(buf *bytes.Buffer, to func([]byte)) (some bool, err error) {
	if s.Endpoint == nil {
		return false, nil
	}
	for range batch {
		buf.Reset()
		switch _, err := s.Read(buf, tcpip.ReadOptions{}); err.(type) {
		case nil:
			some = true
			to(buf.Bytes())
		case *tcpip.ErrWouldBlock:
			return some, nil
		default:
			return some, errors.New(err.String())
		}
	}
	return some, nil
}

// send sends one datagram. One that is lost is lost.
func (s *socket) send(b []byte) {
	var r bytes.Reader
	r.Reset(b)
	s.Write(&r, tcpip.WriteOptions{})
}
