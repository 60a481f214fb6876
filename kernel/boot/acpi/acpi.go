// Package acpi reads the firmware's ACPI tables, as far as a hypervisor needs
// them without an AML interpreter: processors and interrupt controllers (MADT),
// PCI configuration space (MCFG), power management registers (FADT), the HPET,
// and the value that switches the machine off (\_S5).
//
// It is pure: physical memory is reached through boot.Phys. Firmware is often
// wrong: a table that is, is left out with a reason in Tables.Problems, and
// every length and count in it is bounded.
//
// Specifications: ACPI 6.5, sections 5.2 (tables), 7.4.2 (\_S5), 20.2 (AML); PCI
// Firmware 3.3, section 4.1.2 (MCFG); IA-PC HPET 1.0a, section 3.2.4.
package acpi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"nidus/kernel/boot"
)

// Bounds on what is read.
const (
	headerSize   = 36
	maxTables    = 256
	maxTableSize = 4 << 20
	maxTotal     = 32 << 20 // all tables together
	maxProblems  = 64
)

// ErrNoRSDP says that there is no root pointer, and so no ACPI.
var ErrNoRSDP = errors.New("no ACPI root pointer (RSDP)")

// Header is the start of every table but RSDP and FACS (section 5.2.6).
type Header struct {
	Signature   string // four bytes
	Addr        uint64 // physical; not part of the table
	Length      uint32 // header included
	Revision    uint8
	OEMID       string
	OEMTableID  string
	OEMRevision uint32
}

// Tables is what the firmware says about the machine. A pointer is nil if the
// table is absent or unusable.
type Tables struct {
	Revision uint8    // of the RSDP: 0 for ACPI 1.0, 2 since
	OEMID    string   // of the RSDP
	Headers  []Header // every table with a right checksum, in the firmware's order
	MADT     *MADT
	MCFG     []ECAM
	FADT     *FADT
	HPET     *HPET
	// S5 is what to write to the PM1 control registers to switch off.
	S5 *SleepType
	// Problems says which tables were left out and why.
	Problems []string
}

// reader reads tables and remembers how much.
type reader struct {
	mem   boot.Phys
	t     *Tables
	total uint64
}

// problem notes why something was left out.
func (r *reader) problem(format string, args ...any) {
	if len(r.t.Problems) < maxProblems {
		r.t.Problems = append(r.t.Problems, fmt.Sprintf(format, args...))
	}
}

// Parse reads all tables. rsdp is the root pointer's address as the loader gave
// it; 0, or one that holds no root pointer, makes Parse search for it. The error
// wraps ErrNoRSDP, or says that the root table itself can't be read; anything
// less is in Problems.
func Parse(mem boot.Phys, rsdp uint64) (*Tables, error) {
	r := &reader{mem: mem, t: &Tables{}}
	root, err := r.findRoot(rsdp)
	if err != nil {
		return nil, err
	}
	r.t.Revision, r.t.OEMID = root.revision, root.oemID
	addrs, err := r.rootTable(root)
	if err != nil {
		return nil, err
	}
	var ssdts [][]byte
	for _, a := range addrs {
		h, b, err := r.table(a)
		if err != nil {
			r.problem("%v", err)
			continue
		}
		r.t.Headers = append(r.t.Headers, h)
		if err := r.dispatch(h, b); err != nil {
			r.problem("table %s at %#x: %v", h.Signature, h.Addr, err)
		}
		if h.Signature == "SSDT" {
			ssdts = append(ssdts, b)
		}
	}
	r.findS5(ssdts)
	return r.t, nil
}

// dispatch reads the content of a table that is of use. The first of a kind
// counts.
func (r *reader) dispatch(h Header, b []byte) (err error) {
	switch {
	case h.Signature == "APIC" && r.t.MADT == nil:
		r.t.MADT, err = parseMADT(b)
	case h.Signature == "MCFG" && r.t.MCFG == nil:
		r.t.MCFG, err = parseMCFG(b)
	case h.Signature == "FACP" && r.t.FADT == nil:
		r.t.FADT, err = parseFADT(b)
	case h.Signature == "HPET" && r.t.HPET == nil:
		r.t.HPET, err = parseHPET(b)
	}
	return err
}

// table reads the table at addr and checks its length and checksum.
func (r *reader) table(addr uint64) (Header, []byte, error) {
	var hb [headerSize]byte
	if addr == 0 || addr > boot.MaxPhys-headerSize {
		return Header{}, nil, fmt.Errorf("table at %#x: impossible address", addr)
	}
	if err := r.mem.ReadPhys(addr, hb[:]); err != nil {
		return Header{}, nil, fmt.Errorf("table at %#x: %w", addr, err)
	}
	h := Header{
		Signature:   printable(hb[:4]),
		Addr:        addr,
		Length:      binary.LittleEndian.Uint32(hb[4:]),
		Revision:    hb[8],
		OEMID:       printable(hb[10:16]),
		OEMTableID:  printable(hb[16:24]),
		OEMRevision: binary.LittleEndian.Uint32(hb[24:]),
	}
	n := uint64(h.Length)
	if n < headerSize || n > maxTableSize || n > boot.MaxPhys-addr {
		return h, nil, fmt.Errorf("table %s at %#x: impossible length %d", h.Signature, addr, n)
	}
	if r.total+n > maxTotal {
		return h, nil, fmt.Errorf("table %s at %#x: more than %d MiB of tables", h.Signature, addr, maxTotal>>20)
	}
	r.total += n
	b := make([]byte, n)
	if err := r.mem.ReadPhys(addr, b); err != nil {
		return h, nil, fmt.Errorf("table %s at %#x: %w", h.Signature, addr, err)
	}
	if s := sum(b); s != 0 {
		return h, nil, fmt.Errorf("table %s at %#x: wrong checksum (the bytes add up to %#x, not 0)", h.Signature, addr, s)
	}
	return h, b, nil
}

// sum adds bytes modulo 256; a valid table's sum is 0.
func sum(b []byte) (s uint8) {
	for _, c := range b {
		s += c
	}
	return s
}

// printable returns b as text with trailing blanks cut off and everything odd
// replaced, fit for a log.
func printable(b []byte) string {
	out := make([]byte, len(b))
	n := 0
	for i, c := range b {
		if c == 0 {
			c = ' '
		}
		if c < ' ' || c > '~' {
			c = '?'
		}
		out[i] = c
		if c != ' ' {
			n = i + 1
		}
	}
	return string(out[:n])
}
