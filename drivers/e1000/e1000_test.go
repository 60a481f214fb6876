package e1000

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/nic/ring"
	"nidus/mm"
)

// kinds are a card with MSI-X, one with MSI, and one without messages.
var kinds = map[string]struct{ id uint16 }{
	"82574L":  {id: 0x10d3},
	"82571EB": {id: 0x105e},
	"82540EM": {id: 0x100e},
}

func open(t *testing.T, kind string, change func(*card)) (*ring.Card, *card, *devicetest.Log, error) {
	c := &card{id: kinds[kind].id, host: &devicetest.Host{}, sent: func([]byte) {}}
	switch kind {
	case "82574L":
		c.pci.Vectors = 5
	case "82571EB":
		c.pci.MSI = true
	}
	if change != nil {
		change(c)
	}
	f := c.function()
	if !Is(f) {
		t.Fatalf("%s is not known", kind)
	}
	t.Cleanup(c.close)
	log := &devicetest.Log{}
	p, err := Open(c.host, f, "eth7", log.Printf)
	return p, c, log, err
}

func TestInfo(t *testing.T) {
	for kind, c := range kinds {
		p, _, log, err := open(t, kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := link.Info{Name: "eth7", MAC: link.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, MTU: 1500,
			Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: c.id != 0x100e, Gather: link.MaxSegments}}
		if p.Info() != want {
			t.Errorf("%s: %+v, want %+v", kind, p.Info(), want)
		}
		if up, _ := p.Up(); !up {
			t.Errorf("%s: the link is down", kind)
		}
		if err := p.Close(); err != nil || log.String() != "" {
			t.Error(kind, err, log)
		}
	}
}

// TestEcho sends frames that come back.
func TestEcho(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			p, c, log, err := open(t, kind, nil)
			if err != nil {
				t.Fatal(err)
			}
			sent, end := nictest.Loop(func(b []byte) bool { return c.input(b, rxDD|rxEOP|rxTCPSum) })
			defer end()
			c.set(func() { c.sent = sent })
			nictest.Echo(t, p, c.host, link.Verified)
			if log.String() != "" {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

// TestCut has the card cut frames of TCP, and looks at the pieces.
func TestCut(t *testing.T) {
	p, c, _, err := open(t, "82574L", nil)
	if err != nil {
		t.Fatal(err)
	}
	wire := make(chan []byte, 1000)
	c.sent = func(b []byte) { wire <- b }
	s := nictest.NewSender(t, c.host, 1)
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

// TestRefused sends what the card does not take.
func TestRefused(t *testing.T) {
	for name, change := range map[string]func(f *link.Frame){
		"no header":         func(f *link.Frame) { f.Head = f.Head[:13] },
		"too long":          func(f *link.Frame) { f.Segmentation = link.Whole },
		"sum far away":      func(f *link.Frame) { f.CsumOffset = 300 },
		"sum of UDP":        func(f *link.Frame) { f.CsumOffset = 6 },
		"IPv4, not IPv6":    func(f *link.Frame) { f.Segmentation = link.TCPv6 },
		"a wrong version":   func(f *link.Frame) { f.Head[14] = 0x55 },
		"a wrong length":    func(f *link.Frame) { f.Head[14] = 0x46 },
		"another protocol":  func(f *link.Frame) { f.Head[12] = 9 },
		"a tag before none": func(f *link.Frame) { f.Head[12], f.Head[13] = 0x81, 0 },
		"many segments":     func(f *link.Frame) { f.Segments = make([]link.Segment, link.MaxSegments+1) },
	} {
		p, c, _, err := open(t, "82574L", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.sent = func([]byte) { t.Errorf("%s: it was sent", name) }
		s := nictest.NewSender(t, c.host, 1)
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

// TestBadFrames has descriptors come back with what can't be: those frames are dropped and
// counted, the next one comes.
func TestBadFrames(t *testing.T) {
	for name, c := range map[string]struct {
		change func(v *uint64)
		bad    uint64
	}{
		"good":           {func(*uint64) {}, 0},
		"no bytes":       {func(v *uint64) { *v &^= 0xffff }, 1},
		"a runt":         {func(v *uint64) { *v = *v&^0xffff | 13 }, 1},
		"longer than is": {func(v *uint64) { *v |= 0xffff }, 1},
		"1519 bytes":     {func(v *uint64) { *v = *v&^0xffff | 1519 }, 1},
		"an error":       {func(v *uint64) { *v |= 1 << 40 }, 1},
		"no end":         {func(v *uint64) { *v &^= rxEOP }, 2}, // the next is taken for its end
	} {
		p, m, log, err := open(t, "82574L", func(m *card) { m.corrupt = c.change })
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
		m.input(make([]byte, 1000), rxDD|rxEOP)
		m.set(func() { m.corrupt = nil })
		m.input(make([]byte, 300), rxDD|rxEOP)
		m.input(make([]byte, 99), rxDD|rxEOP)
		select {
		case <-came:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no frame came afterwards", name)
		}
		if p.Close(); p.Stats().ReceivedBad != c.bad || p.Stats().ReceivedFrames != 3-c.bad || log.String() != "" {
			t.Errorf("%s: %+v, log %q", name, p.Stats(), log)
		}
		if n := m.host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are in use", name, n)
		}
	}
}

func TestChecksum(t *testing.T) {
	for name, c := range map[string]struct {
		status uint64
		want   link.Checksum
	}{
		"not computed":   {0, link.Complete},
		"right":          {rxTCPSum, link.Verified},
		"right, UDP":     {rxUDPSum, link.Verified},
		"wrong":          {rxTCPSum | rxTCPWrong, link.Complete},
		"to be ignored":  {rxTCPSum | rxNoSums, link.Complete},
		"wrong, ignored": {rxTCPSum | rxTCPWrong | rxNoSums, link.Complete},
	} {
		p, m, _, err := open(t, "82571EB", nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan link.Checksum, 1)
		p.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				got <- f.Checksum
				f.Done(f)
			}
		})
		m.input(make([]byte, 60), rxDD|rxEOP|c.status)
		if g := <-got; g != c.want {
			t.Errorf("%s: %v, want %v", name, g, c.want)
		}
		p.Close()
	}
}

// TestLink turns the link off and on, and then the card is pulled out with frames in flight.
func TestLink(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			p, c, log, err := open(t, kind, nil)
			if err != nil {
				t.Fatal(err)
			}
			nictest.UpDown(t, p, log, c.link)
			c.set(func() { c.hold = true })
			nictest.PullOut(t, p, c.host, log, func() { c.set(func() { c.gone = true }) })
		})
	}
}

