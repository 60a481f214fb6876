// Package netback gives a guest a network interface: the backend of Xen's network
// protocol (io/netif.h, io/ring.h), and a link.Port for whoever is on the host's side.
//
// What the guest sends stays in its pages, which its grants hold, but for the headers;
// what it receives is copied into pages that it grants. So between two guests a frame is
// copied once, by the sender's goroutine or vcpu.
package netback

import (
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/link/offload"
	"nidus/mm"
)

// Quotas of an interface.
const (
	// MaxQueues is how many pairs of rings a guest may have.
	MaxQueues = 4
	// batchSize is how many frames of a queue are taken at a time.
	batchSize = 64
	// backlogSize is how many frames wait for room in a queue of the guest's; their
	// senders' slots are in use meanwhile. backlogBytes bounds those of all queues.
	backlogSize  = 64
	backlogBytes = 1 << 20
	// maxMulticast bounds the multicast addresses that a guest listens to.
	maxMulticast = 64
)

// stallLimit is how long frames wait for a guest that makes no room at all. Then they are
// dropped, and so is what comes until it does: a guest that sleeps holds up nobody else.
const stallLimit = 200 * time.Millisecond

// Rate allows Bytes in each Interval; zero: no limit.
type Rate struct {
	Bytes    uint64
	Interval time.Duration
}

// Config is what an Interface is made of.
type Config struct {
	Guest  *backend.Guest
	Memory mm.FrameMemory // for the heads of frames
	Name   string         // vif3.0
	MAC    link.MAC       // the host's end's
	MTU    int
	Rate   Rate // of what the guest sends
}

// Interface is a guest's: a backend.Driver, and a link.Port while there is a guest and
// while there is none.
type Interface struct {
	cfg      Config
	id       link.ID
	receiver atomic.Pointer[link.Receiver]
	conn     atomic.Pointer[conn] // nil: no guest is connected
	stats    counts
	limit    *limiter // nil: none
	waiting  waiting

	mu      sync.Mutex
	changed chan struct{}
}

var (
	_ backend.Driver = (*Interface)(nil)
	_ link.Port      = (*Interface)(nil)
)

// counts are link.Stats, from the port's side: sent is what the guest receives.
type counts struct {
	sentFrames, sentBytes, sentDropped             atomic.Uint64
	receivedFrames, receivedBytes, receivedDropped atomic.Uint64
	receivedBad                                    atomic.Uint64
}

// New makes an interface that no guest is connected to.
func New(c Config) *Interface {
	i := &Interface{cfg: c, id: link.NewID(), changed: make(chan struct{})}
	if c.Rate != (Rate{}) {
		i.limit = newLimiter(c.Rate, time.Now())
	}
	return i
}

// Offer implements backend.Driver.
func (i *Interface) Offer() []backend.Node {
	return []backend.Node{
		backend.Flag("feature-sg", true), backend.Flag("feature-rx-copy", true), backend.Flag("feature-rx-flip", false),
		backend.Flag("feature-gso-tcpv4", true), backend.Flag("feature-gso-tcpv6", true), backend.Flag("feature-ipv6-csum-offload", true),
		backend.Flag("feature-multicast-control", true), backend.Flag("feature-split-event-channels", true), backend.Flag("feature-ctrl-ring", true),
		backend.Num("multi-queue-max-queues", MaxQueues),
	}
}

// Info implements link.Port.
func (i *Interface) Info() link.Info {
	return link.Info{Name: i.cfg.Name, MAC: i.cfg.MAC, MTU: i.cfg.MTU, Take: offload.Full}
}

// Send implements link.Port: the guest receives.
func (i *Interface) Send(frames []*link.Frame) {
	c := i.conn.Load()
	if c == nil {
		i.stats.sentDropped.Add(uint64(len(frames)))
		link.Drop(frames)
		return
	}
	c.complete(frames)
}

// Receive implements link.Port.
func (i *Interface) Receive(r link.Receiver) {
	if r == nil {
		i.receiver.Store(nil)
	} else {
		i.receiver.Store(&r)
	}
}

// deliver hands what the guest sent to the receiver.
func (i *Interface) deliver(frames []*link.Frame) {
	if r := i.receiver.Load(); r != nil {
		(*r)(frames)
		return
	}
	i.stats.receivedDropped.Add(uint64(len(frames)))
	link.Drop(frames)
}

// Up implements link.Port: there is a link while a guest is connected.
func (i *Interface) Up() (up bool, changed <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.conn.Load() != nil, i.changed
}

// setConn changes who is connected.
func (i *Interface) setConn(c *conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conn.Store(c)
	close(i.changed)
	i.changed = make(chan struct{})
}

// Stats implements link.Port.
func (i *Interface) Stats() link.Stats {
	s := &i.stats
	return link.Stats{
		SentFrames: s.sentFrames.Load(), SentBytes: s.sentBytes.Load(), SentDropped: s.sentDropped.Load(),
		ReceivedFrames: s.receivedFrames.Load(), ReceivedBytes: s.receivedBytes.Load(), ReceivedDropped: s.receivedDropped.Load(),
		ReceivedBad: s.receivedBad.Load(),
	}
}

// Close implements link.Port. The backend.Device is closed before: nothing of the guest's
// is in flight then.
func (i *Interface) Close() error {
	i.Receive(nil)
	return nil
}
