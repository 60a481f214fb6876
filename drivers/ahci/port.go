package ahci

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"nidus/drivers/block"
	"nidus/mm"
)

// port is one with a disk.
//
// A disk does up to 32 queued commands (NCQ: reads and writes) in any order, or one that is
// not queued; never both. So requests that got a slot start in the order in which they came,
// and one that is not queued waits until the disk is idle. A flush serves all who wait
// for one when it starts.
type port struct {
	hba   *HBA
	index int
	name  string
	disk  *Disk
	drive *Drive // of a port with a CD drive, whose disk only says what is connected
	frame mm.MFN // the list of commands, and what the disk says
	own   mm.MFN // the table and the buffer of exec
	on    bool   // the controller may reach the frames

	mu      sync.Mutex
	room    sync.Cond // waits for free slots
	state   portState
	tables  []mm.MFN // of each slot: its table, and a buffer for what has no segments
	free    []uint8
	waiting []uint8 // slots that are to start
	busy    uint32  // slots whose command the disk has, a bit each
	queued  bool    // busy are queued commands
	sharing uint32  // slots that the flush in busy serves too
	// suspects are slots whose command goes alone: one of them may be what brought all
	// queued ones down.
	suspects uint32
	flying   [maxSlots]flight
	trouble  trouble // for the keeper

	keeper keeper
	ticks  atomic.Uint64
}

// portState is what a port does.
type portState uint8

const (
	paused  portState = iota // the keeper has it: requests wait
	working                  // commands go to the disk
	ended                    // for good: who submits gets block.ErrGone
)

// flight is a request that has a slot.
type flight struct {
	r       *block.Request
	header  uint32 // first word of the command's header
	flush   bool   // it is written, or there was nothing to write: what is left is a flush
	sectors uint64 // of a discard: done
	step    uint64 // of a discard: being done
	since   uint64 // of the port's ticks
	disc    *disc  // of a drive: what is read; or nil, and
	packet  *[12]byte
	tries   uint8 // how often the command was given to the disk in vain
}

func newPort(c *HBA, i int) *port {
	p := &port{hba: c, index: i, name: fmt.Sprintf("%s, port %d", c.name, i),
		keeper: keeper{wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}}
	p.room.L = &p.mu
	return p
}

func (p *port) load(reg uint64) uint32 {
	return p.hba.regs.Load32(portBase + uint64(p.index)*portSize + reg)
}
func (p *port) store(reg uint64, v uint32) {
	p.hba.regs.Store32(portBase+uint64(p.index)*portSize+reg, v)
}

func (p *port) store64(reg uint64, v uint64) {
	p.store(reg, uint32(v))
	p.store(reg+4, uint32(v>>32))
}

// open starts the port and finds out what is connected. The error may wrap ErrUnusable or
// ErrTimeout.
func (p *port) open() error {
	for _, f := range []*mm.MFN{&p.frame, &p.own} {
		m, err := p.hba.host.Alloc(0, mm.ZoneAny)
		if err != nil {
			return err
		}
		*f = m
	}
	if err := p.idle(); err != nil {
		return err
	}
	a := p.hba.host.DMA(p.frame)
	p.store64(pxCLB, a)
	p.store64(pxFB, a+atReceived)
	p.store(pxIE, 0)
	p.store(pxSERR, dead)
	p.on = true
	p.store(pxCMD, p.load(pxCMD)&^cmdInterface|cmdReceive|cmdActive)
	if err := p.ready(); err != nil {
		return err
	}
	command := uint8(ataIdentify)
	switch s := p.load(pxSIG); s {
	case sigDisk:
	case sigMultiplier:
		return unusable("a port multiplier is connected, which there is no driver for; connect the disks to ports of their own")
	case sigPacket:
		command = ataIdentifyPacket
	case sigEnclosure:
		return unusable("an enclosure is connected, which is no disk")
	default:
		return unusable("what is connected has the signature %#x, and is no disk", s)
	}
	p.run()
	id, err := p.identify(command)
	if err != nil {
		return err
	}
	d, err := newDisk(p, id)
	if err != nil {
		return err
	}
	for i := range uint8(d.depth) {
		m, err := p.hba.host.Alloc(0, mm.ZoneAny)
		if err != nil {
			return err
		}
		p.tables = append(p.tables, m)
		p.free = append(p.free, i)
	}
	p.disk = d
	return nil
}

