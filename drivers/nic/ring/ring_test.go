package ring

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/pci/pcitest"
	"nidus/mm"
)

// fake is a chip that does what the test says. The test is alone with it.
type fake struct {
	slots    [sendSlots]bool // that were put, and not sent
	sent     []int           // last slots of frames that are done
	put      int             // slots of each frame
	came     []Came
	posted   []int
	freed    int
	starts   int
	onStart  func()
	absent   bool
	down     bool // no link
	resetErr error
}

const sendSlots, receiveSlots = 64, 16

func (f *fake) Put(slot int, _ *link.Frame) int {
	for i := range f.put {
		at := (slot + i) % sendSlots
		if f.slots[at] {
			panic("a slot is used that the card has")
		}
		f.slots[at] = true
	}
	return f.put
}

func (f *fake) Kick(int) {}

func (f *fake) Sent(slot int) bool {
	i := slices.Index(f.sent, slot)
	if i < 0 {
		return false
	}
	f.sent = slices.Delete(f.sent, i, i+1)
	for i := range f.put {
		f.slots[(slot-i+sendSlots)%sendSlots] = false
	}
	return true
}

func (f *fake) Post(slot int, _ uint64) {}
func (f *fake) Posted(slot int)         { f.posted = append(f.posted[:0], slot) }
func (f *fake) Came(int) (Came, bool) {
	if len(f.came) == 0 {
		return Came{}, false
	}
	c := f.came[0]
	f.came = f.came[1:]
	return c, true
}
func (f *fake) Rearm() {}
func (f *fake) Start() {
	f.starts++
	if f.onStart != nil {
		f.onStart()
	}
}
func (f *fake) Link() bool   { return !f.down }
func (f *fake) Absent() bool { return f.absent }
func (f *fake) Reset() error { return f.resetErr }
func (f *fake) Free()        { f.freed++ }

var address = link.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func fakeCard(t *testing.T, f *fake) (*Card, *devicetest.Host, *pcitest.Function, *devicetest.Log) {
	h, log := &devicetest.Host{}, &devicetest.Log{}
	p := &pcitest.Function{Host: h, ID: 0x12348086, Window: 4096}
	c, err := New(f, Options{Host: h, Function: p.Start(), Kind: "fake", Send: sendSlots, Receive: receiveSlots, Log: log.Printf,
		Info: link.Info{Name: "eth3", MAC: address, MTU: 1500, Take: link.Offloads{Gather: link.MaxSegments}}})
	if err != nil {
		t.Fatal(err)
	}
	c.begin() // without a keeper
	return c, h, p, log
}

// TestOrder sends frames of several slots around the ring several times: those that are done
// out of turn wait for the one before them, and none is lost.
func TestOrder(t *testing.T) {
	f := &fake{put: 7}
	c, h, _, _ := fakeCard(t, f)
	s := nictest.NewSender(t, h, 1)
	ended := 0
	next := 0 // slot
	var order []int
	for round := range 50 {
		var batch []*link.Frame
		const fit = (sendSlots - MostSlots) / 7
		for range fit + 3 {
			g, _ := s.Frame(link.Whole, 100)
			done := g.Done
			g.Done = func(g *link.Frame) { ended++; done(g) }
			batch = append(batch, g)
		}
		c.Send(batch)
		flying := (round+1)*(fit+3) - ended
		if flying < fit || flying > fit+1 {
			t.Fatalf("round %d: %d are in flight", round, flying)
		}
		order = order[:0]
		for range flying {
			next += 7
			order = append(order, (next-1)%sendSlots)
		}
		was := ended
		f.sent = append([]int{}, order[1:]...)
		c.Interrupt()
		if ended != was {
			t.Fatalf("round %d: a frame is done before its turn", round)
		}
		f.sent = append(f.sent, order[0])
		if c.Interrupt(); ended != was+flying {
			t.Fatalf("round %d: %d of %d are done", round, ended-was, flying)
		}
	}
	if err := c.Close(); err != nil || f.freed != 1 || h.Frames() != 0 {
		t.Error(err, f.freed, h.Frames())
	}
}

// TestNoBuffers has a receiver keep all frames: what comes then is dropped, and after it
// gave them back all is well. Close waits for it.
func TestNoBuffers(t *testing.T) {
	f := &fake{}
	c, h, _, _ := fakeCard(t, f)
	var kept []*link.Frame
	c.Receive(func(frames []*link.Frame) { kept = append(kept, frames...) })
	const over = 300
	for range lendable + over {
		f.came = append(f.came, Came{Len: 60})
	}
	c.Interrupt()
	if s := c.Stats(); len(kept) != lendable || s.NoBuffer != over {
		t.Errorf("%d frames, %+v", len(kept), s)
	}
	if f := kept[0]; f.Buffers != 1 || !f.Lender.Keep(0, lendable/4) || f.Lender.Keep(0, lendable/4) {
		t.Errorf("%d buffers of %+v", f.Buffers, f.Lender)
	}
	kept[0].Done(kept[0])
	kept = kept[1:]
	f.came = append(f.came, Came{Len: 60}, Came{Len: 60})
	if c.Interrupt(); len(kept) != lendable || c.Stats().NoBuffer != over+1 {
		t.Errorf("%d frames, %+v", len(kept), c.Stats())
	}
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the frames")
	case <-time.After(20 * time.Millisecond):
	}
	for _, g := range kept {
		g.Done(g)
	}
	if err := <-closed; err != nil || h.Frames() != 0 {
		t.Error(err, h.Frames())
	}
}

