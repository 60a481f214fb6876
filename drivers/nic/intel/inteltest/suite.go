package inteltest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"testing"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/nic/ring"
	"nidus/drivers/pci"
	"nidus/mm"
)

// Kind is a kind of card.
type Kind struct {
	Name    string
	ID      uint16
	Vectors int // of MSI-X
	MSI     bool
	Six     bool // it cuts TCP on IPv6: those for PCI Express do
}

// Driver is what is tested.
type Driver struct {
	Kinds  []Kind // the first has MSI-X, and cuts all
	Family func(id uint16) Family
	Is     func(f *pci.Function) bool
	Open   func(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (*ring.Card, error)
	// Good is the status of a whole frame, Sound of one whose sum is right, too.
	Good, Sound uint64
	// Sums are where sums are in headers that the card does; nil: anywhere.
	Sums []uint16
}

// Start opens a card of a kind, after change.
func (d *Driver) Start(t *testing.T, k Kind, change func(*Card)) (*ring.Card, *Card, *devicetest.Log, error) {
	t.Helper()
	c := &Card{Family: d.Family(k.ID), ID: k.ID, Host: &devicetest.Host{}, Sent: func([]byte) {}}
	c.PCI.Vectors, c.PCI.MSI, c.Express = k.Vectors, k.MSI, k.Six
	if change != nil {
		change(c)
	}
	f := c.Function()
	if !d.Is(f) {
		t.Fatalf("%s is not known", k.Name)
	}
	t.Cleanup(c.Close)
	log := &devicetest.Log{}
	p, err := d.Open(c.Host, f, "eth7", log.Printf)
	return p, c, log, err
}

// Up is Start for a card that there is nothing wrong with.
func (d *Driver) Up(t *testing.T, k Kind) (*ring.Card, *Card, *devicetest.Log) {
	t.Helper()
	p, c, log, err := d.Start(t, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, c, log
}

// Test does with a card of each kind what is the same for all families.
func (d *Driver) Test(t *testing.T) {
	for _, k := range d.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Run("Info", func(t *testing.T) { d.info(t, k) })
			t.Run("Echo", func(t *testing.T) { d.echo(t, k) })
			t.Run("Link", func(t *testing.T) { d.link(t, k) })
			t.Run("Scribble", func(t *testing.T) { d.scribble(t, k) })
			t.Run("Unplugged", func(t *testing.T) { d.unplugged(t, k) })
		})
	}
	t.Run("Cut", d.cut)
	t.Run("Stuck", d.stuck)
	t.Run("Unusable", d.unusable)
}

func (d *Driver) info(t *testing.T, k Kind) {
	p, _, log := d.Up(t, k)
	want := link.Info{Name: "eth7", MAC: link.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, MTU: 1500,
		Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: k.Six, Gather: link.MaxSegments}}
	if p.Info() != want {
		t.Errorf("%+v, want %+v", p.Info(), want)
	}
	if up, _ := p.Up(); !up {
		t.Error("the link is down")
	}
	if err := p.Close(); err != nil || log.String() != "" {
		t.Error(err, log)
	}
}

// echo sends frames that come back.
func (d *Driver) echo(t *testing.T, k Kind) {
	p, c, log := d.Up(t, k)
	sent, end := nictest.Loop(func(b []byte) bool { return c.Input(b, d.Sound) })
	defer end()
	c.Set(func() { c.Sent = sent })
	nictest.Echo(t, p, c.Host, link.Verified, d.Sums...)
	if log.String() != "" {
		t.Errorf("the log says %q", log)
	}
}

// link turns the link off and on, and then the card is pulled out with frames in flight.
func (d *Driver) link(t *testing.T, k Kind) {
	p, c, log := d.Up(t, k)
	nictest.UpDown(t, p, log, c.Link)
	c.Set(func() { c.Hold = true })
	nictest.PullOut(t, p, c.Host, log, func() { c.Set(func() { c.Gone = true }) })
}

