// Package acpi builds the ACPI tables that a PVH guest finds: RSDP, XSDT, FADT,
// MADT and a DSDT. They describe a hardware-reduced machine, as Xen's do: no
// PM registers, no VGA, no CMOS clock, no keyboard controller, no I/O APIC;
// local APICs are all there is.
//
// It is pure. Specification: ACPI 6.2, chapters 5 (tables) and 20 (AML);
// FADT and MADT are of ACPI 5.0's revision (FADT 5, MADT 3).
package acpi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"nidus/mm"
)

// CPU is one processor of the guest.
type CPU struct {
	// UID is the processor's number in ACPI.
	UID uint32
	// APICID is its local APIC's identity; above 254 it needs x2APIC.
	APICID uint32
	// Enabled is false for one that may be brought online later.
	Enabled bool
}

// Config says what the tables describe.
type Config struct {
	// Base is the guest physical address of the tables, aligned to 16.
	Base mm.GuestPhys
	// Size is the room there, in bytes.
	Size uint64
	// CPUs are the guest's processors.
	CPUs []CPU
	// LocalAPIC is the local APICs' address; 0 means 0xfee00000.
	LocalAPIC uint32
}

// Tables are finished tables, to be copied to Base as one piece.
type Tables struct {
	Base mm.GuestPhys
	Data []byte
	// RSDP is where the guest starts to look: it is Base.
	RSDP mm.GuestPhys
}

// ErrConfig says that the tables can't be built as asked.
var ErrConfig = errors.New("ACPI tables")

// MaxCPUs bounds the processors in a MADT.
const MaxCPUs = 4096

const (
	rsdpSize   = 36
	headerSize = 36
	fadtSize   = 268 // FADT revision 5

	defaultLocalAPIC = 0xfee00000
)

// Identities in the table headers: up to 6 and 8 characters.
const (
	oemID      = "NIDUS "
	oemTableID = "NIDUSPVH"
	creatorID  = "NIDU"
)

var le = binary.LittleEndian

// Build makes the tables. Errors wrap ErrConfig.
func Build(c Config) (*Tables, error) {
	switch {
	case c.Base == 0 || c.Base%16 != 0:
		return nil, fmt.Errorf("%w: base %#x is not a multiple of 16", ErrConfig, c.Base)
	case len(c.CPUs) == 0 || len(c.CPUs) > MaxCPUs:
		return nil, fmt.Errorf("%w: %d processors, 1 to %d are possible", ErrConfig, len(c.CPUs), MaxCPUs)
	case uint64(c.Base)+c.Size > 1<<32 || uint64(c.Base)+c.Size < c.Size:
		return nil, fmt.Errorf("%w: %#x to %#x is not below 4 GiB", ErrConfig, c.Base, uint64(c.Base)+c.Size)
	}
	if c.LocalAPIC == 0 {
		c.LocalAPIC = defaultLocalAPIC
	}
	m, err := madt(c)
	if err != nil {
		return nil, err
	}

	t := &Tables{Base: c.Base, RSDP: c.Base, Data: make([]byte, rsdpSize)}
	dsdtAt := t.add(dsdt())
	fadtAt := t.add(fadt(dsdtAt))
	madtAt := t.add(m)
	xsdtAt := t.add(xsdt(fadtAt, madtAt))
	t.rsdp(xsdtAt)
	if uint64(len(t.Data)) > c.Size {
		return nil, fmt.Errorf("%w: they take %d bytes and there is room for %d; give the domain fewer vcpus", ErrConfig, len(t.Data), c.Size)
	}
	return t, nil
}

// add appends a table at the next multiple of 16 and returns its address.
func (t *Tables) add(table []byte) uint64 {
	for len(t.Data)%16 != 0 {
		t.Data = append(t.Data, 0)
	}
	at := uint64(t.Base) + uint64(len(t.Data))
	t.Data = append(t.Data, table...)
	return at
}

// rsdp fills in the root pointer, ACPI 5.2.5.3.
func (t *Tables) rsdp(xsdtAt uint64) {
	b := t.Data[:rsdpSize]
	copy(b, "RSD PTR ")
	copy(b[9:15], oemID)
	b[15] = 2 // revision: ACPI 2.0 and later
	le.PutUint32(b[20:], rsdpSize)
	le.PutUint64(b[24:], xsdtAt)
	b[8] = checksum(b[:20])
	b[32] = checksum(b)
}

