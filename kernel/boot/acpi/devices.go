package acpi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"nidus/kernel/boot"
)

// ECAM is memory-mapped PCI configuration space (PCI Firmware 3.3, section
// 4.1.2): 1 MiB for each bus.
type ECAM struct {
	Base        uint64 // physical, of bus 0, even if FirstBus is another
	Segment     uint16
	First, Last uint8 // buses
}

// Start returns the physical address of the first bus that is there.
func (e ECAM) Start() uint64 { return e.Base + uint64(e.First)<<20 }

// Size returns the region's length in bytes.
func (e ECAM) Size() uint64 { return (uint64(e.Last) - uint64(e.First) + 1) << 20 }

// parseMCFG reads the table.
func parseMCFG(b []byte) ([]ECAM, error) {
	const first, entry = headerSize + 8, 16
	if len(b) < first+entry {
		return nil, errors.New("no entry")
	}
	var list []ECAM
	var bad error
	for off := first; off+entry <= len(b) && len(list) < maxTables; off += entry {
		le := binary.LittleEndian
		e := ECAM{le.Uint64(b[off:]), le.Uint16(b[off+8:]), b[off+10], b[off+11]}
		if e.Base == 0 || e.Base%(1<<20) != 0 || e.Base > boot.MaxPhys-256<<20 || e.First > e.Last {
			bad = fmt.Errorf("impossible entry skipped: base %#x, buses %d to %d", e.Base, e.First, e.Last)
			continue
		}
		list = append(list, e)
	}
	return list, bad
}

// HPET is the high precision event timer (IA-PC HPET 1.0a, section 3.2.4).
type HPET struct {
	Base        uint64 // physical
	Number      uint8
	Vendor      uint16
	Comparators uint8 // how many
	Counter64   bool  // the main counter has 64 bits
	Legacy      bool  // can replace PIT and RTC interrupts
	MinTick     uint16
}

// parseHPET reads the table.
func parseHPET(b []byte) (*HPET, error) {
	if len(b) < 56 {
		return nil, errors.New("too short")
	}
	le := binary.LittleEndian
	id, r := le.Uint32(b[36:]), gas(b[40:])
	if r.Space != SpaceMemory || r.Addr == 0 || r.Addr%8 != 0 || r.Addr > boot.MaxPhys-0x400 {
		return nil, fmt.Errorf("impossible address %#x in space %d", r.Addr, r.Space)
	}
	return &HPET{
		Base:        r.Addr,
		Number:      b[52],
		Vendor:      uint16(id >> 16),
		Comparators: uint8(id>>8&0x1f) + 1,
		Counter64:   id&(1<<13) != 0,
		Legacy:      id&(1<<15) != 0,
		MinTick:     le.Uint16(b[53:]),
	}, nil
}
