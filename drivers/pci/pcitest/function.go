// Package pcitest is the PCI side of models of devices, for tests of drivers: one function
// with a window of registers, MSI and MSI-X.
package pcitest

import (
	"fmt"
	"sync"

	"nidus/drivers/device"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
)

// Function is a function at 00:00.0. Set what it is before Start.
type Function struct {
	Host  *devicetest.Host
	ID    uint32 // vendor, and the device above
	Class uint32 // class, subclass, interface: 24 bits
	BAR   int    // of the window
	// Window is the size of the device's own registers: a power of two, 4096 at least.
	Window uint32
	// Vectors is the length of the MSI-X table; 0: there is none.
	Vectors int
	// MSI tells that there is one message without a table.
	MSI bool
	// Load and Store are the device's own registers, of 32 bits.
	Load  func(off uint64) uint32
	Store func(off uint64, v uint32)
	// LoadSized and StoreSized are they of 8, 16 and 32 bits, n bytes; nil: they have 32.
	LoadSized  func(off uint64, n int) uint32
	StoreSized func(off uint64, n int, v uint32)

	mu    sync.Mutex
	regs  [64]uint32
	table []uint32
}

const (
	base    = 0xfe000000
	atMSI   = 0x50
	atMSIX  = 0x80
	master  = 1 << 2
	enabled = 1 << 31
)

// Start makes the function known to the host, and returns it.
func (f *Function) Start() *pci.Function {
	f.regs[0] = f.ID
	f.regs[1] = 1 << 20 // there are capabilities
	f.regs[2] = f.Class << 8
	f.regs[4+f.BAR] = base
	next := uint32(0)
	if f.Vectors > 0 {
		f.regs[atMSIX/4] = pci.CapMSIX | uint32(f.Vectors-1)<<16
		f.regs[atMSIX/4+1] = f.Window | uint32(f.BAR)
		next = atMSIX
	}
	if f.MSI {
		f.regs[atMSI/4] = pci.CapMSI | next<<8 | 1<<23
		next = atMSI
	}
	f.regs[0x34/4] = next
	f.table = make([]uint32, 4*f.Vectors)
	f.Host.Window = func(addr, n uint64) (device.Registers, error) {
		if addr < base || addr-base+n > uint64(2*f.Window) {
			return nil, fmt.Errorf("pcitest: nothing is at %#x", addr)
		}
		return &window{f, addr - base, n}, nil
	}
	for g := range pci.Functions(config{f}) {
		return g
	}
	panic("pcitest: no function")
}

// Master tells whether the function may reach memory.
func (f *Function) Master() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.regs[1]&master != 0
}

// Interrupt sends a message, of the table or the only one, if it is not masked.
func (f *Function) Interrupt(vector int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.regs[1]&master == 0:
	case f.regs[atMSIX/4]&enabled != 0:
		if e := f.table[4*vector:]; e[3]&1 == 0 {
			f.Host.Send(device.Message{Addr: uint64(e[0]) | uint64(e[1])<<32, Data: e[2]})
		}
	case f.regs[atMSI/4]>>16&1 != 0 && vector == 0:
		r := f.regs[atMSI/4:]
		f.Host.Send(device.Message{Addr: uint64(r[1]) | uint64(r[2])<<32, Data: r[3]})
	}
}

// config is the configuration space.
type config struct{ f *Function }

func (c config) Read(a pci.Address, off uint8) uint32 {
	if a != (pci.Address{}) {
		return 0xffffffff
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return c.f.regs[off/4]
}

func (c config) Write(a pci.Address, off uint8, v uint32) {
	if a != (pci.Address{}) {
		return
	}
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r := &f.regs[off/4]; {
	case off == 0x04:
		*r = *r&^0xffff | v&0xffff
	case int(off) == 0x10+4*f.BAR:
		*r = v &^ (2*f.Window - 1) // the table is in its upper half
	case off == atMSIX:
		*r = *r&^(3<<30) | v&(3<<30)
	case off >= atMSI && off < atMSI+16 && f.MSI:
		if off == atMSI {
			v = *r&^(0x71<<16) | v&(0x71<<16)
		}
		*r = v
	}
}

// window is a part of the device's memory.
type window struct {
	f       *Function
	from, n uint64
}

func (w *window) Size() uint64                 { return w.n }
func (w *window) Load8(off uint64) uint8       { return uint8(w.load(off, 1)) }
func (w *window) Load16(off uint64) uint16     { return uint16(w.load(off, 2)) }
func (w *window) Load32(off uint64) uint32     { return w.load(off, 4) }
func (w *window) Store8(off uint64, v uint8)   { w.store(off, 1, uint32(v)) }
func (w *window) Store16(off uint64, v uint16) { w.store(off, 2, uint32(v)) }
func (w *window) Store32(off uint64, v uint32) { w.store(off, 4, v) }

func (w *window) at(off uint64, n int) uint64 {
	if off+uint64(n) > w.n || off%uint64(n) != 0 || n != 4 && (w.f.LoadSized == nil || w.from+off >= uint64(w.f.Window)) {
		panic(fmt.Sprintf("pcitest: %d bytes at %#x of %#x", n, off, w.n))
	}
	return w.from + off
}

func (w *window) load(off uint64, n int) uint32 {
	switch at := w.at(off, n); {
	case at >= uint64(w.f.Window):
		w.f.mu.Lock()
		defer w.f.mu.Unlock()
		return w.f.table[(at-uint64(w.f.Window))/4]
	case w.f.LoadSized != nil:
		return w.f.LoadSized(at, n)
	default:
		return w.f.Load(at)
	}
}

func (w *window) store(off uint64, n int, v uint32) {
	switch at := w.at(off, n); {
	case at >= uint64(w.f.Window):
		w.f.mu.Lock()
		defer w.f.mu.Unlock()
		w.f.table[(at-uint64(w.f.Window))/4] = v
	case w.f.StoreSized != nil:
		w.f.StoreSized(at, n, v)
	default:
		w.f.Store(at, v)
	}
}
