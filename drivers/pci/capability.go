package pci

import "iter"

// Capability numbers (PCI Code and ID Assignment Specification 1.11, section 2).
const (
	CapMSI     = 0x05
	CapVendor  = 0x09
	CapExpress = 0x10
	CapMSIX    = 0x11
)

const (
	regCapabilities   = 0x34
	statusCapList     = 1 << 20 // of regCommand
	commandMaster     = 1 << 2
	commandNoINTx     = 1 << 10
	firstCapability   = 0x40
	mostCapabilities  = (0x100 - firstCapability) / 4
	capabilityPointer = 0xfc
)

// Capabilities yields the number and the offset of each capability (PCI 3.0, section
// 6.7). A list that runs in a circle ends.
func (f *Function) Capabilities() iter.Seq2[uint8, uint8] {
	return func(yield func(id, off uint8) bool) {
		if f.cfg.Read(f.Address, regCommand)&statusCapList == 0 {
			return
		}
		next := uint8(f.cfg.Read(f.Address, regCapabilities))
		for range mostCapabilities {
			off := next & capabilityPointer
			if off < firstCapability {
				return
			}
			v := f.cfg.Read(f.Address, off)
			if !yield(uint8(v), off) {
				return
			}
			next = uint8(v >> 8)
		}
	}
}

// Capability returns the offset of the first capability of a number.
func (f *Function) Capability(id uint8) (off uint8, ok bool) {
	for i, o := range f.Capabilities() {
		if i == id {
			return o, true
		}
	}
	return 0, false
}

// Read reads a register of the function's configuration space; what is beyond its end
// reads as ones.
func (f *Function) Read(off int) uint32 {
	if off < 0 || off > 0xfc {
		return allOnes
	}
	return f.cfg.Read(f.Address, uint8(off))
}

// Class returns the class, the subclass and the programming interface, of a byte each.
func (f *Function) Class() uint32 { return f.Read(regClass) >> 8 }

// Subsystem returns the subsystem's vendor and number.
func (f *Function) Subsystem() (vendor, device uint16) {
	v := f.Read(0x2c)
	return uint16(v), uint16(v >> 16)
}

// Present tells whether the function still answers. Its memory is no sign: what is not
// there reads as ones on most machines, but as zeroes in QEMU.
func (f *Function) Present() bool {
	return f.Read(regID) == uint32(f.Vendor)|uint32(f.Device)<<16
}

// SetMaster lets the function reach memory, and write interrupts there, or no longer. Its
// old interrupt line stays silent.
func (f *Function) SetMaster(on bool) {
	// The status half takes ones as "clear", so it is written as zeroes.
	c := f.cfg.Read(f.Address, regCommand)&0xffff&^commandMaster | commandNoINTx
	if on {
		c |= commandMaster
	}
	f.cfg.Write(f.Address, regCommand, c)
}
