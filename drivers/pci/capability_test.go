package pci

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"nidus/drivers/device"
	"nidus/drivers/device/devicetest"
)

// first returns a model's function.
func first(t *testing.T, m model) *Function {
	for f := range Functions(m) {
		return f
	}
	t.Fatal("no function")
	return nil
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		name  string
		start uint32
		list  map[uint8]uint32
		want  []string
	}{
		{"none", 0, nil, nil},
		{"two", 0x40, map[uint8]uint32{0x40: 0x5011, 0x50: 0x0005}, []string{"11@40", "5@50"}},
		{"low bits", 0x43, map[uint8]uint32{0x40: 0x5211, 0x50: 0x0105}, []string{"11@40", "5@50"}},
		{"into the header", 0x40, map[uint8]uint32{0x40: 0x1009}, []string{"9@40"}},
	} {
		m := model{}
		f := m.add(Address{}, 0x10421af4, 0)
		f.regs[1], f.regs[regCapabilities/4] = statusCapList, c.start
		for off, v := range c.list {
			f.regs[off/4] = v
		}
		var got []string
		for id, off := range first(t, m).Capabilities() {
			got = append(got, fmt.Sprintf("%x@%x", id, off))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		f.regs[1] = 0
		if _, ok := first(t, m).Capability(0x11); ok {
			t.Errorf("%s: a list that is not there", c.name)
		}
	}
	m := model{}
	f := m.add(Address{}, 0x10421af4, 0)
	f.regs[1], f.regs[regCapabilities/4], f.regs[0x40/4], f.regs[0x50/4] = statusCapList, 0x40, 0x5009, 0x4009
	n := 0
	for range first(t, m).Capabilities() {
		n++
	}
	if n != mostCapabilities {
		t.Errorf("a circle has %d capabilities", n)
	}
}

func TestSetMaster(t *testing.T) {
	m := model{}
	f := m.add(Address{}, 0x10421af4, 0)
	f.regs[1], f.writable[1] = 0xfff00002, 0xffff
	first(t, m).SetMaster(true)
	if f.regs[1]&0xffff != 0x406 {
		t.Errorf("command %#x", f.regs[1])
	}
	first(t, m).SetMaster(false)
	if f.regs[1]&0xffff != 0x402 || !slices.Equal(f.log, []string{"406", "402"}) {
		t.Errorf("command %#x, %q", f.regs[1], f.log)
	}
}

// table is a window of registers.
type table struct {
	device.Registers
	regs map[uint64]uint32
}

func (t table) Store32(off uint64, v uint32) { t.regs[off] = v }

func TestMSIX(t *testing.T) {
	for _, c := range []struct {
		name  string
		where uint32
		size  uint32 // mask of the register
		want  error
	}{
		{"there", 0x800 | 1, 0xfffff000, nil},
		{"at the end", 0xfd0 | 1, 0xfffff000, nil},
		{"beyond the end", 0xfd8 | 1, 0xfffff000, ErrNoMemory},
		{"far beyond", 0xfffffff8 | 1, 0xfffff000, ErrNoMemory},
		{"no such register", 7, 0xfffff000, ErrNoMemory},
		{"nothing there", 2, 0, ErrNoMemory},
	} {
		m := model{}
		f := m.add(Address{}, 0x10421af4, 0)
		f.regs[1], f.regs[regCapabilities/4] = statusCapList, 0x40
		f.regs[0x40/4], f.writable[0x40/4], f.regs[0x44/4] = CapMSIX|2<<16, 0xc0000000, c.where
		f.regs[5], f.writable[5] = 0xfebf1000, c.size
		tab := table{regs: map[uint64]uint32{}}
		h := &devicetest.Host{Window: func(addr, n uint64) (device.Registers, error) {
			if addr != 0xfebf1000+uint64(c.where&^7) || n != 48 {
				t.Errorf("%s: %d bytes at %#x", c.name, n, addr)
			}
			return tab, nil
		}}
		x, err := first(t, m).MSIX(h)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		if x.Len() != 3 || f.regs[0x40/4]>>30 != 2 || tab.regs[12] != 1 || tab.regs[44] != 1 {
			t.Errorf("%s: %d entries, control %#x, %v", c.name, x.Len(), f.regs[0x40/4], tab.regs)
		}
		x.Set(1, device.Message{Addr: 5<<32 | 0xfee01000, Data: 0x31})
		if tab.regs[16] != 0xfee01000 || tab.regs[20] != 5 || tab.regs[24] != 0x31 || tab.regs[28] != 0 {
			t.Errorf("%s: %v", c.name, tab.regs)
		}
		if x.Close(); f.regs[0x40/4]>>30 != 0 {
			t.Errorf("%s: still on", c.name)
		}
	}
	if _, err := (&Function{cfg: model{}}).MSIX(&devicetest.Host{}); !errors.Is(err, ErrNoMessages) {
		t.Error(err)
	}
}

func TestSetMSI(t *testing.T) {
	for _, wide := range []bool{false, true} {
		m := model{}
		f := m.add(Address{}, 0x10421af4, 0)
		f.regs[1], f.regs[regCapabilities/4], f.regs[0x40/4] = statusCapList, 0x40, CapMSI|5<<17|5<<20
		data := 2
		if wide {
			f.regs[0x40/4] |= msiWide
			data = 3
		}
		for i := range 5 {
			f.writable[0x40/4+i] = allOnes
		}
		if err := first(t, m).SetMSI(device.Message{Addr: 0xfee00000, Data: 0x42}); err != nil {
			t.Fatal(err)
		}
		if c := f.regs[0x40/4]; c>>16&1 != 1 || c&msiMore != 0 || f.regs[0x44/4] != 0xfee00000 || f.regs[0x40/4+data] != 0x42 {
			t.Errorf("wide %v: %#x", wide, f.regs[0x40/4:0x54/4])
		}
		err := first(t, m).SetMSI(device.Message{Addr: 1 << 32})
		if (err == nil) != wide || err != nil && !errors.Is(err, ErrNoMessages) {
			t.Errorf("wide %v: %v", wide, err)
		}
	}
}

func TestRegistry(t *testing.T) {
	var r Registry
	a, b := Address{0, 3, 0}, Address{0, 2, 1}
	if err := errors.Join(r.Claim(a, "virtio-blk"), r.Claim(b, "d1")); err != nil {
		t.Fatal(err)
	}
	var busy *BusyError
	if err := r.Claim(a, "d1"); !errors.As(err, &busy) || busy.Owner != "virtio-blk" || busy.At != a {
		t.Error(err)
	}
	if err := r.Claim(a, "virtio-blk"); err == nil {
		t.Error("claimed twice")
	}
	if got := r.Owned(); !slices.Equal(got, []Address{b, a}) {
		t.Error(got)
	}
	r.Release(a, "d1") // not its own
	if o, ok := r.Owner(a); !ok || o != "virtio-blk" {
		t.Error(o, ok)
	}
	r.Release(a, "virtio-blk")
	if err := r.Claim(a, "d1"); err != nil {
		t.Error(err)
	}
}
