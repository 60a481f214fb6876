package evtchn

import (
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Bits of an event word (event_channel.h, EVTCHN_FIFO_*).
const (
	fifoPending  = 1 << xenabi.EvtchnFIFOPending
	fifoMasked   = 1 << xenabi.EvtchnFIFOMasked
	fifoLinked   = 1 << xenabi.EvtchnFIFOLinked
	fifoBusy     = 1 << xenabi.EvtchnFIFOBusy
	fifoLinkMask = xenabi.EvtchnFIFOLinkMask
)

const (
	fifoWordsPerPage = mm.PageSize / 4
	fifoMaxPages     = xenabi.EvtchnFIFONrChannels / fifoWordsPerPage
	fifoQueues       = xenabi.EvtchnFIFOMaxQueues
)

// fifo is the state of the FIFO ABI. Each event has a word in the event array,
// which the guest owns page by page. Pending events hang on lists: the head is
// in the control block of a vcpu, one for each priority, the links are in the
// words, and the tail is known only here. The guest takes events off by clearing
// LINKED; an event is on at most one list, since only who sets LINKED links it.
type fifo struct {
	pages  [fifoMaxPages]atomic.Pointer[mm.Page]
	nPages int      // under Domain.mu
	pinned []mm.GFN // under Domain.mu
	blocks []atomic.Pointer[controlBlock]
}

// controlBlock is a vcpu's struct evtchn_fifo_control_block.
type controlBlock struct {
	page   mm.Page
	off    int
	queues [fifoQueues]queue
}

type queue struct {
	mu    lock
	index int    // from 1 on, vcpu, then priority: the order of locks
	tail  uint32 // the port linked last, or 0
}

// word returns the place of port n's event word.
//
//go:nosplit
func (f *fifo) word(n uint32) (pg mm.Page, off int, ok bool) {
	i := n / fifoWordsPerPage
	if i >= fifoMaxPages {
		return mm.Page{}, 0, false
	}
	p := f.pages[i].Load()
	if p == nil {
		return mm.Page{}, 0, false
	}
	return *p, int(n%fifoWordsPerPage) * 4, true
}

// block returns a vcpu's control block, or nil.
//
//go:nosplit
func (f *fifo) block(vcpu int32) *controlBlock {
	if i := int(vcpu); i >= 0 && i < len(f.blocks) {
		return f.blocks[i].Load()
	}
	return nil
}

// queue returns the queue of that index, or nil for 0.
//
//go:nosplit
func (f *fifo) queue(index int) *queue {
	if index <= 0 {
		return nil
	}
	cb := f.block(int32((index - 1) / fifoQueues))
	if cb == nil {
		return nil
	}
	return &cb.queues[(index-1)%fifoQueues&(fifoQueues-1)]
}

// InitControl registers vcpu's control block at offset off of guest frame g; the
// first one switches the domain to the FIFO ABI (EVTCHNOP_init_control). It
// returns ENOENT for an unknown vcpu, and EINVAL for a bad place or a vcpu that
// has a block.
func (d *Domain) InitControl(v uint32, g mm.GFN, off uint32) error {
	if !d.validVCPU(v) {
		return xenabi.ENOENT
	}
	if off%8 != 0 || off > mm.PageSize-xenabi.FIFOControlSize {
		return xenabi.EINVAL
	}
	late, err := d.initControl(v, g, off)
	for _, s := range late {
		s.send()
	}
	return err
}

func (d *Domain) initControl(v uint32, g mm.GFN, off uint32) ([]signal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fifo.Load()
	if f != nil && f.blocks[v].Load() != nil {
		return nil, xenabi.EINVAL
	}
	pg, err := d.pin(g)
	if err != nil {
		return nil, err
	}
	cb := &controlBlock{page: pg, off: int(off)}
	for i := range cb.queues {
		cb.queues[i].index = 1 + int(v)*fifoQueues + i
	}
	var zero [xenabi.FIFOControlSize]byte
	pg.Write(cb.off, zero[:])

	if f != nil {
		f.pinned = append(f.pinned, g)
		f.blocks[v].Store(cb)
		return d.redeliver(func(_ uint32, p *port) bool { return p.vcpu == int32(v) }), nil
	}
	f = &fifo{blocks: make([]atomic.Pointer[controlBlock], len(d.vcpus)), pinned: []mm.GFN{g}}
	f.blocks[v].Store(cb)
	d.switchToFIFO(f)
	return nil, nil
}

// switchToFIFO makes events go by f, and keeps those that are pending by the
// 2-level ABI for when there are words for them; d.mu is held.
func (d *Domain) switchToFIFO(f *fifo) {
	l := d.layout.Load()
	d.fifo.Store(f)
	// Whoever raises a port holds its lock: after we held it, everybody uses f.
	d.eachPort(func(n uint32, p *port) {
		if int(n) < l.NrEvtchn && !p.local && !d.cfg.SharedInfo.IsZero() {
			off, bit := bit2L(l.EvtchnPending, n)
			p.latent = p.latent || d.cfg.SharedInfo.And32(off, ^bit)&bit != 0
		}
	})
}

// eachPort calls fn for every port that was ever opened, with its lock held;
// d.mu is held.
func (d *Domain) eachPort(fn func(n uint32, p *port)) {
	for i := range d.chunks {
		c := d.chunks[i].Load()
		if c == nil {
			continue
		}
		for j := range c {
			p := &c[j]
			p.mu.Lock()
			fn(uint32(i*chunkPorts+j), p)
			p.mu.Unlock()
		}
	}
}

// redeliver raises the latent ports that which chooses, and returns what is left
// to do after d.mu, which is held.
func (d *Domain) redeliver(which func(n uint32, p *port) bool) (late []signal) {
	d.eachPort(func(n uint32, p *port) {
		if p.latent && !p.local && p.status != xenabi.EvtchnStatClosed && which(n, p) {
			p.latent = false
			late = append(late, d.raise(n, p))
		}
	})
	return late
}

// ExpandArray adds guest frame g to the event array (EVTCHNOP_expand_array). It
// returns ENOSYS while the domain uses the 2-level ABI, ENOSPC when the array
// has all the pages that the domain's ports need, and EINVAL for a bad frame.
func (d *Domain) ExpandArray(g mm.GFN) error {
	late, err := d.expandArray(g)
	for _, s := range late {
		s.send()
	}
	return err
}

func (d *Domain) expandArray(g mm.GFN) ([]signal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fifo.Load()
	if f == nil {
		return nil, xenabi.ENOSYS
	}
	if f.nPages > int(d.cfg.MaxPorts)/fifoWordsPerPage {
		return nil, xenabi.ENOSPC
	}
	pg, err := d.pin(g)
	if err != nil {
		return nil, err
	}
	f.pinned = append(f.pinned, g)
	i := uint32(f.nPages)
	f.nPages++
	f.pages[i].Store(&pg)
	return d.redeliver(func(n uint32, _ *port) bool { return n/fifoWordsPerPage == i }), nil
}

// SetPriority sets the priority of port n, from 0 (highest) to 15
// (EVTCHNOP_set_priority). An event that is pending keeps its place. It returns
// ENOSYS while the domain uses the 2-level ABI.
func (d *Domain) SetPriority(n, priority uint32) error {
	if d.fifo.Load() == nil {
		return xenabi.ENOSYS
	}
	p := d.lookup(n)
	if p == nil || priority > xenabi.EvtchnFIFOPriorityMin {
		return xenabi.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == xenabi.EvtchnStatClosed || p.local {
		return xenabi.EINVAL
	}
	p.priority = uint8(priority)
	return nil
}

// dropFIFO returns to the 2-level ABI and lets the guest's pages go, after all
// ports but the local ones were closed; d.mu is held.
func (d *Domain) dropFIFO() {
	f := d.fifo.Load()
	if f == nil {
		return
	}
	d.fifo.Store(nil)
	// Who still uses f holds a port's lock: each has been free once after this.
	d.eachPort(func(_ uint32, p *port) { p.queue = 0 })
	for _, g := range f.pinned {
		d.cfg.Memory.Unpin(g)
	}
}

// busy tells whether port n hangs on a list still, so that it can't be used
// again yet.
func (d *Domain) busy(n uint32) bool {
	f := d.fifo.Load()
	if f == nil {
		return false
	}
	pg, off, ok := f.word(n)
	return ok && pg.Load32(off)&fifoLinked != 0
}

func (d *Domain) raiseFIFO(f *fifo, n uint32, p *port) signal {
	pg, off, ok := f.word(n)
	if !ok {
		p.latent = true
		return signal{}
	}
	// One atomic step: if the guest clears LINKED or MASKED later, it looks at
	// PENDING after that.
	old := pg.Or32(off, fifoPending)
	s := signal{d: d}
	if old&fifoPending == 0 {
		s.port = n
	}
	if old&(fifoMasked|fifoLinked) == 0 {
		s.vcpu = d.queueFIFO(f, n, p, pg, off)
	}
	return s
}

func (d *Domain) unmaskFIFO(f *fifo, n uint32, p *port) signal {
	pg, off, ok := f.word(n)
	if !ok {
		return signal{}
	}
	old := pg.And32(off, ^uint32(fifoMasked))
	if old&fifoPending == 0 || old&fifoLinked != 0 {
		return signal{}
	}
	return signal{d: d, vcpu: d.queueFIFO(f, n, p, pg, off)}
}

// queueFIFO puts port n at the end of its list, and returns 1 + the vcpu if that
// must be notified, or 0; p.mu is held.
func (d *Domain) queueFIFO(f *fifo, n uint32, p *port, pg mm.Page, off int) int32 {
	cb := f.block(p.vcpu)
	if cb == nil {
		p.latent = true // until the vcpu has a control block
		return 0
	}
	q, old := &cb.queues[p.priority], f.queue(p.queue)
	lockQueues(old, q)
	newHead := f.link(cb, q, old, n, p, pg, off)
	unlockQueues(old, q)
	if !newHead {
		return 0
	}
	return d.announce(cb, p)
}

// announce tells the port's vcpu that its list has a new head, and returns 1 + the vcpu if that must be
// notified, or 0.
//
//go:nosplit
func (d *Domain) announce(cb *controlBlock, p *port) int32 {
	ready := uint32(1) << (p.priority & (fifoQueues - 1))
	if cb.page.Or32(cb.off+xenabi.FIFOControlReady, ready)&ready != 0 {
		return 0
	}
	if vi := d.info(p.vcpu); vi != nil && vi.markPending() {
		return p.vcpu + 1
	}
	return 0
}

// link puts port n at the end of q and tells whether it is the head now. The
// locks of q and of the port's old queue are held.
//
//go:nosplit
func (f *fifo) link(cb *controlBlock, q, old *queue, n uint32, p *port, pg mm.Page, off int) (head bool) {
	if pg.Or32(off, fifoLinked)&fifoLinked != 0 {
		return false
	}
	// The port may be the last one of its old queue, and of this one: the guest
	// took it off since, so that queue is empty, and its word says nothing about
	// that queue any more.
	if old != nil && old.tail == n {
		old.tail = 0
	}
	linked := q.tail != 0 && f.setLink(q.tail, n)
	if !linked {
		cb.page.Store32(cb.off+xenabi.FIFOControlHead+int(p.priority)*4, n)
	}
	q.tail, p.queue = n, q.index
	return !linked
}

// linkTries bounds how often setLink starts again because a guest changed the
// word. A guest that obeys BUSY can't do that half as often.
const linkTries = 32

// setLink makes tail's word point to port n, and tells whether tail was still on
// the list.
//
//go:nosplit
func (f *fifo) setLink(tail, n uint32) bool {
	pg, off, ok := f.word(tail)
	if !ok {
		return false
	}
	for try := range linkTries {
		w := pg.Load32(off)
		if w&fifoLinked == 0 {
			break
		}
		if pg.CompareAndSwap32(off, w, w&^(fifoBusy|fifoLinkMask)|n) {
			return true
		}
		if try == 0 {
			pg.Or32(off, fifoBusy) // asks the guest to wait with its changes
		}
	}
	pg.And32(off, ^uint32(fifoBusy))
	return false
}

// lockQueues locks both queues in order; a may be nil or b.
func lockQueues(a, b *queue) {
	switch {
	case a == nil || a == b:
		b.mu.Lock()
	case a.index < b.index:
		a.mu.Lock()
		b.mu.Lock()
	default:
		b.mu.Lock()
		a.mu.Lock()
	}
}

func unlockQueues(a, b *queue) {
	if a != nil && a != b {
		a.mu.Unlock()
	}
	b.mu.Unlock()
}
