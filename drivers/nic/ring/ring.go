// Package ring makes a link.Port of a network card whose queues are two rings of
// descriptors, one for each direction, as most cards have had them since the nineties. A
// card's own driver is a Chip: its registers, and how its descriptors look.
//
// Frames are sent from where they are and come in where they stay; nothing is copied. What
// a card says is done is believed of the next frame in turn only, and what it says of a
// frame is checked; so a broken card can lose frames, but not confuse the driver. It can
// still write anywhere by DMA, as long as there is no IOMMU.
package ring

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/pci"
	"nidus/mm"
)

// Chip is a card's own driver. Those of its methods that are about sending are called one
// at a time, and so are those about receiving.
type Chip interface {
	// Put writes the descriptors of a frame that is nic.Sendable, from a slot on, which
	// are all the driver's; it returns how many there are, MostSlots at most, or 0: the
	// card can't send that one. The card may begin at once, or when it is told to.
	Put(slot int, f *link.Frame) (slots int)
	// Kick tells the card that there is something to send, in the slots before one.
	Kick(slot int)
	// Sent tells whether the card is done with a frame, of which slot is the last.
	Sent(slot int) bool

	// Post gives a slot a buffer of nic.BufferSize bytes at an address for the device.
	Post(slot int, addr uint64)
	// Posted tells the card that the slots before one have buffers again.
	Posted(slot int)
	// Came tells what the card has put into a slot; ok is false as long as that is nothing.
	Came(slot int) (c Came, ok bool)

	// Rearm asks for an interrupt when there is more: what is done by now may be
	// told once more, but may not be forgotten.
	Rearm()

	// Link tells whether there is a link.
	Link() bool
	// Absent tells whether the card's registers read as ones, as if it were not there.
	Absent() bool
	// Start has a card begin that was reset, with what its rings have from slot 0 on.
	Start()
	// Reset takes everything from the card: afterwards it reaches no memory.
	Reset() error
	// Free gives the descriptors back. Preconditions: Reset, or the card is not there.
	Free()
}

// Came is a frame that came in, as the card tells it.
type Came struct {
	Len      int // without the FCS
	Checksum link.Checksum
	Bad      bool // there was an error, or this is only a part of a frame
}

// MostSlots is how many descriptors a frame has at most: its head, its segments, and one
// that says what is to be done with it.
const MostSlots = link.MaxSegments + 2

// lendable is how many buffers those have who take frames, at most: 4 MiB.
const lendable = 1024

// ErrUnusable says that a card can't be used; what it wraps or is wrapped in says why.
var ErrUnusable = errors.New("this network card can't be used")

// Options are what a Card is made of.
type Options struct {
	Host     device.Host
	Function *pci.Function
	Info     link.Info
	Kind     string // of the card, for the log: e1000e
	Send     int    // slots of the ring
	Receive  int
	Log      func(format string, args ...any)
}

// Card is a link.Port.
type Card struct {
	nic.State
	o    Options
	name string // with the place, for the log
	chip Chip
	pool *nic.Pool
	tx   transmitter
	rx   receiver
	run  sync.Mutex // held by who takes what the card has done

	started bool // under run
	keeper  keeper
	gone    atomic.Bool
	ended   chan struct{} // closed by stop
	once    sync.Once
	closed  sync.Once
	resets  error
}

var _ link.Port = (*Card)(nil)

// Map maps a card's registers, which are in a BAR of its function. The error wraps
// ErrUnusable or those of package pci.
func Map(h device.Host, f *pci.Function, bar int, size uint64) (device.Registers, error) {
	b, err := f.Memory(bar)
	if err != nil {
		return nil, err
	}
	if b.Size < size {
		return nil, fmt.Errorf("its registers are %d bytes: %w", b.Size, ErrUnusable)
	}
	return h.Map(b.Addr, size)
}

// New makes a card of a chip that is reset and has its descriptors, and gives it buffers
// for what comes in; Begin is to be called then. The error wraps ErrUnusable, if the card has no
// address, or mm.ErrNoMemory, and the chip is the caller's to reset and free.
func New(chip Chip, o Options) (*Card, error) {
	if a := o.Info.MAC; a[0]&1 != 0 || a == (link.MAC{}) {
		return nil, fmt.Errorf("it has no address of Ethernet, but %v: %w", a, ErrUnusable)
	}
	c := &Card{o: o, name: fmt.Sprintf("%s, %s at %v", o.Info.Name, o.Kind, o.Function.Address), chip: chip, ended: make(chan struct{})}
	c.pool = nic.NewPool(o.Host, o.Receive, lendable)
	c.tx = transmitter{chip: chip, flying: make([]flight, o.Send)}
	c.tx.Sender = nic.Sender{Counts: &c.Counts, Info: &c.o.Info, Queue: &c.tx}
	c.rx = receiver{c: c, bufs: make([]*nic.Buffer, o.Receive)}
	if !c.rx.fill() {
		c.rx.abandon()
		c.pool.Free()
		return nil, fmt.Errorf("buffers for what comes in: %w", mm.ErrNoMemory)
	}
	return c, nil
}

