package pci

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// model is a machine's configuration space. A register takes the bits of its mask.
type model map[Address]*modelFunction

type modelFunction struct {
	regs, writable [64]uint32
	log            []string
}

func (m model) Read(a Address, off uint8) uint32 {
	if f := m[a]; f != nil {
		return f.regs[off/4]
	}
	return allOnes
}

func (m model) Write(a Address, off uint8, v uint32) {
	f := m[a]
	if f == nil {
		return
	}
	if off == regCommand {
		f.log = append(f.log, fmt.Sprintf("%x", v))
	} else if f.regs[regCommand/4]&commandMemory != 0 {
		f.log = append(f.log, "register changed while it decodes")
	}
	f.regs[off/4] = f.regs[off/4]&^f.writable[off/4] | v&f.writable[off/4]
}

func (m model) add(a Address, id, header uint32) *modelFunction {
	f := &modelFunction{}
	f.regs[0], f.regs[regHeader/4] = id, header<<16
	f.writable[regCommand/4] = 0x7
	m[a] = f
	return f
}

func TestFunctions(t *testing.T) {
	m := model{}
	m.add(Address{0, 0, 0}, 0x29c08086, 0)
	m.add(Address{0, 0, 1}, 0x11111111, 0) // not there: function 0 is the only one
	m.add(Address{0, 3, 0}, 0x22222222, headerMulti)
	m.add(Address{0, 3, 5}, 0x33333333, 0)
	m.add(Address{0, 4, 1}, 0x44444444, 0) // not there: no function 0
	for i, secondary := range []uint32{2, 2, 0, 255} {
		m.add(Address{0, uint8(8 + i), 0}, 0x55555555, headerBridge).regs[regBuses/4] = secondary << 8
	}
	m.add(Address{2, 31, 0}, 0x66666666, headerBridge).regs[regBuses/4] = 2 << 8 // itself
	m.add(Address{255, 1, 0}, 0x77777777, 0).regs[regClass/4] = 0x05000001
	m.add(Address{9, 0, 0}, 0x88888888, 0) // no bridge leads there
	var got []string
	for f := range Functions(m) {
		got = append(got, fmt.Sprintf("%v %04x:%04x/%x", f.Address, f.Vendor, f.Device, f.Revision))
	}
	want := []string{"00:00.0 8086:29c0/0", "00:03.0 2222:2222/0", "00:03.5 3333:3333/0",
		"00:08.0 5555:5555/0", "00:09.0 5555:5555/0", "00:0a.0 5555:5555/0", "00:0b.0 5555:5555/0",
		"02:1f.0 6666:6666/0", "ff:01.0 7777:7777/1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for range Functions(m) { // one can stop
		break
	}
}

func TestMemory(t *testing.T) {
	const wide = bar64 | barPrefetch
	for _, c := range []struct {
		name             string
		n                int
		header           uint32
		low, high        uint32
		lowBits, hiBits  uint32
		want             BAR
		good, disallowed bool
	}{
		{name: "64 bits", n: 2, low: 0xfe000000 | wide, lowBits: 0xffc00000, hiBits: allOnes, want: BAR{0xfe000000, 4 << 20, true}, good: true},
		{name: "above 4 GiB", n: 2, low: wide, high: 8, lowBits: 0, hiBits: 0xfffffffe, want: BAR{8 << 32, 8 << 30, true}, good: true},
		{name: "32 bits", n: 5, low: 0xfebf1000, lowBits: 0xfffff000, want: BAR{0xfebf1000, 4096, false}, good: true},
		{name: "16 bytes", n: 0, low: 0xfebf1010, lowBits: 0xfffffff0, want: BAR{0xfebf1010, 16, false}, good: true},
		{name: "none", n: 2},
		{name: "none, 64 bits", n: 2, low: wide},
		{name: "no address", n: 2, low: wide, lowBits: 0xffc00000, hiBits: allOnes},
		{name: "ports", n: 2, low: 0xc001, lowBits: 0xfffffffc},
		{name: "below 1 MiB", n: 2, low: 0x80000 | barBelow1M, lowBits: 0xffff0000},
		{name: "reserved type", n: 2, low: 0xfe000006, lowBits: 0xffff0000},
		{name: "no upper half", n: 5, low: 0xfe000000 | wide, lowBits: 0xffc00000},
		{name: "holes in the size", n: 2, low: 0xfe000000 | wide, lowBits: 0xff400000, hiBits: allOnes},
		{name: "no upper bits", n: 2, low: 0xfe000000 | wide, lowBits: 0xffc00000, hiBits: 0},
		{name: "not a multiple", n: 2, low: 0xfe100000 | wide, lowBits: 0xffc00000, hiBits: allOnes},
		{name: "beyond all addresses", n: 2, low: 0xfe000000 | wide, high: 0xffffffff, lowBits: 0xffc00000, hiBits: allOnes},
		{name: "a bridge", n: 2, header: headerBridge, low: 0xfe000000 | wide, lowBits: 0xffc00000, hiBits: allOnes},
		{name: "register -1", n: -1},
		{name: "register 6", n: 6},
	} {
		m := model{}
		f := m.add(Address{}, 0x11101af4, c.header)
		f.regs[regCommand/4] = 0xfff00003
		at := 0
		if c.n >= 0 && c.n < numBARs {
			at = regBAR0/4 + c.n
			f.regs[at], f.writable[at] = c.low, c.lowBits
			if c.n+1 < numBARs {
				f.regs[at+1], f.writable[at+1] = c.high, c.hiBits
			}
		}
		before := f.regs
		for fn := range Functions(m) {
			got, err := fn.Memory(c.n)
			if got != c.want || (err == nil) != c.good || err != nil && !errors.Is(err, ErrNoMemory) {
				t.Errorf("%s: %+v, %v", c.name, got, err)
			}
		}
		if slices.Contains(f.log, "register changed while it decodes") {
			t.Errorf("%s: changed while it decodes", c.name)
		}
		if f.regs[at] != before[at] || f.regs[at+1] != before[at+1] && at != 0 {
			t.Errorf("%s: the register is %#x, was %#x", c.name, f.regs[at], before[at])
		}
		if f.regs[regCommand/4]&7 != 3 {
			t.Errorf("%s: command is %#x", c.name, f.regs[regCommand/4])
		}
	}
}

