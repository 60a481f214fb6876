package nvme

import (
	"fmt"
	"sync"
	"time"

	"nidus/mm"
)

// admin is the pair of queues for commands of the controller, one at a time.
type admin struct {
	c    *Controller
	turn sync.Mutex // of the one command
	page mm.MFN     // what identify writes

	mu   sync.Mutex
	on   bool
	r    rings
	wait [maxDepth]chan<- answer // by slot; nil: nobody waits any more
}

type answer struct {
	result uint32
	err    error
}

// do has the device do a command, and returns the first word of its completion. The error
// may wrap ErrTimeout; the command is the device's until that was reset then.
func (a *admin) do(cmd *command) (uint32, error) {
	a.turn.Lock()
	defer a.turn.Unlock()
	ch := make(chan answer, 1)
	a.mu.Lock()
	if !a.on || len(a.r.free) == 0 {
		a.mu.Unlock()
		return 0, fmt.Errorf("admin command %#x: %w", cmd.op, ErrTimeout)
	}
	slot := a.r.take()
	a.wait[slot] = ch
	a.r.put(slot, cmd)
	a.mu.Unlock()
	limit := time.NewTimer(a.c.limits.admin)
	defer limit.Stop()
	var err error
	select {
	case x := <-ch:
		if x.err == nil {
			return x.result, nil
		}
		err = x.err
	case <-limit.C:
		a.mu.Lock()
		a.wait[slot] = nil
		a.mu.Unlock()
		err = ErrTimeout
	}
	return 0, fmt.Errorf("admin command %#x: %w", cmd.op, err)
}

// interrupt takes what the device has done.
func (a *admin) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := false
	for a.on {
		slot, result, status, ok, err := a.r.next()
		if err != nil {
			a.c.report(err)
		}
		if !ok {
			break
		}
		took = true
		if ch := a.wait[slot]; ch != nil {
			ch <- answer{result, statusOf(status)}
		}
		a.wait[slot] = nil
		a.r.give(slot)
	}
	if took {
		a.r.taken()
	}
}

// halt keeps interrupts from reaching for queues that are about to go.
func (a *admin) halt() {
	a.mu.Lock()
	a.on = false
	a.mu.Unlock()
}

// set makes the queues empty and lets them work, or ends what is in flight. Preconditions:
// the device does not use them.
func (a *admin) set(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.r.reset()
	a.on = on
	for i, ch := range a.wait {
		if ch != nil {
			ch <- answer{err: ErrTimeout}
			a.wait[i] = nil
		}
	}
}

// release gives the memory back. Preconditions: the device does not reach it.
func (a *admin) release() {
	a.r.release()
	if a.page != 0 {
		a.c.host.Free(a.page, 0)
		a.page = 0
	}
}

// identify has the device describe itself or a namespace, in the frame that it returns.
func (a *admin) identify(what, nsid uint32) (mm.Page, error) {
	p := a.c.host.Page(a.page)
	p.Clear()
	_, err := a.do(&command{op: adminIdentify, nsid: nsid, data: [2]uint64{a.c.host.DMA(a.page)}, words: [3]uint32{what}})
	return p, err
}

// create makes an I/O queue pair.
func (a *admin) create(q *ioQueue) error {
	which := uint32(q.index) | uint32(q.r.depth-1)<<16
	for _, c := range []command{
		{op: adminCreateCQ, data: [2]uint64{a.c.host.DMA(q.r.frames[1])}, words: [3]uint32{which, queueInPiece | queueTells | uint32(q.index)<<16}},
		{op: adminCreateSQ, data: [2]uint64{a.c.host.DMA(q.r.frames[0])}, words: [3]uint32{which, queueInPiece | uint32(q.index)<<16}},
	} {
		if _, err := a.do(&c); err != nil {
			return fmt.Errorf("making queue %d: %w", q.index, err)
		}
	}
	return nil
}
