package igb

import (
	"testing"

	"nidus/drivers/link"
	"nidus/drivers/nic/intel/inteltest"
)

// driver is tested with cards with MSI-X, and with one with MSI.
var driver = inteltest.Driver{
	Kinds: []inteltest.Kind{
		{Name: "I210", ID: 0x1533, Vectors: 5, Six: true},
		{Name: "82576", ID: 0x10c9, Vectors: 25, Six: true},
		{Name: "82575EB", ID: 0x10a7, Vectors: 10, MSI: true, Six: true},
		{Name: "I350 without messages", ID: 0x1521, Six: true},
	},
	Family: func(id uint16) inteltest.Family { return &family{phy: phyAuto | 1<<6, older: id == 0x10a7} },
	Is:     Is, Open: Open, Good: rxDD | rxEOP, Sound: rxDD | rxEOP | rxL4, Sums: []uint16{6, 16},
}

func TestCard(t *testing.T) { driver.Test(t) }

// TestRefused sends what the card does not take.
func TestRefused(t *testing.T) {
	driver.Refused(t, map[string]func(f *link.Frame){
		"another sum": func(f *link.Frame) { whole(f); f.CsumOffset = 10 },
		"before IP":   func(f *link.Frame) { whole(f); f.CsumStart = 13 },
		"in the tag":  func(f *link.Frame) { whole(f); f.Head[12], f.Head[13] = 0x81, 0; f.CsumStart = 17 },
		"far away":    func(f *link.Frame) { whole(f); f.CsumStart = 14 + 512 },
	})
}

// whole makes a frame one that is not to be cut.
func whole(f *link.Frame) {
	f.Segmentation = link.Whole
	f.Segments = nil
	f.Segments = append(f.Segments, link.Segment{Frame: f.HeadAt.Frame, Len: 1000})
}

func TestBadFrames(t *testing.T) {
	length := func(n uint64) func(v *uint64) {
		return func(v *uint64) { *v = *v&^(0xffff<<rxLength) | n<<rxLength }
	}
	driver.BadFrames(t, map[string]inteltest.Bad{
		"good":           {Change: func(*uint64) {}},
		"a tag apart":    {Change: func(v *uint64) { *v |= 0x1234<<48 | 1<<3 }},
		"no bytes":       {Change: length(0), N: 1},
		"a runt":         {Change: length(13), N: 1},
		"longer than is": {Change: length(0xffff), N: 1},
		"1519 bytes":     {Change: length(1519), N: 1},
		"an error":       {Change: func(v *uint64) { *v |= rxError }, N: 1},
		"all ones":       {Change: func(v *uint64) { *v = ^uint64(0) }, N: 1},
		"no end":         {Change: func(v *uint64) { *v &^= rxEOP }, N: 2}, // the next is taken for its end
	})
}

func TestChecksum(t *testing.T) {
	for _, k := range driver.Kinds[1:3] {
		driver.Checksums(t, k, map[string]inteltest.Sum{
			"not computed": {Status: 0, Want: link.Complete},
			"right":        {Status: rxL4, Want: link.Verified},
			"right, UDP":   {Status: rxUDP | rxL4, Want: link.Verified},
			"wrong":        {Status: rxL4 | rxWrong, Want: link.Complete},
			"wrong, UDP":   {Status: rxUDP | rxWrong, Want: link.Complete},
			"IP's only":    {Status: 1 << 6, Want: link.Complete},
		})
	}
}

// TestPHY has a PHY that something else has left off, or has, or is broken: the card is usable,
// and the PHY searches for a link if it can be told to.
func TestPHY(t *testing.T) {
	for name, x := range map[string]struct {
		kind           int
		family         family
		phpm           uint32
		want, restarts uint32
	}{
		"on":           {0, family{phy: phyAuto}, 0, phyAuto, 0},
		"off":          {1, family{phy: phyAuto | phyPowerDown | 7}, 0, phyAuto | 7, 1},
		"isolated":     {2, family{phy: phyAuto | phyIsolate}, 0, phyAuto, 1},
		"one speed":    {0, family{phy: 1 << 6}, 0, phyAuto | 1<<6, 1},
		"no link":      {0, family{phy: phyAuto}, phpmNoLink | 1, phyAuto, 0},
		"not there":    {0, family{phy: phyPowerDown, faulty: true}, 0, phyPowerDown, 0},
		"of firmware":  {0, family{phy: phyPowerDown, busy: true}, 0, phyPowerDown, 0},
		"held for now": {0, family{phy: phyPowerDown, keeps: true}, 0, phyPowerDown, 0},
	} {
		m := x.family
		d := driver
		d.Family = func(uint16) inteltest.Family { return &withPower{&m, x.phpm} }
		p, c, _ := d.Up(t, driver.Kinds[x.kind])
		c.Set(func() {
			if m.phy != x.want || m.restarts != int(x.restarts) {
				t.Errorf("%s: the PHY has %#x, and began %d times", name, m.phy, m.restarts)
			}
			if v := *c.Reg(regPHPM); v != x.phpm&^phpmNoLink {
				t.Errorf("%s: PHPM %#x", name, v)
			}
			sync, mine := *c.Reg(regSync), phySync[0]
			if sync&mine != 0 {
				t.Errorf("%s: the PHY is not given back: %#x", name, sync)
			}
		})
		if up, _ := p.Up(); !up {
			t.Errorf("%s: the link is down", name)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withPower is a family with PHPM after a reset.
type withPower struct {
	*family
	phpm uint32
}

func (m *withPower) Reset(c *inteltest.Card) {
	m.family.Reset(c)
	*c.Reg(regPHPM) = m.phpm
}

// TestSlow has a card whose queues take no order: it is opened and closed all the same.
func TestSlow(t *testing.T) {
	d := driver
	d.Family = func(uint16) inteltest.Family { return &family{phy: phyAuto, slow: true} }
	p, _, _ := d.Up(t, driver.Kinds[0])
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