func TestPorts(t *testing.T) {
	for _, c := range []struct {
		name     string
		n        int
		low, can uint32
		want     BAR
		good     bool
	}{
		{name: "there", low: 0xc041, can: 0xffffffc0, want: BAR{Addr: 0xc040, Size: 64}, good: true},
		{name: "of 16 bits", n: 5, low: 0xc041, can: 0xffc0, want: BAR{Addr: 0xc040, Size: 64}, good: true},
		{name: "the last", low: 0xff81, can: 0xff80, want: BAR{Addr: 0xff80, Size: 128}, good: true},
		{name: "memory", low: 0xfebf1000, can: 0xfffff000},
		{name: "nothing there", low: 1},
		{name: "no address", low: 1, can: 0xffc0},
		{name: "holes", low: 0xc041, can: 0xef40},
		{name: "beyond", low: 0x1c041, can: 0xffffffc0},
		{name: "register 6", n: 6},
	} {
		m := model{}
		f := m.add(Address{}, 0x10001af4, 0)
		f.regs[regCommand/4], f.writable[regCommand/4] = 0xfff00002, 7
		if c.n < numBARs {
			f.regs[4+c.n], f.writable[4+c.n] = c.low, c.can
		}
		got, err := first(t, m).Ports(c.n)
		if got != c.want || (err == nil) != c.good || err != nil && !errors.Is(err, ErrNoPorts) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if c.n < numBARs && f.regs[4+c.n] != c.low {
			t.Errorf("%s: the register is %#x, was %#x", c.name, f.regs[4+c.n], c.low)
		}
		if on := f.regs[regCommand/4]&commandPorts != 0; on != c.good {
			t.Errorf("%s: answers: %v", c.name, on)
		}
	}
}

// TestMemoryEnables begins with a function that answers nowhere.
func TestMemoryEnables(t *testing.T) {
	m := model{}
	f := m.add(Address{}, 0x11101af4, 0)
	f.regs[6], f.writable[6], f.writable[7] = 0xfe00000c, 0xffc00000, allOnes
	for fn := range Functions(m) {
		if _, err := fn.Memory(2); err != nil || f.regs[1] != commandMemory {
			t.Errorf("%v, command %#x", err, f.regs[1])
		}
	}
}

// ports is a chipset in front of a model.
type ports struct {
	model
	sel uint32
}

func (p *ports) at() (Address, uint8, bool) {
	return Address{uint8(p.sel >> 16), uint8(p.sel >> 11 & 31), uint8(p.sel >> 8 & 7)}, uint8(p.sel), p.sel>>31 == 1
}

func (p *ports) In32(port uint16) uint32 {
	if a, off, ok := p.at(); ok && port == portData {
		return p.Read(a, off)
	}
	return allOnes
}

func (p *ports) Out32(port uint16, v uint32) {
	if port == portAddress {
		p.sel = v
	} else if a, off, ok := p.at(); ok && port == portData {
		p.Write(a, off, v)
	}
}

func TestMechanism1(t *testing.T) {
	p := &ports{model: model{}}
	a := Address{0xfe, 31, 7}
	f := p.add(a, 0x12345678, 0)
	f.writable[63] = allOnes
	c := &Mechanism1{Ports: p}
	c.Write(a, 0xfc, 0xcafe)
	if id, v, none := c.Read(a, 0), c.Read(a, 0xfc), c.Read(Address{}, 0); id != 0x12345678 || v != 0xcafe || none != allOnes {
		t.Errorf("%#x, %#x, %#x", id, v, none)
	}
}
