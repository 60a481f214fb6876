package acpi

import (
	"encoding/binary"
	"errors"

	"nidus/kernel/boot"
)

// Space is where a register lies (section 5.2.3.2).
type Space uint8

// The address spaces that registers are found in.
const (
	SpaceMemory Space = 0
	SpaceIO     Space = 1
	SpacePCI    Space = 2
)

// Register is a generic address. Addr 0 means that there is none.
type Register struct {
	Space  Space
	Width  uint8 // bits
	Offset uint8 // bits
	Access uint8 // 1 byte, 2 word, 3 dword, 4 qword; 0 undefined
	Addr   uint64
}

// Exists reports whether there is such a register.
func (r Register) Exists() bool { return r.Addr != 0 }

// Flags of the FADT (table 5.10) that are of use.
const (
	FADTSlpButton       = 1 << 5
	FADTTimerExt        = 1 << 8 // the PM timer has 32 bits, not 24
	FADTResetReg        = 1 << 10
	FADTUsePlatformClk  = 1 << 15
	FADTAPICPhysical    = 1 << 19
	FADTHardwareReduced = 1 << 20
)

// PMTimerHz is the PM timer's frequency (section 4.8.3.3).
const PMTimerHz = 3579545

// FADT is the fixed ACPI description table (section 5.2.9). Registers are those
// of the X_ fields where they are filled in, else of the older ones.
type FADT struct {
	Revision   uint8
	DSDT       uint64
	SCI        uint16 // interrupt
	SMICommand uint16 // I/O port; 0 if ACPI mode is always on
	ACPIEnable uint8  // written to SMICommand to switch ACPI mode on
	ACPIDis    uint8
	// Event blocks: the status register is the first half, enable the second.
	PM1aEvent, PM1bEvent     Register
	PM1aControl, PM1bControl Register
	PM2Control               Register
	PMTimer                  Register
	Century                  uint8 // RTC's CMOS index, 0 for none
	BootArch                 uint16
	Flags                    uint32
	Reset                    Register
	ResetValue               uint8
	SleepControl             Register // hardware-reduced only
	SleepStatus              Register
}

// HardwareReduced reports whether there are no PM1 registers and no PM timer.
func (f *FADT) HardwareReduced() bool { return f.Flags&FADTHardwareReduced != 0 }

// PMTimer32 reports whether the PM timer counts 32 bits instead of 24.
func (f *FADT) PMTimer32() bool { return f.Flags&FADTTimerExt != 0 }

// CanReset reports whether writing ResetValue to Reset restarts the machine.
func (f *FADT) CanReset() bool { return f.Flags&FADTResetReg != 0 && f.Reset.Exists() }

// Boot architecture flags (table 5.11).
const (
	BootArchLegacy = 1 << 0
	BootArch8042   = 1 << 1
	BootArchNoVGA  = 1 << 2
	BootArchNoCMOS = 1 << 5
	fadtSize1      = 116 // ACPI 1.0
	fadtSizeReset  = 129 // with reset register and value
	fadtSizeSleep  = 268 // with the sleep registers
)

// parseFADT reads the table. What a short table does not have is zero.
func parseFADT(b []byte) (*FADT, error) {
	if len(b) < fadtSize1 {
		return nil, errors.New("too short")
	}
	// A padded copy makes every field of the longest table readable.
	var t [276]byte
	n := copy(t[:], b)
	le := binary.LittleEndian
	f := &FADT{
		Revision:   t[8],
		DSDT:       uint64(le.Uint32(t[40:])),
		SCI:        le.Uint16(t[46:]),
		SMICommand: uint16(le.Uint32(t[48:])),
		ACPIEnable: t[52],
		ACPIDis:    t[53],
		Century:    t[108],
		BootArch:   le.Uint16(t[109:]),
		Flags:      le.Uint32(t[112:]),
	}
	if f.Revision < 2 {
		f.BootArch = 0 // reserved in ACPI 1.0
	}
	if n >= fadtSizeReset {
		f.Reset, f.ResetValue = gas(t[116:]), t[128]
	} else {
		f.Flags &^= FADTResetReg
	}
	if n >= 148 {
		if x := le.Uint64(t[140:]); x != 0 {
			f.DSDT = x
		}
	}
	// Each block: the old port's offset, its length's, the X_ field's.
	for _, r := range []struct {
		dst           *Register
		port, size, x int
	}{
		{&f.PM1aEvent, 56, 88, 148},
		{&f.PM1bEvent, 60, 88, 160},
		{&f.PM1aControl, 64, 89, 172},
		{&f.PM1bControl, 68, 89, 184},
		{&f.PM2Control, 72, 90, 196},
		{&f.PMTimer, 76, 91, 208},
	} {
		if f.HardwareReduced() {
			break // the fields are to be ignored (section 4.1)
		}
		if r.x+12 <= n {
			*r.dst = gas(t[r.x:])
		}
		if !r.dst.Exists() {
			if p := le.Uint32(t[r.port:]); p != 0 && p <= 0xffff && t[r.size] != 0 {
				*r.dst = Register{Space: SpaceIO, Width: uint8(min(int(t[r.size])*8, 0xff)), Addr: uint64(p)}
			}
		}
	}
	if n >= fadtSizeSleep {
		f.SleepControl, f.SleepStatus = gas(t[244:]), gas(t[256:])
	}
	return f, nil
}

// gas reads a generic address structure of 12 bytes. An impossible address is
// none.
func gas(b []byte) Register {
	r := Register{Space(b[0]), b[1], b[2], b[3], binary.LittleEndian.Uint64(b[4:])}
	if r.Space == SpaceIO && r.Addr > 0xffff || r.Addr >= boot.MaxPhys {
		return Register{}
	}
	return r
}