// scribble has a broken card write anything into all descriptors of both rings: frames are lost,
// and what came in is anything, but each is given back once.
func (d *Driver) scribble(t *testing.T, k Kind) {
	p, c, _ := d.Up(t, k)
	p.Receive(func(frames []*link.Frame) {
		for _, f := range frames {
			if n := f.Len(); n < link.HeaderSize || n > 1518 {
				t.Errorf("a frame of %d bytes", n)
			}
			f.Done(f)
		}
	})
	c.Set(func() { c.Hold = true })
	s := nictest.NewSender(t, c.Host, 2)
	for range 100 {
		f, _ := s.Frame(link.Whole, 60+s.Rnd.IntN(1458))
		g, _ := s.Packet(link.TCPv4, false, 1+s.Rnd.IntN(65000))
		p.Send([]*link.Frame{f, g})
		c.Scribble(func() uint64 {
			if s.Rnd.IntN(2) == 0 {
				return c.Came(s.Rnd.IntN(2000), d.Good)
			}
			return s.Rnd.Uint64()
		})
		p.Interrupt()
	}
	if st := p.Stats(); st.SentFrames == 0 || st.ReceivedFrames == 0 || st.ReceivedBad == 0 {
		t.Errorf("%+v", st)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	s.Out.Wait()
	if n := c.Host.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
}

// unplugged has the cable pulled out and put in again.
func (d *Driver) unplugged(t *testing.T, k Kind) {
	t.Parallel()
	p, c, _ := d.Up(t, k)
	sent := make(chan []byte, 1000)
	c.Set(func() { c.Sent = func(b []byte) { sent <- bytes.Clone(b) } })
	nictest.Unplugged(t, p, c.Host, func(on bool) { c.Set(func() { c.Hold = on }) }, c.Link, sent)
}

// cut has the card cut frames of TCP, and looks at the pieces.
func (d *Driver) cut(t *testing.T) {
	wire := make(chan []byte, 1000)
	p, c, _ := d.Up(t, d.Kinds[0])
	c.Set(func() { c.Sent = func(b []byte) { wire <- b } })
	s := nictest.NewSender(t, c.Host, 1)
	be := binary.BigEndian
	for i := range 200 {
		kind, tag := link.TCPv4, i&1 != 0
		if i&2 != 0 {
			kind = link.TCPv6
		}
		f, want := s.Packet(kind, tag, 1+s.Rnd.IntN(65000))
		tcp := int(f.CsumStart)
		data := want[tcp+32:]
		p.Send([]*link.Frame{f})
		s.Out.Wait()
		var got []byte
		for len(got) < len(data) {
			var b []byte
			select {
			case b = <-wire:
			case <-time.After(20 * time.Second):
				t.Fatalf("%d of %d bytes were sent; %+v", len(got), len(data), p.Stats())
			}
			ip := tcp - 40
			pseudo := b[ip+8 : tcp]
			if kind == link.TCPv4 {
				ip = tcp - 20
				pseudo = b[ip+12 : tcp]
				if int(be.Uint16(b[ip+2:])) != len(b)-ip || nictest.Sum(b[ip:tcp]) != 0xffff {
					t.Fatalf("%d: IPv4: % x", i, b[ip:tcp])
				}
			} else if int(be.Uint16(b[ip+4:])) != len(b)-tcp {
				t.Fatalf("%d: IPv6: % x", i, b[ip:tcp])
			}
			whole := be.AppendUint16(append(bytes.Clone(pseudo), 0, 6), uint16(len(b)-tcp))
			if nictest.Sum(append(whole, b[tcp:]...)) != 0xffff {
				t.Fatalf("%d: TCP's sum is wrong: % x", i, b[:tcp+32])
			}
			if n := be.Uint32(b[tcp+4:]) - be.Uint32(want[tcp+4:]); int(n) != len(got) || len(b)-tcp-32 > 1448 {
				t.Fatalf("%d: %d bytes from %d on, want %d", i, len(b)-tcp-32, n, len(got))
			}
			got = append(got, b[tcp+32:]...)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%d: not the bytes that were sent", i)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// stuck closes a card that can't be reset: it is kept from the bus, and its memory is not used
// again.
func (d *Driver) stuck(t *testing.T) {
	p, c, _ := d.Up(t, d.Kinds[0])
	c.Set(func() { c.Stuck, c.Hold = true, true })
	s := nictest.NewSender(t, c.Host, 1)
	f, _ := s.Frame(link.Whole, 1500)
	p.Send([]*link.Frame{f})
	if err := p.Close(); !errors.Is(err, ring.ErrUnusable) {
		t.Error(err)
	}
	s.Out.Wait()
	if c.PCI.Master() || c.Host.Frames() < intel.RxSlots {
		t.Errorf("master %v, %d frames", c.PCI.Master(), c.Host.Frames())
	}
}

func (d *Driver) unusable(t *testing.T) {
	for name, change := range map[string]func(c *Card){
		"no address":    func(c *Card) { c.NoMAC = true },
		"one message":   func(c *Card) { c.PCI.Vectors = 1 },
		"no memory":     func(c *Card) { c.Host.Most = 100 },
		"little memory": func(c *Card) { c.Host.Most = 5 },
		"not there":     func(c *Card) { c.Gone = true },
		"no reset":      func(c *Card) { c.Stuck = true },
	} {
		var m *Card
		_, _, _, err := d.Start(t, d.Kinds[0], func(c *Card) { change(c); m = c })
		if !errors.Is(err, ring.ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if n := m.Host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}

// refused are changes of a frame of TCP, after which no card takes it.
var refused = map[string]func(f *link.Frame){
	"no header":         func(f *link.Frame) { f.Head = f.Head[:13] },
	"too long":          func(f *link.Frame) { f.Segmentation = link.Whole },
	"sum of UDP":        func(f *link.Frame) { f.CsumOffset = 6 },
	"IPv4, not IPv6":    func(f *link.Frame) { f.Segmentation = link.TCPv6 },
	"a wrong version":   func(f *link.Frame) { f.Head[14] = 0x55 },
	"a wrong length":    func(f *link.Frame) { f.Head[14] = 0x46 },
	"another protocol":  func(f *link.Frame) { f.Head[12] = 9 },
	"a tag before none": func(f *link.Frame) { f.Head[12], f.Head[13] = 0x81, 0 },
	"many segments":     func(f *link.Frame) { f.Segments = make([]link.Segment, link.MaxSegments+1) },
}

// Refused sends frames of TCP, after a change, that the card does not take: those that none
// does, and others.
func (d *Driver) Refused(t *testing.T, others map[string]func(f *link.Frame)) {
	changes := maps.Clone(refused)
	maps.Copy(changes, others)
	for name, change := range changes {
		p, c, _ := d.Up(t, d.Kinds[0])
		c.Set(func() { c.Sent = func([]byte) { t.Errorf("%s: it was sent", name) } })
		s := nictest.NewSender(t, c.Host, 1)
		f, _ := s.Packet(link.TCPv4, false, 20000)
		change(f)
		p.Send([]*link.Frame{f})
		s.Out.Wait()
		if st := p.Stats(); st.SentErrors != 1 {
			t.Errorf("%s: %+v", name, st)
		}
		p.Close()
	}
}

// Bad is a change of a descriptor that makes n frames bad.
type Bad struct {
	Change func(v *uint64)
	N      uint64
}

// BadFrames has descriptors come back with what can't be: those frames are dropped and
// counted, the next one comes.
func (d *Driver) BadFrames(t *testing.T, bad map[string]Bad) {
	for name, b := range bad {
		p, c, log, err := d.Start(t, d.Kinds[0], func(c *Card) { c.Corrupt = b.Change })
		if err != nil {
			t.Fatal(err)
		}
		came := make(chan int, 10)
		p.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				if n := f.Len(); n == 99 {
					came <- n
				}
				f.Done(f)
			}
		})
		c.Input(make([]byte, 1000), d.Good)
		c.Set(func() { c.Corrupt = nil })
		c.Input(make([]byte, 300), d.Good)
		c.Input(make([]byte, 99), d.Good)
		select {
		case <-came:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no frame came afterwards", name)
		}
		if p.Close(); p.Stats().ReceivedBad != b.N || p.Stats().ReceivedFrames != 3-b.N || log.String() != "" {
			t.Errorf("%s: %+v, log %q", name, p.Stats(), log)
		}
		if n := c.Host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are in use", name, n)
		}
	}
}

// Sum is a status of a frame, and what is known of its sum then.
type Sum struct {
	Status uint64
	Want   link.Checksum
}

// Checksums has frames come in with what a card says of sums.
func (d *Driver) Checksums(t *testing.T, k Kind, sums map[string]Sum) {
	for name, s := range sums {
		p, c, _ := d.Up(t, k)
		got := make(chan link.Checksum, 1)
		p.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				got <- f.Checksum
				f.Done(f)
			}
		})
		c.Input(make([]byte, 60), d.Good|s.Status)
		if g := <-got; g != s.Want {
			t.Errorf("%s: %v, want %v", name, g, s.Want)
		}
		p.Close()
	}
}
