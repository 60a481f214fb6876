package acpi

import (
	"encoding/binary"
	"fmt"

	"nidus/kernel/boot"
)

// root is the root pointer (section 5.2.5.3).
type root struct {
	revision uint8
	oemID    string
	rsdt     uint64
	xsdt     uint64 // 0 before ACPI 2.0, or if that part is broken
}

const (
	rsdpSize1 = 20 // ACPI 1.0: what the first checksum covers
	rsdpSize2 = 36
	rsdpAlign = 16
)

// FindRSDP searches for the root pointer where a BIOS puts it: the first KiB of
// the extended BIOS data area, then 0xe0000 to 0xfffff (section 5.2.5.1).
func FindRSDP(mem boot.Phys) (addr uint64, err error) {
	var seg [2]byte
	if mem.ReadPhys(0x40e, seg[:]) == nil { // the BIOS data area's pointer to it
		ebda := uint64(binary.LittleEndian.Uint16(seg[:])) << 4
		if ebda >= 0x500 && ebda < 0xa0000 { // behind the data area
			if a := scanRSDP(mem, ebda, 0x400); a != 0 {
				return a, nil
			}
		}
	}
	if a := scanRSDP(mem, 0xe0000, 0x20000); a != 0 {
		return a, nil
	}
	return 0, fmt.Errorf("%w in the EBDA or at 0xe0000-0xfffff: on UEFI start by multiboot 2 or PVH, which pass it", ErrNoRSDP)
}

// scanRSDP returns the address of the root pointer in size bytes at start, or 0.
func scanRSDP(mem boot.Phys, start, size uint64) uint64 {
	for a := start; a+rsdpSize1 <= start+size; a += rsdpAlign {
		if _, err := readRoot(mem, a); err == nil {
			return a
		}
	}
	return 0
}

// readRoot reads the root pointer at addr.
func readRoot(mem boot.Phys, addr uint64) (root, error) {
	var b [rsdpSize2]byte
	if addr == 0 || addr > boot.MaxPhys-rsdpSize2 {
		return root{}, fmt.Errorf("RSDP at %#x: impossible address", addr)
	}
	if err := mem.ReadPhys(addr, b[:rsdpSize1]); err != nil {
		return root{}, fmt.Errorf("RSDP at %#x: %w", addr, err)
	}
	if string(b[:8]) != "RSD PTR " {
		return root{}, fmt.Errorf("RSDP at %#x: wrong signature % x", addr, b[:8])
	}
	if sum(b[:rsdpSize1]) != 0 {
		return root{}, fmt.Errorf("RSDP at %#x: wrong checksum", addr)
	}
	p := root{
		revision: b[15],
		oemID:    printable(b[9:15]),
		rsdt:     uint64(binary.LittleEndian.Uint32(b[16:])),
	}
	if p.revision < 2 {
		return p, nil
	}
	// A loader's copy may hold the first 20 bytes only: then the RSDT serves.
	if mem.ReadPhys(addr, b[:]) == nil && sum(b[:]) == 0 {
		p.xsdt = binary.LittleEndian.Uint64(b[24:])
	}
	return p, nil
}

// findRoot reads the root pointer at addr, or else searches for it.
func (r *reader) findRoot(addr uint64) (root, error) {
	if addr != 0 {
		p, err := readRoot(r.mem, addr)
		if err == nil {
			return p, nil
		}
		r.problem("%v: searching for it", err)
	}
	addr, err := FindRSDP(r.mem)
	if err != nil {
		return root{}, err
	}
	return readRoot(r.mem, addr)
}

// rootTable returns the tables' addresses from the XSDT, or from the RSDT if
// there is no usable XSDT (sections 5.2.7, 5.2.8).
func (r *reader) rootTable(p root) ([]uint64, error) {
	if p.xsdt != 0 {
		addrs, err := r.pointers(p.xsdt, "XSDT", 8)
		if err == nil {
			return addrs, nil
		}
		r.problem("%v: using the RSDT", err)
	}
	return r.pointers(p.rsdt, "RSDT", 4)
}

// pointers reads a root table whose entries have size bytes.
func (r *reader) pointers(addr uint64, sig string, size int) ([]uint64, error) {
	h, b, err := r.table(addr)
	if err != nil {
		return nil, err
	}
	if h.Signature != sig {
		return nil, fmt.Errorf("table at %#x: it is %q, not %s", addr, h.Signature, sig)
	}
	b = b[headerSize:]
	n := len(b) / size
	if n > maxTables {
		r.problem("%s names %d tables: only the first %d are read", sig, n, maxTables)
		n = maxTables
	}
	var addrs []uint64
	for i := range n {
		a := uint64(0)
		if size == 8 {
			a = binary.LittleEndian.Uint64(b[8*i:])
		} else {
			a = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		}
		if a != 0 { // some firmware leaves empty entries
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}
