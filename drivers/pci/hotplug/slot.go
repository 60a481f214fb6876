package hotplug

import (
	"time"

	"nidus/drivers/pci"
)

// The capability of PCI Express, and what of it is about a port's slot (section 7.5.3).
const (
	regCaps        = 0x00 // the upper half
	capPort        = 0xf << 20
	capRootPort    = 4 << 20
	capDownstream  = 6 << 20
	capSlot        = 1 << 24 // there is one
	regSlotCaps    = 0x14
	slotButton     = 1 << 0
	slotPower      = 1 << 1 // its power can be turned off
	slotLight      = 1 << 4 // that tells of the power
	slotHotplug    = 1 << 6
	slotNumber     = 19
	regSlotControl = 0x18 // the status is its upper half

	controlLight    = 3 << 8
	controlLightOn  = 1 << 8
	controlBlink    = 2 << 8
	controlLightOff = 3 << 8
	controlNoPower  = 1 << 10
	controlNotify   = 0x103f // all interrupts; nothing here waits for one

	statusButton  = 1 << 16 // was pressed; written as one to clear, as the others but presence
	statusEvents  = 0x011f << 16
	statusPresent = 1 << 22
)

// Of a bridge.
const (
	regBuses  = 0x18 // primary, secondary, subordinate
	regHeader = 0x0c
)

// slot is one of a port's.
type slot struct {
	cfg    pci.Config
	port   pci.Address
	cap    uint8 // offset of the capability
	caps   uint32
	there  bool      // there was something in it
	asked  time.Time // when the button was pressed; zero: it was not
	number uint32
}

// newSlot returns a port's slot, if that takes devices while the machine runs.
func newSlot(cfg pci.Config, f *pci.Function) *slot {
	off, ok := f.Capability(pci.CapExpress)
	if !ok || cfg.Read(f.Address, regHeader)>>16&0x7f != 1 || off > 0x100-(regSlotControl+4) {
		return nil
	}
	s := &slot{cfg: cfg, port: f.Address, cap: off}
	caps := s.read(regCaps)
	if kind := caps & capPort; kind != capRootPort && kind != capDownstream || caps&capSlot == 0 {
		return nil
	}
	if s.caps = s.read(regSlotCaps); s.caps&slotHotplug == 0 {
		return nil
	}
	s.number = s.caps >> slotNumber
	v := s.read(regSlotControl)
	s.there = v&statusPresent != 0
	control := v &^ controlNotify
	if s.there {
		control = control&^controlLight | controlLightOn
	}
	s.write(control, statusEvents)
	return s
}

func (s *slot) read(reg uint8) uint32 { return s.cfg.Read(s.port, s.cap+reg) }

// write sets the control half, and clears events.
func (s *slot) write(control, events uint32) {
	s.cfg.Write(s.port, s.cap+regSlotControl, control&0xffff|events)
}

// light sets the indicator of the power, if there is one.
func (s *slot) light(how uint32) {
	if s.caps&slotLight != 0 {
		s.write(s.read(regSlotControl)&^controlLight|how, 0)
	}
}

// powerOff lets what is in the slot be taken out.
func (s *slot) powerOff() {
	control := s.read(regSlotControl)&^controlLight | controlLightOff
	if s.caps&slotPower != 0 {
		control |= controlNoPower
	}
	s.write(control, 0)
}

// leads tells whether a bus is behind the slot.
func (s *slot) leads(bus uint8) bool {
	v := s.cfg.Read(s.port, regBuses)
	return uint8(v>>8) != 0 && bus >= uint8(v>>8) && bus <= uint8(v>>16)
}