// Begin has the card work. Its interrupts have their handlers.
func (c *Card) Begin() {
	c.begin()
	go c.keep()
}

func (c *Card) begin() {
	c.run.Lock()
	defer c.run.Unlock()
	c.o.Function.SetMaster(true)
	c.chip.Start()
	c.SetUp(c.chip.Link())
	c.started = true
}

// Interrupt takes what the card has done. It is for interrupts' handlers.
func (c *Card) Interrupt() {
	for {
		c.run.Lock()
		if c.gone.Load() {
			c.run.Unlock()
			return
		}
		sending, _ := c.tx.Interrupt() // it has no errors
		receiving := c.rx.interrupt()
		more := sending || receiving
		if !more {
			c.chip.Rearm()
		}
		c.run.Unlock()
		if !more {
			return
		}
	}
}

// Look reads whether there is a link, and says so if that is news.
func (c *Card) Look() {
	if c.absent() {
		c.Lose(errors.New("it does not answer any more"))
		return
	}
	c.run.Lock()
	defer c.run.Unlock()
	if !c.started {
		return
	}
	up := c.chip.Link() && !c.gone.Load()
	if c.SetUp(up) {
		c.o.Log("%s: the link is %s", c.name, map[bool]string{true: "up", false: "down"}[up])
	}
}

// absent tells whether the card is not there any more.
func (c *Card) absent() bool { return c.chip.Absent() || !c.o.Function.Present() }

// Poll stands in for the interrupts of a card that has none: it looks for what the card
// has done every now and then, more often while there is something, until Close.
func (c *Card) Poll() {
	const (
		often   = 250 * time.Microsecond
		seldom  = 2 * time.Millisecond
		quiet   = 20 * time.Millisecond // without a frame, until it looks seldom
		looking = 500 * time.Millisecond
	)
	seen := func() uint64 { return c.SentFrames.Load() + c.ReceivedFrames.Load() + c.ReceivedDropped.Load() }
	every := time.NewTimer(often)
	defer every.Stop()
	last, busy, looked := seen(), time.Now(), time.Now()
	for {
		select {
		case <-c.ended:
			return
		case now := <-every.C:
			c.Interrupt()
			if n := seen(); n != last {
				last, busy = n, now
			}
			if now.Sub(looked) >= looking {
				looked = now
				c.Look()
			}
			if now.Sub(busy) < quiet {
				every.Reset(often)
			} else {
				every.Reset(seldom)
			}
		}
	}
}

// Lose gives the card up: what is in flight ends, and what comes is dropped.
func (c *Card) Lose(why error) {
	c.once.Do(func() {
		c.gone.Store(true)
		c.SetUp(false)
		c.o.Log("%s: %v; it is not used any more", c.name, why)
		if err := c.stop(); err != nil {
			c.o.Log("%s: %v", c.name, err)
		}
	})
}

// stop resets the card and ends what it had.
func (c *Card) stop() error {
	c.closed.Do(func() {
		close(c.ended)
		c.tx.Stop()
		c.run.Lock() // until an interrupt's handler has ended; the next one sees gone
		defer c.run.Unlock()
		if !c.absent() {
			c.resets = c.chip.Reset()
		}
		c.o.Function.SetMaster(false)
		if c.resets != nil && c.absent() {
			c.resets = nil
		}
		// A card that can't be reset is no master of the bus any more, but what it may
		// still write isn't used again.
		if c.resets == nil {
			c.chip.Free()
			c.rx.abandon()
		}
		c.tx.Abandon(c.tx.clear())
	})
	return c.resets
}

// Info implements link.Port.
func (c *Card) Info() link.Info { return c.o.Info }

// Send implements link.Port.
func (c *Card) Send(frames []*link.Frame) { c.tx.Send(frames) }

// Close implements link.Port. It waits for those who have frames that came in; a Receiver
// can't call it.
func (c *Card) Close() error {
	c.gone.Store(true)
	c.SetUp(false)
	err := c.stop()
	c.pool.Drain()
	c.pool.Free()
	return err
}
