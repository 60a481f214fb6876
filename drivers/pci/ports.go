package pci

import "sync"

// Ports of configuration mechanism #1.
const (
	portAddress = 0xcf8
	portData    = 0xcfc
	enable      = 1 << 31
)

// Ports reads and writes I/O ports of 32 bits.
type Ports interface {
	In32(port uint16) uint32
	Out32(port uint16, v uint32)
}

// Mechanism1 is a Config by I/O ports. It is safe for concurrent use.
type Mechanism1 struct {
	Ports Ports
	mu    sync.Mutex
}

// Read implements Config.
func (m *Mechanism1) Read(a Address, off uint8) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Ports.Out32(portAddress, selector(a, off))
	return m.Ports.In32(portData)
}

// Write implements Config.
func (m *Mechanism1) Write(a Address, off uint8, v uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Ports.Out32(portAddress, selector(a, off))
	m.Ports.Out32(portData, v)
}

func selector(a Address, off uint8) uint32 {
	return enable | uint32(a.Bus)<<16 | uint32(a.Device&31)<<11 | uint32(a.Function&7)<<8 | uint32(off&^3)
}
