package acpi

import (
	"bytes"
	"encoding/binary"
)

// SleepType is a sleep state's values for the SLP_TYP field, bits 10 to 12, of
// the PM1a and PM1b control registers (section 7.4.2). On hardware-reduced ACPI
// A goes to bits 2 to 4 of the sleep control register.
type SleepType struct {
	A, B uint8
}

// PM1 control register bits (section 4.8.3.2.1).
const (
	slpTypShift = 10
	slpEnable   = 1 << 13
)

// PM1 returns the values that put the machine to sleep: the bits to set in the
// PM1a and the PM1b control register after the old SLP_TYP was cleared.
func (s SleepType) PM1() (a, b uint16) {
	return uint16(s.A)<<slpTypShift | slpEnable, uint16(s.B)<<slpTypShift | slpEnable
}

// AML opcodes (section 20.2, table 20.2).
const (
	amlZero     = 0x00
	amlOne      = 0x01
	amlName     = 0x08
	amlByte     = 0x0a
	amlWord     = 0x0b
	amlDWord    = 0x0c
	amlQWord    = 0x0e
	amlPackage  = 0x12
	amlRootChar = '\\'
)

// findS5 looks for \_S5 in the DSDT, then in the SSDTs.
func (r *reader) findS5(ssdts [][]byte) {
	if r.t.FADT != nil && r.t.FADT.DSDT != 0 {
		h, b, err := r.table(r.t.FADT.DSDT)
		switch {
		case err != nil:
			r.problem("%v", err)
		case h.Signature != "DSDT":
			r.problem("table at %#x: it is %q, not DSDT", h.Addr, h.Signature)
		default:
			r.t.Headers = append(r.t.Headers, h)
			r.t.S5 = scanS5(b[headerSize:])
		}
	}
	for _, b := range ssdts {
		if r.t.S5 == nil {
			r.t.S5 = scanS5(b[headerSize:])
		}
	}
	if r.t.S5 == nil {
		r.problem(`no \_S5 package in DSDT or SSDT: the machine can't be switched off by ACPI`)
	}
}

// scanS5 finds Name (_S5, Package {a, b, ...}) in AML without interpreting it.
// Firmware writes it with constants, as it must be there before any method runs.
func scanS5(aml []byte) *SleepType {
	for from := 0; ; {
		i := bytes.Index(aml[from:], []byte("_S5_"))
		if i < 0 {
			return nil
		}
		i += from
		from = i + 4
		named := i >= 1 && aml[i-1] == amlName ||
			i >= 2 && aml[i-1] == amlRootChar && aml[i-2] == amlName
		if !named {
			continue
		}
		if s := s5Package(aml[from:]); s != nil {
			return s
		}
	}
}

// s5Package reads a package whose first one or two elements are the values.
func s5Package(b []byte) *SleepType {
	if len(b) < 3 || b[0] != amlPackage {
		return nil
	}
	// PkgLength (section 20.2.4): the two high bits say how many bytes follow.
	follow := int(b[1] >> 6)
	length := int(b[1] & 0x3f)
	if follow > 0 {
		length &= 0xf
		if len(b) < 2+follow {
			return nil
		}
		for i := range follow {
			length |= int(b[2+i]) << (4 + 8*i)
		}
	}
	// The length counts itself, from b[1]; the number of elements follows.
	if length < follow+2 || length > len(b)-1 {
		return nil
	}
	n, body := b[2+follow], b[3+follow:1+length]
	if n < 1 {
		return nil
	}
	a, body, ok := amlInt(body)
	if !ok || a > 7 {
		return nil
	}
	s := &SleepType{A: uint8(a), B: uint8(a)}
	if n > 1 && len(body) > 0 {
		v, _, ok := amlInt(body)
		if !ok || v > 7 {
			return nil
		}
		s.B = uint8(v)
	}
	return s
}

// amlInt reads a constant integer and returns what follows it.
func amlInt(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	op, b := b[0], b[1:]
	le := binary.LittleEndian
	switch {
	case op == amlZero || op == amlOne:
		return uint64(op), b, true
	case op == amlByte && len(b) >= 1:
		return uint64(b[0]), b[1:], true
	case op == amlWord && len(b) >= 2:
		return uint64(le.Uint16(b)), b[2:], true
	case op == amlDWord && len(b) >= 4:
		return uint64(le.Uint32(b)), b[4:], true
	case op == amlQWord && len(b) >= 8:
		return le.Uint64(b), b[8:], true
	}
	return 0, nil, false
}
