//go:build tamago

package machine

import (
	"fmt"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot/acpi"
)

// PowerOff switches the machine off by ACPI's S5 (ACPI 6.5, 7.4.2 and 16.1). It
// returns only if that failed.
func (m *Machine) PowerOff() error {
	f, s5 := m.ACPI.FADT, m.ACPI.S5
	if f == nil || s5 == nil {
		return fmt.Errorf("power-off: the firmware's ACPI tables don't say how; switch the machine off by hand")
	}
	if f.HardwareReduced() {
		const sleepEnable = 1 << 5
		writeReg(f.SleepControl, uint64(s5.A)<<2|sleepEnable)
	} else {
		if f.SMICommand != 0 && f.ACPIEnable != 0 && readReg(f.PM1aControl)&1 == 0 {
			baremetal.Out8(f.SMICommand, f.ACPIEnable)
			for range 300 {
				if readReg(f.PM1aControl)&1 != 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		const sleepType = 7 << 10
		a, b := s5.PM1()
		writeReg(f.PM1aControl, readReg(f.PM1aControl)&^sleepType|uint64(a))
		if f.PM1bControl.Exists() {
			writeReg(f.PM1bControl, readReg(f.PM1bControl)&^sleepType|uint64(b))
		}
	}
	time.Sleep(2 * time.Second)
	return fmt.Errorf("power-off: the firmware did not switch the machine off within 2 s")
}

// Reboot restarts the machine by ACPI's reset register where there is one, and by
// the older ways after that. It does not return.
func (m *Machine) Reboot() error {
	if f := m.ACPI.FADT; f != nil && f.CanReset() {
		writeReg(f.Reset, uint64(f.ResetValue))
		time.Sleep(100 * time.Millisecond)
	}
	baremetal.Reset()
	return nil
}

func readReg(r acpi.Register) uint64 {
	switch {
	case !r.Exists():
		return 0
	case r.Space == acpi.SpaceIO:
		return uint64(baremetal.In16(uint16(r.Addr)))
	case r.Space == acpi.SpaceMemory:
		if va := baremetal.MapMMIO(r.Addr, 4); va != 0 {
			return uint64(baremetal.Load32(va))
		}
	}
	return 0
}

func writeReg(r acpi.Register, v uint64) {
	switch {
	case !r.Exists():
	case r.Space == acpi.SpaceIO && r.Width == 8:
		baremetal.Out8(uint16(r.Addr), uint8(v))
	case r.Space == acpi.SpaceIO:
		baremetal.Out16(uint16(r.Addr), uint16(v))
	case r.Space == acpi.SpaceMemory:
		if va := baremetal.MapMMIO(r.Addr, 4); va != 0 {
			baremetal.Store32(va, uint32(v))
		}
	}
}
