package evtchn

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Domain is one domain's event channels. Its methods are safe for concurrent
// use, except where they say otherwise.
type Domain struct {
	cfg    Config
	hub    *Hub
	seq    uint64 // orders the locks of two domains' ports
	layout atomic.Pointer[xenabi.SharedInfo]
	fifo   atomic.Pointer[fifo] // nil: 2-level ABI
	vcpus  []vcpu
	virqs  [xenabi.NrVIRQs]atomic.Uint32 // ports of the global VIRQs
	chunks []atomic.Pointer[chunk]       // ports, made when first needed
	// pollers counts the vcpus in SCHEDOP_poll, so that delivery looks for them
	// only when there are some.
	pollers atomic.Int32

	mu     sync.Mutex
	used   []uint64 // a bit for each port that is given away
	inUse  int
	dying  bool
	pinned []mm.GFN // frames that hold a vcpu_info
}

const chunkPorts = 64

type chunk [chunkPorts]port

// port is one end of an event channel.
type port struct {
	mu       lock
	status   uint8 // xenabi.EvtchnStat*
	virq     uint8
	priority uint8
	// latent remembers an event that came while there was no place to put it:
	// the FIFO array is too short, or no callback is set.
	latent bool
	// local ports deliver to fn in the hypervisor, and a guest can't touch them.
	local    bool
	vcpu     int32
	peerDom  mm.DomID // who may bind (unbound) or has bound (interdomain)
	peerPort uint32
	peer     *Domain
	fn       func()
	// queue is the number of the FIFO queue where it was linked last, from 1 on: without a goroutine, no
	// pointer is stored.
	queue int
}

// ID returns the domain's number.
func (d *Domain) ID() mm.DomID { return d.cfg.ID }

// PortsInUse returns how many ports are not closed.
func (d *Domain) PortsInUse() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inUse
}

// lookup returns port n, whatever its status, or nil if there was never one.
//
//go:nosplit
func (d *Domain) lookup(n uint32) *port {
	i := int(n / chunkPorts)
	if n == 0 || n > d.cfg.MaxPorts || i >= len(d.chunks) {
		return nil
	}
	c := d.chunks[i].Load()
	if c == nil {
		return nil
	}
	return &c[n%chunkPorts]
}

// limit returns the highest port number of the ABI in use.
func (d *Domain) limit() uint32 {
	if d.fifo.Load() != nil || d.cfg.SharedInfo.IsZero() {
		return d.cfg.MaxPorts
	}
	return min(d.cfg.MaxPorts, uint32(d.layout.Load().NrEvtchn-1))
}

// alloc finds a free port; d.mu is held. The port is not taken until take. The
// caller may change it: nobody else does while it is closed and d.mu is held.
func (d *Domain) alloc() (uint32, *port, error) {
	if d.dying {
		return 0, nil, xenabi.EINVAL
	}
	limit := d.limit()
	for i, w := range d.used {
		for free := ^w; free != 0; free &= free - 1 {
			n := uint32(i*64 + bits.TrailingZeros64(free))
			if n > limit {
				return 0, nil, xenabi.ENOSPC
			}
			if d.busy(n) {
				continue
			}
			c := d.chunks[n/chunkPorts].Load()
			if c == nil {
				c = new(chunk)
				d.chunks[n/chunkPorts].Store(c)
			}
			return n, &c[n%chunkPorts], nil
		}
	}
	return 0, nil, xenabi.ENOSPC
}

// take makes port n given away; d.mu is held.
func (d *Domain) take(n uint32) {
	d.used[n/64] |= 1 << (n % 64)
	d.inUse++
}

// release closes port n; d.mu and p.mu are held. p.queue stays: the queue's tail
// may still name the port.
func (d *Domain) release(n uint32, p *port) {
	p.status, p.virq, p.latent, p.local, p.vcpu = xenabi.EvtchnStatClosed, 0, false, false, 0
	p.priority = xenabi.EvtchnFIFOPriorityDefault
	p.peerDom, p.peerPort, p.peer, p.fn = 0, 0, nil, nil
	d.clearPending(n)
	d.used[n/64] &^= 1 << (n % 64)
	d.inUse--
}

// info returns where a port's vcpu has its vcpu_info, or nil.
//
//go:nosplit
func (d *Domain) info(vcpu int32) *vcpuInfo {
	if i := int(vcpu); i >= 0 && i < len(d.vcpus) {
		return d.vcpus[i].info.Load()
	}
	return nil
}

// lockPair locks two ports in the order that everybody uses.
func lockPair(d *Domain, n uint32, p *port, e *Domain, m uint32, q *port) {
	if e.seq < d.seq || e.seq == d.seq && m < n {
		p, q = q, p
	}
	p.mu.Lock()
	q.mu.Lock()
}

// Destroy closes every port, which leaves the peers unbound, lets all guest
// pages go and takes the domain from the hub. The domain's vcpus must not run
// any more. It may be called twice.
func (d *Domain) Destroy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dying {
		return
	}
	d.dying = true
	d.hub.remove(d)
	d.closeAll(true)
	d.dropFIFO()
	for i := range d.vcpus {
		d.vcpus[i].info.Store(nil)
	}
	for _, g := range d.pinned {
		d.cfg.Memory.Unpin(g)
	}
	d.pinned = nil
}

// closeAll closes every port, or all but the local ones; d.mu is held.
func (d *Domain) closeAll(local bool) {
	for i := range d.used {
		for w := d.used[i]; w != 0; w &= w - 1 {
			if n := uint32(i*64 + bits.TrailingZeros64(w)); n != 0 {
				d.close(n, local)
			}
		}
	}
}

// pin holds a guest page, which the caller remembers to let go; d.mu is held.
func (d *Domain) pin(g mm.GFN) (mm.Page, error) {
	if d.cfg.Memory == nil || d.dying {
		return mm.Page{}, xenabi.EINVAL
	}
	pg, err := d.cfg.Memory.Pin(g)
	if err != nil {
		return mm.Page{}, xenabi.EINVAL
	}
	return pg, nil
}
