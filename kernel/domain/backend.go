package domain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/xenabi"
	"nidus/kernel/xenstore"
	"nidus/mm"
)

// backends are the hypervisor's ends of the guest's console and xenstore rings.
// An event only wakes a goroutine; the work is done there.
type backends struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup
	console *console.Ring
	input   chan struct{} // room in, or data from, the console ring
	pins    []mm.GFN
	ports   []uint32 // of Dom0

	mu      sync.Mutex
	pushing []byte // input that the guest has no room for yet
	send    func() error
}

// maxInput bounds console input that the guest doesn't read, in bytes.
const maxInput = 16 << 10

// Connect makes the console and xenstore rings of the pages at the two guest
// frames, which are memory, and returns the guest's event channels for them.
func (d *Domain) Connect(consoleGFN, storeGFN mm.GFN) (consolePort, storePort uint32, err error) {
	b := &d.pv
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	pin := func(g mm.GFN) (mm.Page, error) {
		pg, err := d.Space.Pin(g)
		if err == nil {
			b.pins = append(b.pins, g)
		}
		return pg, err
	}
	cp, err := pin(consoleGFN)
	if err != nil {
		return 0, 0, fmt.Errorf("console ring: %w", err)
	}
	// As Xen's tools do: a backend elsewhere would reach the rings by these.
	if err := d.Grants.SetReserved(xenabi.GnttabReservedConsole, d.Host.Dom0.ID(), consoleGFN); err != nil {
		return 0, 0, fmt.Errorf("console ring: %w", err)
	}
	if err := d.Grants.SetReserved(xenabi.GnttabReservedXenstore, d.Host.Dom0.ID(), storeGFN); err != nil {
		return 0, 0, fmt.Errorf("xenstore ring: %w", err)
	}
	b.console = console.NewRing(cp)
	b.input = make(chan struct{}, 1)
	consoleEnd, consolePort, err := d.bind(func() { poke(b.input) })
	if err != nil {
		return 0, 0, fmt.Errorf("console event channel: %w", err)
	}
	b.send = func() error { return d.Host.Dom0.Send(consoleEnd) }
	b.workers.Go(func() { d.serveConsole(ctx) })

	sp, err := pin(storeGFN)
	if err != nil {
		return 0, 0, fmt.Errorf("xenstore ring: %w", err)
	}
	work := make(chan struct{}, 1)
	storeEnd, storePort, err := d.bind(func() { poke(work) })
	if err != nil {
		return 0, 0, fmt.Errorf("xenstore event channel: %w", err)
	}
	full := make(chan struct{}, 1)
	notify := func() { d.Host.Dom0.Send(storeEnd) }
	r, err := d.Host.Store.Introduce(d.ID, sp, func(isFull bool) {
		if notify(); isFull {
			poke(full)
		}
	})
	if err != nil {
		return 0, 0, fmt.Errorf("xenstore: %w", err)
	}
	poke(work)
	b.workers.Go(func() { serveStore(ctx, r, work, full, notify, d.passes(), lookAgain) })
	return consolePort, storePort, nil
}

// bind makes an event channel between the guest and the hypervisor.
func (d *Domain) bind(fn func()) (local, guest uint32, err error) {
	if guest, err = d.Events.AllocUnbound(d.Host.Dom0.ID()); err != nil {
		return 0, 0, err
	}
	if local, err = d.Host.Dom0.BindLocal(d.ID, guest, fn); err != nil {
		return 0, 0, err
	}
	d.pv.ports = append(d.pv.ports, local)
	return local, guest, nil
}

// poke says that there is work, without waiting.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lookAgain is how long after it was signalled a guest's ring is looked at once more (xenstore.Ring.Poll).
const lookAgain = time.Millisecond

// serveStore does what the guest asks for when it signals (work), and looks once more at a time again after
// whatever was put into its ring; full says that events were which left no room.
func serveStore(ctx context.Context, r *xenstore.Ring, work, full <-chan struct{}, notify func(), passes *console.Bucket, again time.Duration) {
	look := time.NewTimer(again)
	defer look.Stop()
	armed, since := true, true // look runs; something was put into the ring since it does
	for {
		said := false
		select {
		case <-ctx.Done():
			return
		case <-full:
			said = true
		case <-work:
		case <-look.C:
			armed, said = false, since
			since = false
		}
		for more := true; more && pace(ctx, passes); {
			var reply bool
			if reply, more = r.Poll(); reply {
				notify()
				said = true
			}
		}
		switch {
		case !said:
		case armed:
			since = true
		default:
			look.Reset(again)
			armed = true
		}
	}
}

// A guest's backend does so many passes a second, and at once: what a guest floods
// its rings with costs the host no more. A pass moves at most a ring's content, so
// that it bounds what a guest prints to 4 MB/s; the guest waits then.
const (
	passRate  = 2000
	passBurst = 200
)

// pace ends a wait for the next pass; false: ctx has ended.
func pace(ctx context.Context, b *console.Bucket) bool {
	for b.Take(1) == 0 {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second / passRate):
		}
	}
	return true
}

func (d *Domain) passes() *console.Bucket {
	return console.NewBucket(passRate, passBurst, func() time.Duration { return time.Duration(d.Host.Clock.Now()) })
}

func (d *Domain) serveConsole(ctx context.Context) {
	var buf [2048]byte // as large as the ring
	b, passes := &d.pv, d.passes()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.input:
		}
		if !pace(ctx, passes) {
			return
		}
		moved := b.console.Drain(buf[:])
		if moved > 0 {
			d.Console.Write(buf[:moved])
		}
		if moved == len(buf) {
			poke(b.input) // there may be more
		}
		b.mu.Lock()
		n := b.console.Push(b.pushing)
		b.pushing = b.pushing[n:]
		if len(b.pushing) == 0 {
			b.pushing = nil
		}
		b.mu.Unlock()
		if moved+n > 0 {
			b.send()
		}
	}
}

// Input types into the guest's console; it returns how many bytes it took: a
// guest that doesn't read takes no more than a quota.
func (d *Domain) Input(p []byte) int {
	b := &d.pv
	if b.console == nil {
		return 0
	}
	b.mu.Lock()
	n := min(len(p), maxInput-len(b.pushing))
	b.pushing = append(b.pushing, p[:n]...)
	b.mu.Unlock()
	poke(b.input)
	return n
}

// close takes everything back. The vcpus don't run any more.
func (b *backends) close(d *Domain) {
	if b.cancel == nil {
		return
	}
	b.cancel()
	b.workers.Wait()
	if b.console != nil { // what the guest wrote last
		var buf [2048]byte
		for n := b.console.Drain(buf[:]); n > 0; n = b.console.Drain(buf[:]) {
			d.Console.Write(buf[:n])
		}
	}
	d.Host.Store.Release(d.ID)
	for _, p := range b.ports {
		d.Host.Dom0.CloseLocal(p)
	}
	for _, g := range b.pins {
		d.Space.Unpin(g)
	}
}
