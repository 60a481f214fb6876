package netback

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/link/offload"
	"nidus/drivers/link/packet"
	"nidus/mm"
)

// conn is the connection to a frontend.
type conn struct {
	*Interface
	fail    func(error)
	cancel  context.CancelFunc
	workers sync.WaitGroup
	tx      []*txQueue
	rx      []*rxQueue
	takes   takes
	groups  groups
	control *controlQueue // nil: the guest has none
	hash    atomic.Pointer[hashing]
	// completer does what the frontend does not take; nil: it takes all.
	completer *offload.Completer
}

// takes is what the frontend takes of frames that it receives.
type takes struct {
	link.Offloads
	gather, notify bool // several slots; events for rx requests
}

// Connect implements backend.Driver.
func (i *Interface) Connect(f backend.Frontend, fail func(error)) (backend.Conn, []backend.Node, error) {
	n, err := f.Num("multi-queue-num-queues", 1, 1, MaxQueues)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{Interface: i, fail: fail, cancel: cancel}
	if err := c.readFeatures(f); err != nil {
		cancel()
		return nil, nil, err
	}
	for k := range n {
		prefix := ""
		if n > 1 {
			prefix = fmt.Sprintf("queue-%d/", k)
		}
		if err := c.addQueue(f, prefix); err != nil {
			c.Close()
			return nil, nil, fmt.Errorf("%s%w", prefix, err)
		}
	}
	if err := c.addControl(f); err != nil {
		c.Close()
		return nil, nil, err
	}
	if q := c.control; q != nil {
		c.workers.Go(func() { q.serve(ctx) })
		q.poke()
	}
	for k := range c.tx {
		tx, rx := c.tx[k], c.rx[k]
		c.workers.Go(func() { tx.serve(ctx) })
		c.workers.Go(func() { rx.serve(ctx) })
		tx.poke() // the guest may have sent before we listened
	}
	i.setConn(c)
	return c, []backend.Node{backend.Flag("carrier", true)}, nil
}

// readFeatures reads what the frontend can do.
func (c *conn) readFeatures(f backend.Frontend) error {
	var noSum4, sum6, tcpv4, tcpv6, copies, filter bool
	t := &c.takes
	for _, n := range []struct {
		name string
		is   *bool
	}{
		{"feature-no-csum-offload", &noSum4}, {"feature-ipv6-csum-offload", &sum6}, {"feature-gso-tcpv4", &tcpv4}, {"feature-gso-tcpv6", &tcpv6},
		{"feature-sg", &t.gather}, {"feature-rx-notify", &t.notify}, {"request-rx-copy", &copies}, {"request-multicast-control", &filter},
	} {
		v, err := f.Num(n.name, 0, 0, 1)
		if err != nil {
			return err
		}
		*n.is = v != 0
	}
	if !copies {
		return fmt.Errorf("request-rx-copy is not 1; the guest's pages are not exchanged for others (flipped)")
	}
	sums := !noSum4 && sum6
	t.Offloads = link.Offloads{Checksum: sums, TCPv4: tcpv4 && t.gather && sums, TCPv6: tcpv6 && t.gather && sums, Gather: link.MaxSegments}
	if t.Offloads != offload.Full {
		c.completer = offload.New(c.cfg.Memory, t.Offloads, c.cfg.MTU, c.send)
	}
	c.groups.filter = filter
	return nil
}

