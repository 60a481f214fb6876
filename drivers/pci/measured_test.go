package pci

import "testing"

// TestMeasured: a device that was measured is found without a write to it, until another
// one is in its place.
func TestMeasured(t *testing.T) {
	m := model{}
	add := func(id uint32, size uint32, class uint32) *modelFunction {
		f := m.add(Address{}, id, 0)
		f.regs[regClass/4] = class << 24
		f.regs[regCommand/4] = commandMemory | commandPorts
		f.regs[4], f.writable[4] = 0xc001, 0xffffffe0 // ports
		f.regs[6], f.writable[6], f.writable[7] = 0xfe00000c, -size, allOnes
		return f
	}
	check := func(what string, cfg Config, f *modelFunction, size uint64, writes bool) {
		t.Helper()
		f.log = nil
		for fn := range Functions(cfg) {
			if b, err := fn.Memory(2); err != nil || b != (BAR{Addr: 0xfe000000, Size: size, Prefetchable: true}) {
				t.Errorf("%s: %+v, %v", what, b, err)
			}
			if b, err := fn.Ports(0); err != nil || b != (BAR{Addr: 0xc000, Size: 32}) {
				t.Errorf("%s: %+v, %v", what, b, err)
			}
		}
		if len(f.log) > 0 != writes || f.regs[regCommand/4] != commandMemory|commandPorts {
			t.Errorf("%s: command %#x, written as %q", what, f.regs[regCommand/4], f.log)
		}
	}
	for _, class := range []uint32{classStorage, classNetwork, classMemory} {
		disk := add(0x11101af4, 0x4000, class)
		cfg := Measure(m)
		check("measured", cfg, disk, 0x4000, false)
		disk.regs[regCommand/4] = 0
		for fn := range Functions(cfg) {
			if _, err := fn.Memory(2); err != nil || disk.regs[regCommand/4] != commandMemory {
				t.Errorf("off: %v, command %#x", err, disk.regs[regCommand/4])
			}
		}
		delete(m, Address{}) // pulled out
		for range Functions(cfg) {
			t.Error("it is still there")
		}
		check("another one", cfg, add(0x11101af4, 0x8000, class), 0x8000, true)
	}
	bridge := add(0x29c08086, 0x4000, 6)
	cfg := Measure(m)
	if bridge.log != nil {
		t.Errorf("a host bridge was measured: %q", bridge.log)
	}
	check("not measured", cfg, bridge, 0x4000, true)
}
