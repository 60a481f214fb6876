package hotplug

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/drivers/pci"
)

// machine is a root port at 00:02.0 with a slot, a device behind it at 01:00.0, and one
// without a slot at 00:03.0.
type machine struct {
	caps, slotCaps uint32
	control        uint32
	events         uint32
	there, alone   bool // the device in the slot, and the other one
	silent         bool // the device answers no more, but its presence is still told
	portGone       bool
}

const expressAt = 0x80

var (
	inSlot  = pci.Address{Bus: 1}
	outside = pci.Address{Device: 3}
)

func (m *machine) Read(a pci.Address, off uint8) uint32 {
	const none = 0xffffffff
	switch a {
	case pci.Address{Device: 2}:
		switch {
		case m.portGone:
			return none
		case off == 0:
			return 0x000c1b36
		case off == 4:
			return 1 << 20
		case off == 0x0c:
			return 1 << 16
		case off == 0x18:
			return 0x00010100
		case off == 0x34:
			return expressAt
		case off == expressAt:
			return 0x10 | m.caps
		case off == expressAt+0x14:
			return m.slotCaps
		case off == expressAt+0x18:
			v := m.control | m.events<<16
			if m.there {
				v |= 1 << 22
			}
			return v
		}
		return 0
	case inSlot:
		if !m.there || m.silent || m.control&(1<<10) != 0 {
			return none
		}
	case outside:
		if !m.alone {
			return none
		}
	default:
		return none
	}
	if off == 0 {
		return 0x10421af4
	}
	return 0
}

func (m *machine) Write(a pci.Address, off uint8, v uint32) {
	if a != (pci.Address{Device: 2}) || off != expressAt+0x18 {
		panic(fmt.Sprintf("%v, register %#x is written", a, off))
	}
	m.control = v & 0xffff
	m.events &^= v >> 16
}

type run struct {
	m    *machine
	w    *Watcher
	log  []string
	gone []string
	now  time.Time
}

func newRun(m *machine) *run {
	r := &run{m: m, now: time.Unix(1000, 0)}
	r.w = New(m, func(format string, args ...any) { r.log = append(r.log, fmt.Sprintf(format, args...)) })
	for _, a := range []pci.Address{inSlot, outside} {
		r.w.Watch(a, func(why error) {
			if errors.Is(why, ErrAsked) && m.Read(a, 0) == 0xffffffff {
				panic("it is asked to leave when it has gone")
			}
			r.gone = append(r.gone, why.Error())
		})
	}
	return r
}

// look has d go by.
func (r *run) look(d time.Duration) {
	for ; d >= 0; d -= Every {
		r.w.Look(r.now)
		r.now = r.now.Add(Every)
	}
}

func usualMachine() *machine {
	return &machine{caps: capRootPort | capSlot, slotCaps: 7<<19 | slotHotplug | slotButton | slotPower | slotLight, control: 0x3f | controlLightOff, events: 0x11f, there: true, alone: true}
}

func TestSlots(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *machine)
		want   int
	}{
		"root port":         {func(*machine) {}, 1},
		"switch":            {func(m *machine) { m.caps = capDownstream | capSlot }, 1},
		"endpoint":          {func(m *machine) { m.caps = capSlot }, 0},
		"no slot":           {func(m *machine) { m.caps = capRootPort }, 0},
		"nothing goes":      {func(m *machine) { m.slotCaps &^= slotHotplug }, 0},
		"the slot is empty": {func(m *machine) { m.there = false }, 1},
	} {
		m := usualMachine()
		c.change(m)
		if r := newRun(m); r.w.Slots() != c.want {
			t.Errorf("%s: %d slots", name, r.w.Slots())
		}
		if light := m.control & controlLight; c.want == 1 && (m.control&controlNotify != 0 || m.events != 0 || (light == controlLightOn) != m.there) {
			t.Errorf("%s: control %#x, events %#x", name, m.control, m.events)
		}
	}
}

// TestAsked presses the button.
func TestAsked(t *testing.T) {
	m := usualMachine()
	r := newRun(m)
	r.look(time.Second)
	m.events = 1
	r.look(regret - time.Second)
	if m.control&controlLight != controlBlink || m.control&controlNoPower != 0 || len(r.gone) != 0 || m.events != 0 {
		t.Fatalf("control %#x, gone %q", m.control, r.gone)
	}
	m.events = 1 // again: it stays
	r.look(2 * regret)
	if m.control&controlLight != controlLightOn || len(r.gone) != 0 {
		t.Fatalf("control %#x, gone %q", m.control, r.gone)
	}
	m.events = 1
	r.look(regret + Every)
	if m.control&controlLight != controlLightOff || m.control&controlNoPower == 0 || !slices.Equal(r.gone, []string{"PCI function 01:00.0: its slot is to be emptied"}) {
		t.Fatalf("control %#x, gone %q", m.control, r.gone)
	}
	m.there = false
	r.look(2 * regret)
	m.there, m.events = true, 0x108
	r.look(time.Second)
	if len(r.gone) != 1 || !strings.Contains(strings.Join(r.log, "\n"), "can be taken out\nPCI slot 7: it is empty now\nPCI slot 7: there is a device now") || len(r.log) != 6 {
		t.Errorf("gone %q, log %q", r.gone, r.log)
	}
}

// TestPulledOut has devices go without a word: the slot tells, or it does not, or there is none.
func TestPulledOut(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *machine)
		want   string
	}{
		"slot":                   {func(m *machine) { m.there, m.events = false, 0x108 }, "01:00.0"},
		"silence":                {func(m *machine) { m.silent = true }, "01:00.0"},
		"port":                   {func(m *machine) { m.portGone, m.silent = true, true }, "01:00.0"},
		"no slot":                {func(m *machine) { m.alone = false }, "00:03.0"},
		"while the light blinks": {func(m *machine) { m.there, m.events = false, 1 }, "01:00.0"},
	} {
		m := usualMachine()
		r := newRun(m)
		m.silent = true // once is nothing
		r.look(0)
		m.silent = false
		r.look(time.Second)
		if len(r.gone) != 0 {
			t.Errorf("%s: gone %q before it was", name, r.gone)
		}
		c.change(m)
		r.look(2 * regret)
		if want := []string{"PCI function " + c.want + ": it was pulled out"}; !slices.Equal(r.gone, want) {
			t.Errorf("%s: gone %q, want %q", name, r.gone, want)
		}
	}
}