// idle has the port take no commands and write no memory (section 10.1.2).
func (p *port) idle() error {
	for _, x := range []struct{ on, runs uint32 }{{cmdStart, cmdRuns}, {cmdReceive, cmdReceives}} {
		p.store(pxCMD, p.load(pxCMD)&^x.on)
		if !until(p.hba.limits.stop, func() bool { return p.load(pxCMD)&x.runs == 0 }) {
			return fmt.Errorf("it does not stop: %w", ErrTimeout)
		}
	}
	return nil
}

// ready waits until the disk can take commands.
func (p *port) ready() error {
	ok := until(p.hba.limits.ready, func() bool {
		return p.hba.gone() || p.load(pxSSTS)&sstsDET == detUp && p.load(pxTFD)&(tfdBusy|tfdDRQ) == 0
	})
	switch {
	case p.hba.gone():
		return errGone
	case !ok:
		return fmt.Errorf("what is connected does not become ready (status %#x, task file %#x): %w", p.load(pxSSTS), p.load(pxTFD), ErrTimeout)
	}
	return nil
}

// run lets the port take commands.
func (p *port) run() {
	p.store(pxSERR, dead)
	p.store(pxIS, dead)
	p.store(pxCMD, p.load(pxCMD)|cmdStart)
}

// work gives the port to those who submit. Preconditions: the port runs, and the disk is
// idle.
func (p *port) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = working
	p.store(pxIE, isAll)
	for m := p.busy; m != 0; m &= m - 1 { // the disk has forgotten them
		slot := uint8(bits.TrailingZeros32(m))
		p.flying[slot].since = p.ticks.Load()
		p.issue(slot)
	}
	p.pump()
}

// submit starts a request, when there is a slot.
func (p *port) submit(f flight) {
	p.mu.Lock()
	for p.state != ended && !p.disk.closed.Load() && len(p.free) == 0 {
		p.room.Wait()
	}
	if p.state == ended || p.disk.closed.Load() || f.disc != nil && f.disc.changed() {
		p.mu.Unlock()
		f.r.Done(f.r, block.ErrGone)
		return
	}
	p.disk.flying.Add(1)
	slot := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.flying[slot] = f
	p.waiting = append(p.waiting, slot)
	p.pump()
	p.mu.Unlock()
}

// pump starts what can start. Preconditions: mu.
func (p *port) pump() {
	for p.state == working && len(p.waiting) > 0 {
		slot := p.waiting[0]
		queued := p.disk.queues && p.flying[slot].moves() && p.suspects>>slot&1 == 0
		if p.busy != 0 && !(queued && p.queued) {
			return
		}
		p.waiting = p.waiting[:copy(p.waiting, p.waiting[1:])]
		p.queued = queued
		p.start(slot)
	}
}

// moves tells whether the next command reads or writes.
func (f *flight) moves() bool {
	return !f.flush && f.r.Op != block.Discard
}

// start gives the disk a slot's next command. Preconditions: mu.
func (p *port) start(slot uint8) {
	f := &p.flying[slot]
	f.since = p.ticks.Load()
	p.describe(slot)
	if f.flush {
		p.share()
	}
	p.busy |= 1 << slot
	p.issue(slot)
}

// share has a flush that starts serve all who wait for one.
func (p *port) share() {
	left := p.waiting[:0]
	for _, slot := range p.waiting {
		if p.flying[slot].flush {
			p.sharing |= 1 << slot
		} else {
			left = append(left, slot)
		}
	}
	p.waiting = left
}

// issue gives the disk the command that a slot's table has. Preconditions: mu.
func (p *port) issue(slot uint8) {
	p.header(slot, p.flying[slot].header, p.tables[slot])
	if p.queued {
		p.store(pxSACT, 1<<slot)
	}
	p.store(pxCI, 1<<slot)
}

