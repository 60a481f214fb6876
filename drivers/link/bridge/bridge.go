// Package bridge joins ports as a switch does (IEEE 802.1Q): it learns who is where, and
// hands frames on without copying them. A frame that goes to several ports is copied
// as far as its head is.
package bridge

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/link"
	"nidus/drivers/link/offload"
	"nidus/mm"
)

// Limits.
const (
	// MaxPorts bounds the ports of a bridge.
	MaxPorts = 1024
	// DefaultAddresses is how many addresses are learned by a port.
	DefaultAddresses = 64
	// ageing is how long an address is known that sends nothing (IEEE 802.1Q, 8.8.3).
	ageing = 300 * time.Second
	// copies is how many frames of a port can be on their way to several others.
	copies = 64
	// storm is how many frames a port may make of those that go to several, in a second
	// and, at most, at once.
	storm, stormBurst = 20000, 4000
)

// Bridge is a switch. Its ports come and go.
type Bridge struct {
	name  string
	mem   mm.FrameMemory
	begin time.Time

	mu      sync.Mutex // of changes
	members atomic.Pointer[[]*Member]
	table   table
}

// New makes a bridge; mem is for heads of frames.
func New(name string, mem mm.FrameMemory) *Bridge {
	b := &Bridge{name: name, mem: mem, begin: time.Now()}
	b.members.Store(&[]*Member{})
	return b
}

// Name is what configurations call it.
func (b *Bridge) Name() string { return b.name }

// Config is how a port takes part.
type Config struct {
	VLANs VLANs
	// MAC is the address of who is behind the port, if that is one, who is configured to
	// have it: no other port can take it over. All zeros: it is learned.
	MAC link.MAC
	// Guard drops what the port sends under other addresses than its own.
	Guard Guard
	// Addresses bounds those that are learned; 0: DefaultAddresses.
	Addresses int
}

// Member is a port of a bridge.
type Member struct {
	b    *Bridge
	port link.Port
	info link.Info
	cfg  Config
	pool pool
	// send is the port's, or that of what completes frames for it.
	send      func(frames []*link.Frame)
	completer *offload.Completer // nil: the port takes all
	Stats

	storm   bucket
	learned atomic.Int32
	purged  atomic.Int64 // when old addresses were looked for, in seconds
}

// Stats count frames that a port sent, and that went no further, by the reason.
type Stats struct {
	// Spoofed had another sender; Filtered were of a VLAN that is not the port's, or for
	// nobody but the bridge; Storms were too many for several; TooBig for their receiver.
	Spoofed, Filtered, Storms, TooBig atomic.Uint64
}

// Join adds a port, whose frames the bridge takes from now on.
func (b *Bridge) Join(p link.Port, c Config) (*Member, error) {
	if c.Addresses == 0 {
		c.Addresses = DefaultAddresses
	}
	m := &Member{b: b, port: p, info: p.Info(), cfg: c, storm: bucket{rate: storm, most: stormBurst}, send: p.Send}
	if m.info.Take != offload.Full {
		m.completer = offload.New(b.mem, m.info.Take, m.info.MTU, p.Send)
		m.send = m.completer.Send
	}
	if err := m.pool.init(b.mem, copies); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", b.name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := *b.members.Load()
	if len(now) >= MaxPorts {
		m.pool.close()
		return nil, fmt.Errorf("bridge %s has %d ports, as many as there can be", b.name, MaxPorts)
	}
	all := append(slices.Clone(now), m)
	b.members.Store(&all)
	if c.MAC != (link.MAC{}) {
		b.table.pin(c.MAC, m)
	}
	p.Receive(m.receive)
	return m, nil
}

// Leave takes a port away. It returns when all of its frames are done.
func (m *Member) Leave() {
	b := m.b
	m.port.Receive(nil)
	b.mu.Lock()
	rest := slices.DeleteFunc(slices.Clone(*b.members.Load()), func(o *Member) bool { return o == m })
	b.members.Store(&rest)
	b.table.forget(m)
	b.mu.Unlock()
	m.pool.close()
	if m.completer != nil {
		m.completer.Close()
	}
}

// Ports returns what the ports are.
func (b *Bridge) Ports() []link.Info {
	var out []link.Info
	for _, m := range *b.members.Load() {
		out = append(out, m.info)
	}
	return out
}

// now is in seconds since the bridge was made.
func (b *Bridge) now() int64 { return int64(time.Since(b.begin) / time.Second) }