// TestStuck closes a card that can't be reset: it is kept from the bus, and its memory is
// not used again.
func TestStuck(t *testing.T) {
	p, c, _, err := open(t, "82574L", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.set(func() { c.stuck, c.hold = true, true })
	s := nictest.NewSender(t, c.host, 1)
	f, _ := s.Frame(link.Whole, 1500)
	p.Send([]*link.Frame{f})
	if err := p.Close(); !errors.Is(err, ring.ErrUnusable) {
		t.Error(err)
	}
	s.Out.Wait()
	if c.pci.Master() || c.host.Frames() < rxSlots {
		t.Errorf("master %v, %d frames", c.pci.Master(), c.host.Frames())
	}
}

// TestUnplugged has the cable pulled out and put in again.
func TestUnplugged(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c, _, err := open(t, kind, nil)
			if err != nil {
				t.Fatal(err)
			}
			sent := make(chan []byte, 1000)
			c.set(func() { c.sent = func(b []byte) { sent <- bytes.Clone(b) } })
			nictest.Unplugged(t, p, c.host, func(on bool) { c.set(func() { c.hold = on }) }, c.link, sent)
		})
	}
}

func TestUnusable(t *testing.T) {
	for name, change := range map[string]func(c *card){
		"no address":    func(c *card) { c.noMAC = true },
		"one message":   func(c *card) { c.pci.Vectors = 1 },
		"no memory":     func(c *card) { c.host.Most = 100 },
		"little memory": func(c *card) { c.host.Most = 5 },
		"not there":     func(c *card) { c.gone = true },
		"no reset":      func(c *card) { c.stuck = true },
	} {
		var m *card
		_, _, _, err := open(t, "82574L", func(c *card) { change(c); m = c })
		if !errors.Is(err, ring.ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if n := m.host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}