// batch are requests that are done.
type batch struct {
	n    int
	ends [maxSlots]struct {
		r   *block.Request
		err error
	}
}

func (b *batch) add(r *block.Request, err error) {
	b.ends[b.n].r, b.ends[b.n].err = r, err
	b.n++
}

// tell has those who wait know. Preconditions: the lock of the port is free.
func (b *batch) tell(d *Disk) {
	for _, e := range b.ends[:b.n] {
		e.r.Done(e.r, e.err)
		d.flying.Done()
	}
}

// interrupt takes what the disk has done, and tells whether there was something.
func (p *port) interrupt() (took bool) {
	var b batch
	p.mu.Lock()
	if p.state != working {
		p.mu.Unlock()
		return false
	}
	is := p.load(pxIS)
	if is&isLink != 0 {
		// It comes from there; isConnect, too, but that the keeper clears: until then
		// the port gives no command to what may be another disk.
		p.store(pxSERR, serrReady)
	}
	p.store(pxIS, is)
	done := p.busy &^ (p.load(pxSACT) | p.load(pxCI))
	if is&isTask != 0 && !p.queued {
		done = 0 // it is the one that failed, whatever the registers say
	}
	p.finish(done, nil, &b)
	if is&(isTask|isFatal|isConnect) != 0 || is&isLink != 0 && p.load(pxSSTS)&sstsDET != detUp {
		p.pause(trouble{is: is, task: p.load(pxTFD)})
	}
	p.pump()
	p.mu.Unlock()
	b.tell(p.disk)
	return is != 0
}

// finish ends the commands of some slots, and the requests that need no other.
// Preconditions: mu.
func (p *port) finish(slots uint32, err error, b *batch) {
	for slots != 0 {
		slot := uint8(bits.TrailingZeros32(slots))
		slots &^= 1 << slot
		f := &p.flying[slot]
		if f.flush && p.sharing != 0 {
			slots |= p.sharing
			p.sharing = 0
		}
		p.busy &^= 1 << slot
		p.suspects &^= 1 << slot
		if err == nil && p.more(f) {
			p.waiting = append(p.waiting, slot)
			continue
		}
		b.add(f.r, err)
		*f = flight{}
		p.free = append(p.free, slot)
	}
	if b.n > 0 {
		p.room.Broadcast()
	}
}

// more tells whether a request needs another command.
func (p *port) more(f *flight) bool {
	switch {
	case f.flush:
		return false
	case f.r.Op == block.Discard:
		f.sectors += f.step
		return f.sectors < f.r.Sectors
	case f.r.Op == block.WriteFUA && p.disk.info.CanFlush && !p.disk.fua:
		f.flush = true
		return true
	}
	return false
}

// refuse has those who wait for a slot see that the disk is closed. Afterwards nobody
// starts a request.
func (p *port) refuse() {
	p.mu.Lock()
	p.room.Broadcast()
	p.mu.Unlock()
}

// end takes everything from the port; what has a slot gets why. The memory is not used
// again if the controller may still reach it, and the error says so.
func (p *port) end() error {
	p.mu.Lock()
	p.state = ended
	var b batch
	for i := range p.flying {
		if r := p.flying[i].r; r != nil {
			b.add(r, block.ErrGone)
			p.flying[i] = flight{}
		}
	}
	p.busy, p.sharing, p.waiting = 0, 0, nil
	p.room.Broadcast()
	p.mu.Unlock()
	var err error
	if p.on && !p.hba.gone() {
		p.store(pxIE, 0)
		if err = p.idle(); err != nil && !p.hba.gone() {
			// The pages of what was in flight are reached by it, too: the bus is all that is left.
			p.hba.f.SetMaster(false)
			err = fmt.Errorf("it is cut from the bus, and keeps %d frames: %w", 2+len(p.tables), err)
		}
	}
	b.tell(p.disk)
	if err != nil {
		return err
	}
	for _, m := range append(p.tables, p.frame, p.own) {
		if m != 0 {
			p.hba.host.Free(m, 0)
		}
	}
	p.tables, p.frame, p.own, p.on = nil, 0, 0, false
	return nil
}
