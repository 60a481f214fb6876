package pci

import "sync"

// Measured is a Config that knows the sizes of devices' base address registers, so that
// nobody has to make a device stop answering to find them out.
//
// Other CPUs must not be at work meanwhile on some machines: QEMU before 8.2 can crash when
// the memory map changes while another CPU writes to a device's memory, such as its APIC.
type Measured struct {
	Config
	mu    sync.Mutex
	sizes map[Address]sizes
}

// sizes are what ones read as in a function's base address registers.
type sizes struct {
	id    uint32 // of the device that was there
	masks [numBARs]uint32
}

// Classes of devices (PCI Code and ID Assignment Specification) that have drivers here.
const (
	classStorage = 0x01
	classNetwork = 0x02
	classMemory  = 0x05
)

// Measure looks at the devices that may get a driver. Nothing may be using them.
func Measure(cfg Config) *Measured {
	m := &Measured{Config: cfg, sizes: map[Address]sizes{}}
	for f := range Functions(cfg) {
		class := cfg.Read(f.Address, regClass) >> 24
		if f.header != headerNormal || class != classStorage && class != classNetwork && class != classMemory {
			continue
		}
		s := sizes{id: cfg.Read(f.Address, regID)}
		command := cfg.Read(f.Address, regCommand) & 0xffff
		cfg.Write(f.Address, regCommand, command&^(commandMemory|commandPorts))
		for n := range s.masks {
			off := uint8(regBAR0 + n*registerSize)
			s.masks[n] = f.probe(off, cfg.Read(f.Address, off))
		}
		cfg.Write(f.Address, regCommand, command)
		m.sizes[f.Address] = s
	}
	return m
}

// Read implements Config. A device that is found gone is forgotten: another one may come.
func (m *Measured) Read(a Address, off uint8) uint32 {
	v := m.Config.Read(a, off)
	if off == regID {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s, ok := m.sizes[a]; ok && s.id != v {
			delete(m.sizes, a)
		}
	}
	return v
}

// of returns what is known of a function.
func (m *Measured) of(a Address) (sizes, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sizes[a]
	return s, ok
}

// masks returns what ones read as in the base address register at off, and in the one
// behind it if wide is set, and the value that the command register has to get back if
// the device turns out to be none to use.
func (f *Function) masks(off uint8, wide bool, decode uint32) (low, high, command uint32) {
	command = f.cfg.Read(f.Address, regCommand) & 0xffff // the status half takes ones as "clear"
	n := int(off-regBAR0) / registerSize
	if m, ok := f.cfg.(*Measured); ok {
		if s, ok := m.of(f.Address); ok {
			low = s.masks[n]
			if wide {
				high = s.masks[n+1]
			}
			return low, high, command
		}
	}
	f.setCommand(command &^ decode)
	low = f.probe(off, f.cfg.Read(f.Address, off))
	if wide {
		high = f.probe(off+registerSize, f.cfg.Read(f.Address, off+registerSize))
	}
	return low, high, command
}

// setCommand writes the command register if that changes it.
func (f *Function) setCommand(v uint32) {
	if f.cfg.Read(f.Address, regCommand)&0xffff != v {
		f.cfg.Write(f.Address, regCommand, v)
	}
}

// probe returns the bits of a register that can be set, and leaves it as it was.
func (f *Function) probe(off uint8, was uint32) uint32 {
	f.cfg.Write(f.Address, off, allOnes)
	v := f.cfg.Read(f.Address, off)
	f.cfg.Write(f.Address, off, was)
	return v
}
