package r8169

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/nic/ring"
	"nidus/mm"
)

// kinds are a card with MSI, and one without.
var kinds = map[string]uint16{"RTL8168": 0x8168, "RTL8169": 0x8169}

const (
	whole    = descFirst | descLast
	goodTCP  = whole | rxTCP
	longest  = 1518
	shortest = 14
)

func open(t *testing.T, kind string, change func(*card)) (*ring.Card, *card, *devicetest.Log, error) {
	c := &card{id: kinds[kind], host: &devicetest.Host{}, mac: [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}, sent: func([]byte) {}}
	c.pci.MSI = kind == "RTL8168"
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
	for kind := range kinds {
		p, _, log, err := open(t, kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := link.Info{Name: "eth7", MAC: link.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, MTU: 1500, Take: link.Offloads{Gather: link.MaxSegments}}
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
			sent, end := nictest.Loop(func(b []byte) bool { return c.input(b, goodTCP) })
			defer end()
			c.set(func() { c.sent = sent })
			nictest.Echo(t, p, c.host, link.Verified)
			if log.String() != "" {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

// TestShort sends frames that are shorter than Ethernet's: they are filled up with zeroes.
func TestShort(t *testing.T) {
	p, c, _, err := open(t, "RTL8168", nil)
	if err != nil {
		t.Fatal(err)
	}
	wire := make(chan []byte, 1)
	c.set(func() { c.sent = func(b []byte) { wire <- b } })
	s := nictest.NewSender(t, c.host, 1)
	for n := shortest; n < 70; n++ {
		f := &link.Frame{}
		b := bytes.Repeat([]byte{byte(n)}, n)
		s.Fill(f, b, min(n, 20))
		p.Send([]*link.Frame{f})
		select {
		case got := <-wire:
			if want := append(b, make([]byte, max(0, 60-n))...); !bytes.Equal(got, want) {
				t.Errorf("%d bytes: % x", n, got)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%d bytes are not sent; %+v", n, p.Stats())
		}
		s.Out.Wait()
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestReceived has descriptors come back with all that a card can say, and with what it
// can't: bad frames are dropped and counted, the next one comes.
func TestReceived(t *testing.T) {
	for name, c := range map[string]struct {
		status uint64
		size   int
		want   link.Checksum
		bad    uint64
	}{
		"TCP":              {goodTCP, 100, link.Verified, 0},
		"UDP":              {whole | rxUDP, 100, link.Verified, 0},
		"IP alone":         {whole | rxKind, 100, link.Complete, 0},
		"another protocol": {whole, 100, link.Complete, 0},
		"TCP, wrong":       {goodTCP | rxBadTCP, 100, link.Complete, 0},
		"UDP, wrong":       {whole | rxUDP | rxBadUDP, 100, link.Complete, 0},
		"TCP, IP is wrong": {goodTCP | rxBadIP, 100, link.Complete, 0},
		"longest":          {whole, longest, link.Complete, 0},
		"too long":         {whole, longest + 1, link.Complete, 1},
		"a runt":           {whole, shortest - 1, link.Complete, 1},
		"nothing":          {whole, 0, link.Complete, 1},
		"less than an FCS": {whole | 4, 0, link.Complete, 1}, // a length of 0
		"beyond a buffer":  {whole | 1<<13, 100, link.Complete, 1},
		"an error":         {whole | rxError | rxCRC, 100, link.Complete, 1},
		"no begin":         {descLast, 100, link.Complete, 1},
		"no end":           {descFirst, 100, link.Complete, 2}, // the next is taken for its end
	} {
		p, m, log, err := open(t, "RTL8168", nil)
		if err != nil {
			t.Fatal(err)
		}
		type frame struct {
			n   int
			sum link.Checksum
		}
		came := make(chan frame, 10)
		p.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				came <- frame{f.Len(), f.Checksum}
				f.Done(f)
			}
		})
		m.input(make([]byte, c.size), c.status)
		m.input(make([]byte, 300), whole)
		m.input(make([]byte, 99), whole)
		var got []frame
		for len(got) < 3-int(c.bad) {
			select {
			case f := <-came:
				got = append(got, f)
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: %v came", name, got)
			}
		}
		if c.bad == 0 && got[0] != (frame{c.size, c.want}) || got[len(got)-1].n != 99 {
			t.Errorf("%s: %v", name, got)
		}
		if p.Close(); p.Stats().ReceivedBad != c.bad || log.String() != "" {
			t.Errorf("%s: %+v, log %q", name, p.Stats(), log)
		}
		if n := m.host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are in use", name, n)
		}
	}
}

// TestLateCause has a cause come between the handler's look at the causes and its taking them
// away: the card sends a message for the next one all the same.
func TestLateCause(t *testing.T) {
	p, c, _, err := open(t, "RTL8168", func(c *card) { c.late = isrTOK })
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan int, 10)
	p.Receive(func(frames []*link.Frame) {
		for _, f := range frames {
			came <- f.Len()
			f.Done(f)
		}
	})
	for n := 100; n < 110; n++ {
		c.input(make([]byte, n), whole)
		select {
		case got := <-came:
			if got != n {
				t.Errorf("%d bytes came, not %d", got, n)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("frame %d did not come", n)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
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
		"no address":         func(c *card) { c.mac = [6]byte{} },
		"an address of many": func(c *card) { c.mac[0] = 1 },
		"no memory":          func(c *card) { c.host.Most = 100 },
		"little memory":      func(c *card) { c.host.Most = 2 },
		"not there":          func(c *card) { c.gone = true },
		"no reset":           func(c *card) { c.stuck = true },
	} {
		var m *card
		_, _, _, err := open(t, "RTL8168", func(c *card) { change(c); m = c })
		if !errors.Is(err, ring.ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if n := m.host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}
