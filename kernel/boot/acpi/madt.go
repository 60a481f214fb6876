package acpi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MADT is the multiple APIC description table (section 5.2.12): processors and
// interrupt controllers.
type MADT struct {
	// LocalAPIC is the physical address of the local APICs, with the 64-bit
	// override applied.
	LocalAPIC uint64
	// PCAT says that two 8259 interrupt controllers are there too, and must be
	// masked.
	PCAT      bool
	CPUs      []CPU
	IOAPICs   []IOAPIC
	Overrides []Override
	NMIs      []NMI      // sources of NMI at an IO-APIC
	LocalNMIs []LocalNMI // how NMI is wired to the local APICs
}

// CPU is a processor's local APIC or x2APIC entry.
type CPU struct {
	UID    uint32 // the ACPI processor's number
	APICID uint32
	X2APIC bool // by an x2APIC entry
	// Enabled processors are there. One that is only OnlineCapable may be
	// plugged in later; one that is neither is not to be used.
	Enabled, OnlineCapable bool
}

// IOAPIC is an I/O interrupt controller.
type IOAPIC struct {
	ID      uint8
	Addr    uint32 // physical
	GSIBase uint32 // global system interrupt of its first input
}

// Polarity and Trigger are an interrupt's MPS INTI flags (table 5.26). "As the
// bus" is high and edge for ISA.
type (
	Polarity uint8
	Trigger  uint8
)

// The values of MPS INTI flags.
const (
	PolarityBus  Polarity = 0
	PolarityHigh Polarity = 1
	PolarityLow  Polarity = 3

	TriggerBus   Trigger = 0
	TriggerEdge  Trigger = 1
	TriggerLevel Trigger = 3
)

// Override says that an ISA interrupt is not wired to the input of its number.
type Override struct {
	IRQ      uint8 // ISA
	GSI      uint32
	Polarity Polarity
	Trigger  Trigger
}

// NMI is an IO-APIC's input that is to be set up as NMI.
type NMI struct {
	GSI      uint32
	Polarity Polarity
	Trigger  Trigger
}

// AllCPUs is a LocalNMI's UID that means every processor.
const AllCPUs = ^uint32(0)

// LocalNMI is a local APIC's input that NMI is wired to.
type LocalNMI struct {
	UID      uint32 // ACPI processor, or AllCPUs
	LINT     uint8  // 0 or 1
	Polarity Polarity
	Trigger  Trigger
}

// GSI returns where an ISA interrupt is wired to, and how.
func (m *MADT) GSI(irq uint8) Override {
	for _, o := range m.Overrides {
		if o.IRQ == irq {
			return o
		}
	}
	return Override{IRQ: irq, GSI: uint32(irq)}
}

// Entry types (section 5.2.12, table 5.21).
const (
	madtLocalAPIC     = 0
	madtIOAPIC        = 1
	madtOverride      = 2
	madtNMI           = 3
	madtLocalNMI      = 4
	madtLocalAddr     = 5
	madtLocalX2APIC   = 9
	madtLocalX2APICNM = 10
)

// maxMADTEntries is far above what a machine of 4096 processors needs.
const maxMADTEntries = 16384

// madtSize is the least size of an entry that is read.
var madtSize = map[uint8]int{
	madtLocalAPIC: 8, madtIOAPIC: 12, madtOverride: 10, madtNMI: 8, madtLocalNMI: 6,
	madtLocalAddr: 12, madtLocalX2APIC: 16, madtLocalX2APICNM: 12,
}

// parseMADT reads the table. Entries of a type that is not known are passed
// over; one of a wrong size makes the whole table unusable, as what follows is a
// guess.
func parseMADT(b []byte) (*MADT, error) {
	if len(b) < headerSize+8 {
		return nil, errors.New("too short")
	}
	le := binary.LittleEndian
	m := &MADT{
		LocalAPIC: uint64(le.Uint32(b[36:])),
		PCAT:      le.Uint32(b[40:])&1 != 0,
	}
	for n, off := 0, headerSize+8; off+2 <= len(b); n++ {
		if n == maxMADTEntries {
			return nil, fmt.Errorf("more than %d entries", n)
		}
		typ, size := b[off], int(b[off+1])
		if size < 2 || size < madtSize[typ] || size > len(b)-off {
			return nil, fmt.Errorf("entry of type %d at offset %d has the impossible size %d", typ, off, size)
		}
		e := b[off : off+size]
		off += size
		switch typ {
		case madtLocalAPIC:
			if e[3] != 0xff { // not an APIC ID: firmware's mark for "none"
				m.addCPU(CPU{UID: uint32(e[2]), APICID: uint32(e[3])}, le.Uint32(e[4:]))
			}
		case madtLocalX2APIC:
			if id := le.Uint32(e[4:]); id != ^uint32(0) {
				m.addCPU(CPU{UID: le.Uint32(e[12:]), APICID: id, X2APIC: true}, le.Uint32(e[8:]))
			}
		case madtIOAPIC:
			m.IOAPICs = append(m.IOAPICs, IOAPIC{e[2], le.Uint32(e[4:]), le.Uint32(e[8:])})
		case madtOverride:
			p, t := inti(le.Uint16(e[8:]))
			m.Overrides = append(m.Overrides, Override{e[3], le.Uint32(e[4:]), p, t})
		case madtNMI:
			p, t := inti(le.Uint16(e[2:]))
			m.NMIs = append(m.NMIs, NMI{le.Uint32(e[4:]), p, t})
		case madtLocalNMI:
			p, t := inti(le.Uint16(e[3:]))
			uid := uint32(e[2])
			if uid == 0xff {
				uid = AllCPUs
			}
			m.LocalNMIs = append(m.LocalNMIs, LocalNMI{uid, e[5] & 1, p, t})
		case madtLocalX2APICNM:
			p, t := inti(le.Uint16(e[2:]))
			m.LocalNMIs = append(m.LocalNMIs, LocalNMI{le.Uint32(e[4:]), e[8] & 1, p, t})
		case madtLocalAddr:
			m.LocalAPIC = le.Uint64(e[4:])
		}
	}
	return m, nil
}

// addCPU appends a processor unless its APIC ID is there already: firmware may
// list one as local APIC and as x2APIC.
func (m *MADT) addCPU(c CPU, flags uint32) {
	c.Enabled, c.OnlineCapable = flags&1 != 0, flags&2 != 0
	for i := range m.CPUs {
		if m.CPUs[i].APICID == c.APICID {
			if c.Enabled && !m.CPUs[i].Enabled {
				m.CPUs[i] = c
			}
			return
		}
	}
	m.CPUs = append(m.CPUs, c)
}

// inti splits MPS INTI flags.
func inti(flags uint16) (Polarity, Trigger) {
	return Polarity(flags & 3), Trigger(flags >> 2 & 3)
}
