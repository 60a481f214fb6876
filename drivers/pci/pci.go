// Package pci finds the functions of a PC's PCI buses and where their memory is. It
// reads the first 256 bytes of each configuration space, by the two ports that every PC
// has had since 1992: that is all that the drivers here need, of the first segment.
//
// References: PCI Local Bus Specification 3.0, sections 3.2.2.3.2 (configuration
// mechanism #1), 6.1 (header), 6.2.5.1 (base address registers); PCI-to-PCI Bridge
// Architecture Specification 1.2, section 3.2.5.4.
package pci

import (
	"fmt"
	"iter"
)

// Address is where a function is.
type Address struct{ Bus, Device, Function uint8 }

// String writes an address as lspci does.
func (a Address) String() string { return fmt.Sprintf("%02x:%02x.%x", a.Bus, a.Device, a.Function) }

// Config is the configuration space of all functions. A register has 32 bits; off is a
// multiple of 4 below 256. What is not there reads as ones.
type Config interface {
	Read(a Address, off uint8) uint32
	Write(a Address, off uint8, v uint32)
}

// Registers (section 6.1).
const (
	regID      = 0x00 // vendor, device
	regCommand = 0x04 // command, status
	regClass   = 0x08 // revision, class
	regHeader  = 0x0c // its third byte
	regBAR0    = 0x10
	regBuses   = 0x18 // of a bridge: primary, secondary, subordinate
)

const (
	noVendor      = 0xffff
	headerType    = 0x7f
	headerMulti   = 0x80
	headerNormal  = 0
	headerBridge  = 1
	commandPorts  = 1 << 0
	commandMemory = 1 << 1
)

// Function is one function of a device.
type Function struct {
	Address
	Vendor, Device uint16
	Revision       uint8

	cfg    Config
	header uint8
}

// Functions yields every function that the buses lead to, bus 0 first. A bus that
// several bridges claim is looked at once.
func Functions(cfg Config) iter.Seq[*Function] {
	return func(yield func(*Function) bool) {
		var seen [256]bool
		seen[0] = true
		for queue := []uint8{0}; len(queue) > 0; queue = queue[1:] {
			for f := range onBus(cfg, queue[0]) {
				if f.header == headerBridge {
					if next := uint8(cfg.Read(f.Address, regBuses) >> 8); !seen[next] {
						seen[next] = true
						queue = append(queue, next)
					}
				}
				if !yield(f) {
					return
				}
			}
		}
	}
}

// onBus yields a bus's functions.
func onBus(cfg Config, bus uint8) iter.Seq[*Function] {
	return func(yield func(*Function) bool) {
		for dev := range uint8(32) {
			for fn := range uint8(8) {
				a := Address{bus, dev, fn}
				id := cfg.Read(a, regID)
				there := id&0xffff != noVendor
				header := uint8(cfg.Read(a, regHeader) >> 16)
				if there && !yield(&Function{Address: a, Vendor: uint16(id), Device: uint16(id >> 16),
					Revision: uint8(cfg.Read(a, regClass)), cfg: cfg, header: header & headerType}) {
					return
				}
				if fn == 0 && (!there || header&headerMulti == 0) {
					break
				}
			}
		}
	}
}