// addQueue makes a pair of rings of what the guest says below prefix.
func (c *conn) addQueue(f backend.Frontend, prefix string) error {
	g := c.cfg.Guest
	tx := &txQueue{end: newEnd(c, txSlot, txSlots)}
	rx := &rxQueue{end: newEnd(c, rxSlot, rxSlots)}
	tx.idle.L = &tx.mu
	// A vcpu that sends an event as soon as it is bound leaves the frames to the worker: it
	// would not know tx.port yet.
	tx.serving.Lock()
	defer tx.serving.Unlock()
	c.tx, c.rx = append(c.tx, tx), append(c.rx, rx)
	for _, r := range []struct {
		name  string
		grant *backend.Grant
		ring  *ring
	}{{"tx-ring-ref", &tx.grant, &tx.ring}, {"rx-ring-ref", &rx.grant, &rx.ring}} {
		ref, err := f.Must(prefix + r.name)
		if err != nil {
			return err
		}
		x, err := g.Acquire(ref, true)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		*r.grant, r.ring.page = x, g.Page(x)
	}
	// A ring that was in use goes on where its responses end.
	tx.prod = tx.load(ringRspProd)
	tx.shown, tx.cons = tx.prod, tx.prod
	rx.prod = rx.load(ringRspProd)
	rx.shown = rx.prod
	if err := tx.prepare(); err != nil {
		return err
	}
	both, err := f.Text(prefix + "event-channel")
	if err != nil {
		return err
	}
	if both != "" {
		port, err := f.Must(prefix + "event-channel")
		if err != nil {
			return err
		}
		tx.port, err = g.Bind(port, func() { tx.event(); rx.poke() })
		rx.port = tx.port
		return err
	}
	for _, e := range []struct {
		name  string
		local *uint32
		poke  func()
	}{{"event-channel-tx", &tx.port, tx.event}, {"event-channel-rx", &rx.port, rx.poke}} {
		port, err := f.Must(prefix + e.name)
		if err != nil {
			return err
		}
		if *e.local, err = g.Bind(port, e.poke); err != nil {
			return err
		}
	}
	return nil
}

// complete gives frames to the guest, in a form that it takes.
func (c *conn) complete(frames []*link.Frame) {
	if c.completer != nil {
		c.completer.Send(frames)
		return
	}
	c.send(frames)
}

// send gives frames to the queues that their flows belong to.
func (c *conn) send(frames []*link.Frame) {
	if len(c.rx) == 1 {
		c.rx[0].send(frames)
		return
	}
	for begin := 0; begin < len(frames); {
		q := c.queueOf(frames[begin])
		end := begin + 1
		for end < len(frames) && c.queueOf(frames[end]) == q {
			end++
		}
		c.rx[q].send(frames[begin:end])
		begin = end
	}
}

// queueOf spreads flows over the queues, each to one.
func (c *conn) queueOf(f *link.Frame) int {
	if len(f.Head) < link.HeaderSize {
		return 0 // which drops it
	}
	h := packet.Parse(f.Head)
	if q, ok := c.hash.Load().queue(f.Head, &h, len(c.rx)); ok {
		return q
	}
	if !h.IP {
		return 0
	}
	var sum uint32
	if h.EtherType == packet.IPv4 {
		sum = packet.Sum(0, f.Head[h.L3+12:h.L3+20])
	} else {
		sum = packet.Sum(0, f.Head[h.L3+8:h.L3+40])
	}
	if h.Payload != 0 {
		sum = packet.Sum(sum, f.Head[h.L4:h.L4+4])
	}
	return int(packet.Fold(sum)*0x9e35>>8) % len(c.rx)
}

// Close implements backend.Conn: it waits for what is in flight.
func (c *conn) Close() {
	c.cancel()
	if c.conn.Load() == c {
		c.setConn(nil)
	}
	c.workers.Wait()
	for _, q := range c.tx {
		q.serving.Lock()
		q.broken = true
		q.serving.Unlock()
	}
	for _, q := range c.rx {
		q.close()
	}
	if c.completer != nil {
		c.completer.Close()
	}
	if c.control != nil {
		c.control.close()
	}
	g := c.cfg.Guest
	for k, q := range c.tx {
		q.drain()
		r := c.rx[k]
		if q.port != 0 {
			g.Unbind(q.port)
		}
		if r.port != 0 && r.port != q.port {
			g.Unbind(r.port)
		}
		for _, x := range []backend.Grant{q.grant, r.grant} {
			if x != (backend.Grant{}) {
				g.Release(x)
			}
		}
		q.release()
	}
}

// page is a page of a grant that is held.
func (c *conn) page(x backend.Grant) mm.Page { return c.cfg.Guest.Page(x) }
