package nat

import (
	"math"
	"sync"

	"nidus/drivers/link"
)

// Limits are of what guests have at a time.
type Limits struct {
	// Total bounds the connections of all guests together, of TCP and of UDP each;
	// PerGuest those of one.
	Total, PerGuest int
}

// LimitsFor returns those with which what guests have takes half of a heap at most, of so
// many bytes.
func LimitsFor(heap uint64) Limits {
	const flow = 4 * MaxBuffer // to and from the guest, and to and from who it talks to
	n := int(min(max(heap/2/flow, 16), 1024))
	return Limits{Total: n, PerGuest: max(n/4, 8)}
}

func (l Limits) orDefaults() Limits {
	d := LimitsFor(math.MaxUint64)
	if l.Total <= 0 {
		l.Total = d.Total
	}
	if l.PerGuest <= 0 {
		l.PerGuest = d.PerGuest
	}
	return l
}

// users counts what guests have. Each guest has lists of flows by kind, the least used
// first.
type users struct {
	limits Limits
	mu     sync.Mutex
	total  [kinds]int
	of     map[link.MAC]*user
	closed bool
}

// kind is one of flow.
type kind int

const (
	tcpFlow kind = iota
	udpFlow
	echoFlow
	kinds
)

type user struct{ flows [kinds]map[*flow]struct{} }

// flow is a guest's connection.
type flow struct {
	of   link.MAC // the guest's interface
	kind kind
	stop func() // ends it; may be called more than once, and must not call users

	used uint64 // by users.clock; users.mu
}

// begin counts a flow. At the guest's limit, one of TCP is refused, for those before it
// may be at work; any other ends the one that was used least recently, for nobody says when
// those are over.
func (u *users) begin(f *flow) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	g := u.of[f.of]
	if g == nil {
		if u.of == nil {
			u.of = map[link.MAC]*user{}
		}
		g = &user{}
		u.of[f.of] = g
	}
	if g.flows[f.kind] == nil {
		g.flows[f.kind] = map[*flow]struct{}{}
	}
	mine := g.flows[f.kind]
	if len(mine) >= u.limits.PerGuest {
		if f.kind == tcpFlow {
			return false
		}
		oldest := f
		for o := range mine {
			if oldest == f || o.used < oldest.used {
				oldest = o
			}
		}
		oldest.stop()
		u.remove(oldest)
	}
	if u.total[f.kind] >= u.limits.Total {
		return false
	}
	mine[f] = struct{}{}
	u.total[f.kind]++
	return true
}

// touch says that a flow is used, at a time of the caller's clock.
func (u *users) touch(f *flow, now uint64) {
	u.mu.Lock()
	f.used = now
	u.mu.Unlock()
}

// end is begin's; a second time it does nothing.
func (u *users) end(f *flow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(f)
}

// remove forgets a flow. u.mu is held.
func (u *users) remove(f *flow) {
	g := u.of[f.of]
	if g == nil {
		return
	}
	if _, there := g.flows[f.kind][f]; !there {
		return
	}
	delete(g.flows[f.kind], f)
	u.total[f.kind]--
	for _, m := range g.flows {
		if len(m) > 0 {
			return
		}
	}
	delete(u.of, f.of)
}

// endAll ends all flows of a guest.
func (u *users) endAll(m link.MAC) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stop(u.of[m])
}

// stop ends what a guest has. u.mu is held.
func (u *users) stop(g *user) {
	if g == nil {
		return
	}
	for _, m := range g.flows {
		for f := range m {
			f.stop()
		}
	}
}

// close ends all, and lets nothing begin.
func (u *users) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, g := range u.of {
		u.stop(g)
	}
}

// count is how many flows there are.
func (u *users) count(k kind) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.total[k]
}

// Flows is how many connections guests have, of TCP, of UDP, and echoes.
func (n *Network) Flows() (tcp, udp, echo int) {
	return n.users.count(tcpFlow), n.users.count(udpFlow), n.users.count(echoFlow)
}
