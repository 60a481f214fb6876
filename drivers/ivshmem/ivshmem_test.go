package ivshmem

import (
	"testing"

	"nidus/drivers/pci"
)

// bus has functions on bus 0 whose registers keep what is written, but for BAR 2, of
// size bytes.
type bus struct {
	ids  map[uint8]uint32
	regs map[uint8]uint32
	size uint32
}

func (b bus) Read(a pci.Address, off uint8) uint32 {
	id, ok := b.ids[a.Device]
	switch {
	case !ok || a.Bus != 0 || a.Function != 0:
		return 0xffffffff
	case off == 0:
		return id
	}
	return b.regs[off]
}

func (b bus) Write(_ pci.Address, off uint8, v uint32) {
	if off == 0x18 {
		v = v&-b.size | 0xc
	}
	b.regs[off] = v
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  map[uint8]uint32
		bar  uint32
		want Region
		ok   bool
		bad  bool
	}{
		{"none", map[uint8]uint32{0: 0x29c08086, 1: 0x11111af4}, 0, Region{}, false, false},
		{"one", map[uint8]uint32{0: 0x29c08086, 3: 0x11101af4}, 0xfe00000c, Region{pci.Address{Device: 3}, 0xfe000000, 4 << 20}, true, false},
		{"no memory", map[uint8]uint32{4: 0x11101af4}, 0, Region{At: pci.Address{Device: 4}}, true, true},
	} {
		r, ok, err := Find(bus{c.ids, map[uint8]uint32{0x18: c.bar}, 4 << 20})
		if r != c.want || ok != c.ok || (err != nil) != c.bad {
			t.Errorf("%s: %+v, %v, %v", c.name, r, ok, err)
		}
	}
}