// newTable starts a table with the header of ACPI 5.2.6.
func newTable(signature string, revision byte, size int) []byte {
	b := make([]byte, headerSize, max(size, headerSize))
	copy(b, signature)
	b[8] = revision
	copy(b[10:16], oemID)
	copy(b[16:24], oemTableID)
	le.PutUint32(b[24:], 1)
	copy(b[28:32], creatorID)
	le.PutUint32(b[32:], 1)
	return b
}

// finish sets a table's length and checksum.
func finish(b []byte) []byte {
	le.PutUint32(b[4:], uint32(len(b)))
	b[9] = 0
	b[9] = checksum(b)
	return b
}

// checksum returns the byte that makes b sum to zero.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

// xsdt is ACPI 5.2.8.
func xsdt(tables ...uint64) []byte {
	b := newTable("XSDT", 1, headerSize+8*len(tables))
	for _, at := range tables {
		b = le.AppendUint64(b, at)
	}
	return finish(b)
}

// Fields and flags of the FADT, ACPI 5.2.9.
const (
	fadtDSDT         = 40  // u32
	fadtIAPCBootArch = 109 // u16
	fadtFlags        = 112 // u32
	fadtMinorVersion = 131 // u8
	fadtXDSDT        = 140 // u64

	fadtWBINVD          = 1 << 0
	fadtPwrButton       = 1 << 4 // set: no fixed power button
	fadtSlpButton       = 1 << 5 // set: no fixed sleep button
	fadtHeadless        = 1 << 12
	fadtHWReducedACPI   = 1 << 20
	iapcNoVGA           = 1 << 2
	iapcNoCMOSRTC       = 1 << 5
	fadtRevision, madt3 = 5, 3
)

// fadt is ACPI 5.2.9. All register blocks stay zero: hardware-reduced. There
// is no FACS, which 5.2.9 leaves out with HW_REDUCED_ACPI.
func fadt(dsdtAt uint64) []byte {
	b := newTable("FACP", fadtRevision, fadtSize)[:fadtSize]
	le.PutUint32(b[fadtDSDT:], uint32(dsdtAt))
	le.PutUint16(b[fadtIAPCBootArch:], iapcNoVGA|iapcNoCMOSRTC)
	le.PutUint32(b[fadtFlags:], fadtWBINVD|fadtPwrButton|fadtSlpButton|fadtHeadless|fadtHWReducedACPI)
	b[fadtMinorVersion] = 0
	le.PutUint64(b[fadtXDSDT:], dsdtAt)
	return finish(b)
}

// Structures of the MADT, ACPI 5.2.12.2 and 5.2.12.12.
const (
	madtLocalAPIC  = 0
	madtX2APIC     = 9
	madtEnabled    = 1 << 0
	maxLocalAPICID = 254 // 255 is the broadcast address
)

// madt is ACPI 5.2.12. A processor whose numbers do not fit a local APIC entry
// gets an x2APIC entry.
func madt(c Config) ([]byte, error) {
	b := newTable("APIC", madt3, headerSize+8+16*len(c.CPUs))
	b = le.AppendUint32(b, c.LocalAPIC)
	b = le.AppendUint32(b, 0) // no PC-AT-compatible 8259s
	apics, uids := make(map[uint32]bool), make(map[uint32]bool)
	for _, cpu := range c.CPUs {
		if apics[cpu.APICID] || uids[cpu.UID] {
			return nil, fmt.Errorf("%w: two processors have UID %d or APIC ID %d", ErrConfig, cpu.UID, cpu.APICID)
		}
		apics[cpu.APICID], uids[cpu.UID] = true, true
		var flags uint32
		if cpu.Enabled {
			flags = madtEnabled
		}
		if cpu.APICID <= maxLocalAPICID && cpu.UID <= maxLocalAPICID {
			b = append(b, madtLocalAPIC, 8, byte(cpu.UID), byte(cpu.APICID))
			b = le.AppendUint32(b, flags)
			continue
		}
		b = append(b, madtX2APIC, 16, 0, 0)
		b = le.AppendUint32(b, cpu.APICID)
		b = le.AppendUint32(b, flags)
		b = le.AppendUint32(b, cpu.UID)
	}
	return finish(b), nil
}

// dsdt is a definition block without devices:
//
//	DefinitionBlock ("", "DSDT", 2, "NIDUS", "NIDUSPVH", 1) { Scope (\_SB) { } }
//
// There is no \_S5: without sleep registers a guest could not enter it, and
// powers off by hypercall.
func dsdt() []byte {
	b := newTable("DSDT", 2, headerSize+8)
	// ScopeOp PkgLength RootChar NameSeg, ACPI 20.2.5.1 and 20.2.4: the
	// length counts itself.
	return finish(append(b, 0x10, 6, '\\', '_', 'S', 'B', '_'))
}