// TestLost gives cards up that are gone, or broken, or can't even be reset.
func TestLost(t *testing.T) {
	broken := errors.New("broken")
	for _, x := range []struct {
		name     string
		absent   bool
		reset    error
		left     int // frames of memory that the card may still write
		resetErr error
	}{{"reset", false, nil, 0, nil}, {"absent", true, broken, 0, nil}, {"not reset", false, broken, receiveSlots, broken}} {
		f := &fake{put: 1, resetErr: x.reset}
		c, h, p, log := fakeCard(t, f)
		f.absent = x.absent
		s := nictest.NewSender(t, h, 1)
		for range 5 {
			g, _ := s.Frame(link.Whole, 1500)
			c.Send([]*link.Frame{g})
		}
		c.Lose(errors.New("it smokes"))
		c.Lose(errors.New("it burns"))
		s.Out.Wait()
		if err := c.Close(); err != x.resetErr {
			t.Errorf("%s: %v", x.name, err)
		}
		if h.Frames() != x.left || p.Master() {
			t.Errorf("%s: %d frames are in use, master %v", x.name, h.Frames(), p.Master())
		}
		if got := log.String(); got != "eth3, fake at 00:00.0: it smokes; it is not used any more\n" && x.resetErr == nil {
			t.Errorf("%s: the log says %q", x.name, got)
		}
	}
}

// TestStuck has cards that do not send: they are reset, sooner without a link, and given up
// when that does not help.
func TestStuck(t *testing.T) {
	f := &fake{put: 3}
	c, h, _, log := fakeCard(t, f)
	s := nictest.NewSender(t, h, 1)
	f.onStart = func() { // those who sent don't know that it was reset yet, and can't put anything into its ring
		g, _ := s.Frame(link.Whole, 1500)
		done := g.Done
		dropped := false
		g.Done = func(g *link.Frame) { dropped = true; done(g) }
		c.Send([]*link.Frame{g})
		if !dropped {
			t.Error("the card has a frame before it is started")
		}
	}
	send := func() {
		g, _ := s.Frame(link.Whole, 1500)
		c.Send([]*link.Frame{g})
	}
	ticks := func(n, starts int) {
		t.Helper()
		for range n {
			c.Look()
			c.watch()
		}
		if f.starts != starts {
			t.Errorf("started %d times, want %d; log %q", f.starts, starts, log)
		}
	}
	f.slots = [sendSlots]bool{}
	ticks(100, 1) // there is nothing to send
	send()
	ticks(patience-1, 1)
	f.sent = []int{2}
	c.Interrupt() // it was slow only
	s.Out.Wait()
	send()
	ticks(patience, 1) // the first tick sees the frame before
	f.down = true
	ticks(1, 2)
	s.Out.Wait()
	f.slots = [sendSlots]bool{}
	send()
	ticks(downPatience-1, 2)
	ticks(1, 3)
	s.Out.Wait()
	f.down = false
	for i := range mostResets {
		f.slots = [sendSlots]bool{}
		send()
		ticks(patience, 4+i)
		s.Out.Wait()
	}
	if up, _ := c.Up(); !up || strings.Count(log.String(), "it is reset\n") != mostResets {
		t.Errorf("up %v, log %q", up, log)
	}
	f.slots = [sendSlots]bool{}
	send()
	ticks(patience, 3+mostResets)
	s.Out.Wait()
	if up, _ := c.Up(); up || !strings.Contains(log.String(), "not used any more") {
		t.Errorf("up %v, log %q", up, log)
	}
	if err := c.Close(); err != nil || h.Frames() != 0 {
		t.Error(err, h.Frames())
	}
}

// TestNoAddress has addresses that no card can have.
func TestNoAddress(t *testing.T) {
	for _, a := range []link.MAC{{}, {1, 2, 3, 4, 5, 6}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		h := &devicetest.Host{}
		p := &pcitest.Function{Host: h, ID: 0x12348086, Window: 4096}
		if _, err := New(&fake{}, Options{Host: h, Function: p.Start(), Info: link.Info{MAC: a}, Send: sendSlots, Receive: receiveSlots}); !errors.Is(err, ErrUnusable) || h.Frames() != 0 {
			t.Error(a, err, h.Frames())
		}
	}
}

// TestNoMemory has too little for the buffers.
func TestNoMemory(t *testing.T) {
	h := &devicetest.Host{Most: receiveSlots - 1}
	p := &pcitest.Function{Host: h, ID: 0x12348086, Window: 4096}
	if _, err := New(&fake{}, Options{Host: h, Function: p.Start(), Info: link.Info{MAC: address}, Send: sendSlots, Receive: receiveSlots}); !errors.Is(err, mm.ErrNoMemory) || h.Frames() != 0 {
		t.Error(err, h.Frames())
	}
}

// TestAllocations shows that frames cost no memory of Go's heap.
func TestAllocations(t *testing.T) {
	f := &fake{put: 1, sent: make([]int, 0, 8)}
	c, h, _, _ := fakeCard(t, f)
	m, _ := h.Alloc(0, mm.ZoneAny)
	g := &link.Frame{Head: h.Page(m).Bytes(0, 60), HeadAt: link.Segment{Frame: m, Len: 60}, Done: func(*link.Frame) {}}
	batch := []*link.Frame{g}
	c.Receive(func(frames []*link.Frame) {
		for _, f := range frames {
			f.Done(f)
		}
	})
	slot := 0
	came := []Came{{Len: 1000}}
	if n := testing.AllocsPerRun(1000, func() {
		c.Send(batch)
		f.sent = append(f.sent, slot)
		slot = (slot + 1) % sendSlots
		f.came = came
		c.Interrupt()
	}); n != 0 {
		t.Errorf("%v allocations for a frame sent and one received", n)
	}
	if s := c.Stats(); s.SentFrames != 1001 || s.ReceivedFrames != 1001 {
		t.Errorf("%+v", s)
	}
}
