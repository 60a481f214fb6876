package virtionet

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"nidus/drivers/virtio"
	"nidus/mm"
)

// Commands (section 5.1.6.5): the class and what is to be done.
const (
	classRx        = 0
	rxPromiscuous  = 0
	classQueues    = 4
	queuesSetPairs = 0

	commandOK = 0
)

// control is the queue of commands. Its zero value is none.
type control struct {
	c     *Card
	mu    sync.Mutex
	q     *virtio.Queue
	frame mm.MFN
	page  mm.Page
	ends  chan error // of the one command that there is
}

// answer is when a card has to have done a command: far longer than any takes.
const answer = 5 * time.Second

// setup takes queue number index, or the last one, if the card has fewer.
func (k *control) setup(c *Card, index int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := c.host.Alloc(0, mm.ZoneAny)
	if err != nil {
		return err
	}
	k.c, k.frame, k.page, k.ends = c, m, c.host.Page(m), make(chan error, 1)
	k.q, err = c.dev.QueueOn(virtio.QueueOptions{Index: index, Size: 8, Vector: 0})
	return err
}

// do has the card carry out a command.
func (k *control) do(class, what uint8, data ...byte) error {
	const result, none = 64, 0xff
	k.mu.Lock()
	k.page.Write(0, append([]byte{class, what}, data...))
	k.page.Store8(result, none)
	at := k.c.host.DMA(k.frame)
	_, ok := k.q.Add([]virtio.Buffer{{Addr: at, Len: 2}, {Addr: at + 2, Len: uint32(len(data))}, {Addr: at + result, Len: 1, Write: true}})
	if ok {
		k.q.Kick()
	}
	k.mu.Unlock()
	if !ok {
		return fmt.Errorf("there is no room for a command: %w", virtio.ErrUnusable)
	}
	select {
	case err := <-k.ends:
		if err != nil {
			return err
		}
	case <-time.After(answer):
		return fmt.Errorf("it did not carry out command %d.%d within %v: %w", class, what, answer, virtio.ErrUnusable)
	}
	if s := k.page.Load8(result); s != commandOK {
		return fmt.Errorf("it answers %#x to command %d.%d: %w", s, class, what, virtio.ErrUnusable)
	}
	return nil
}

// interrupt takes the command that the card has done.
func (k *control) interrupt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.q == nil {
		return
	}
	for {
		_, _, ok, err := k.q.Next()
		if ok || err != nil {
			k.end(err)
		}
		if !ok && (err != nil || k.q.Rearm()) {
			return
		}
	}
}

func (k *control) end(err error) {
	select {
	case k.ends <- err:
	default: // nobody waits any more
	}
}

// stop ends a command that somebody waits for.
func (k *control) stop() {
	k.mu.Lock()
	if k.q != nil {
		k.end(errors.New("the card is gone"))
	}
	k.q = nil
	k.mu.Unlock()
}

// free gives the memory back, if ok. Preconditions: stop, and the device was closed.
func (k *control) free(ok bool) {
	if ok && !k.page.IsZero() {
		k.c.host.Free(k.frame, 0)
		k.page = mm.Page{}
	}
}

// command tells the card what it has to know to begin.
func (c *Card) command(pairs int) error {
	if c.features&featQueues != 0 && pairs > 1 {
		if err := c.control.do(classQueues, queuesSetPairs, byte(pairs), byte(pairs>>8)); err != nil {
			return err
		}
	}
	if c.features&featControlRx != 0 {
		// What a bridge's guests get is not sent to the card's own address.
		return c.control.do(classRx, rxPromiscuous, 1)
	}
	return nil
}
