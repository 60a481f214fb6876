package bridge

import (
	"sync"
	"time"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
)

// route is where a frame goes: to a port, or to several if to is nil.
type route struct {
	to   *Member
	vlan int // its network
	tag  int // of its tag; 0: it has none
	bare bool
}

// receive is the port's link.Receiver.
func (m *Member) receive(frames []*link.Frame) {
	now := m.b.now()
	var run *Member // frames from begin on go to it as they are
	begin := 0
	for i, f := range frames {
		r, ok := m.route(f, now)
		same := ok && r.to != nil && r.same(r.to)
		if same && r.to == run {
			continue
		}
		if run != nil {
			run.send(frames[begin:i])
			run = nil
		}
		switch {
		case !ok:
			f.Done(f)
		case same:
			run, begin = r.to, i
		case r.to != nil:
			m.retag(f, &r)
		default:
			m.flood(frames[i:i+1], &r)
		}
	}
	if run != nil {
		run.send(frames[begin:])
	}
}

// same tells whether a frame can go to a port as it is.
func (r *route) same(to *Member) bool {
	return to.cfg.VLANs.out(r.vlan) == r.tag && r.bare == (r.tag == 0)
}

// route decides about a frame; false: it goes nowhere.
func (m *Member) route(f *link.Frame, now int64) (r route, ok bool) {
	h := packet.Parse(f.Head)
	src, dst := packet.Src(f.Head), packet.Dst(f.Head)
	r.tag, r.bare = int(h.VLAN), !h.Tagged
	if r.vlan, ok = m.cfg.VLANs.in(r.tag); !ok || src.Group() || reserved(dst) || h.Tagged && (len(f.Head) < 18 || tag(h.EtherType)) {
		m.Filtered.Add(1)
		return r, false
	}
	if !m.cfg.Guard.allows(f.Head, &h, m.cfg.MAC) {
		m.Spoofed.Add(1)
		return r, false
	}
	m.b.table.learn(src, r.vlan, m, now)
	if dst.Group() {
		return r, true
	}
	r.to = m.b.table.find(dst, r.vlan, now)
	switch {
	case r.to == nil:
	case r.to == m:
		m.Filtered.Add(1)
		return r, false
	case !r.to.fits(f, &h):
		m.TooBig.Add(1)
		return r, false
	}
	return r, true
}

// tag tells whether a frame's type is that of a tag. Behind a tag, it would be the frame's
// own for those behind a port that takes the first one away: networks that its sender isn't in.
func tag(etherType uint16) bool { return etherType == packet.VLAN || etherType == packet.ServiceVLAN }

// reserved tells whether an address is of those that bridges don't forward (IEEE 802.1Q,
// table 8-1).
func reserved(a link.MAC) bool {
	return a[0] == 0x01 && a[1] == 0x80 && a[2] == 0xc2 && a[3] == 0 && a[4] == 0 && a[5] < 16
}

// fits tells whether a frame is not longer than a port's MTU allows.
func (m *Member) fits(f *link.Frame, h *packet.Headers) bool {
	if f.Segmentation == link.Whole {
		return f.Len()-h.L3 <= m.info.MTU
	}
	return h.Payload-h.L3+int(f.MSS) <= m.info.MTU
}

// retag sends a frame to one port with another tag, or without.
func (m *Member) retag(f *link.Frame, r *route) {
	c := m.pool.get()
	if c == nil {
		m.Storms.Add(1)
		f.Done(f)
		return
	}
	c.begin(f)
	c.shape(f, r, r.to.cfg.VLANs.out(r.vlan))
	r.to.send(c.self[:])
}

// flood sends a frame to all ports of its network but m.
func (m *Member) flood(one []*link.Frame, r *route) {
	f := one[0]
	h := packet.Parse(f.Head)
	var n int
	var last *Member
	members := *m.b.members.Load()
	for _, to := range members {
		if m.floods(to, f, r, &h) {
			n, last = n+1, to
		}
	}
	switch {
	case n == 0:
		f.Done(f)
		return
	case !m.storm.take(n, time.Now()):
		m.Storms.Add(1)
		f.Done(f)
		return
	case n == 1 && r.same(last):
		last.send(one)
		return
	}
	// One copy as it came, one with the other form of tag; both are made when needed.
	root := m.pool.get()
	if root == nil {
		m.Storms.Add(1)
		f.Done(f)
		return
	}
	root.begin(f)
	root.as(f)
	var other *copied
	for _, to := range members {
		if !m.floods(to, f, r, &h) {
			continue
		}
		c := root
		if !r.same(to) {
			if other == nil {
				if other = m.pool.get(); other == nil {
					m.Storms.Add(1)
					continue
				}
				other.root, root.other = root, other
				other.shape(f, r, to.cfg.VLANs.out(r.vlan))
			}
			c = other
		}
		root.refs.Add(1)
		to.send(c.self[:])
	}
	root.unref()
}

// floods tells whether a frame for several goes to a port.
func (m *Member) floods(to *Member, f *link.Frame, r *route, h *packet.Headers) bool {
	return to != m && to.cfg.VLANs.member(r.vlan) && to.fits(f, h)
}

// bucket bounds how often something happens.
type bucket struct {
	rate, most float64 // in a second; at once
	mu         sync.Mutex
	have       float64
	at         time.Time
}

// take tells whether n may happen now.
func (b *bucket) take(n int, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.have = b.most
	} else if d := now.Sub(b.at); d > 0 {
		b.have = min(b.most, b.have+b.rate*d.Seconds())
	}
	b.at = now
	if b.have < float64(n) {
		return false
	}
	b.have -= float64(n)
	return true
}
