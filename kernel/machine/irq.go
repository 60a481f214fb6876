//go:build tamago

package machine

import (
	"errors"
	"fmt"
	"sync"

	"nidus/drivers/ioapic"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot/acpi"
)

// irqRouter hands out vectors and programs the I/O APICs.
type irqRouter struct {
	mu   sync.Mutex
	next uint8
}

// vector is the next that may be used; next is to be set behind it then.
// Preconditions: mu.
func (r *irqRouter) vector() (uint8, error) {
	v := max(r.next, baremetal.FirstDeviceVector)
	if v == baremetal.HypercallVector {
		v++ // an interrupt there would be taken for the call of a 32-bit PV guest
	}
	if v > baremetal.LastDeviceVector {
		return 0, errors.New("all vectors are taken")
	}
	return v, nil
}

// RouteISA wires an ISA interrupt to a vector of CPU 0 and returns the vector,
// for baremetal.WaitIRQ.
func (m *Machine) RouteISA(irq uint8) (vector uint8, err error) {
	if m.ACPI.MADT == nil {
		return 0, fmt.Errorf("interrupt %d: no ACPI table says where it is wired to", irq)
	}
	o := m.ACPI.MADT.GSI(irq)
	return m.RouteGSI(o.GSI, o.Polarity == acpi.PolarityLow, o.Trigger == acpi.TriggerLevel)
}

// RouteGSI wires a global system interrupt, as RouteISA does; a level-triggered one
// is masked from its interrupt to the next WaitIRQ.
func (m *Machine) RouteGSI(gsi uint32, low, level bool) (vector uint8, err error) {
	if m.ACPI.MADT == nil {
		return 0, fmt.Errorf("GSI %d: no ACPI table tells of I/O APICs", gsi)
	}
	m.irq.mu.Lock()
	defer m.irq.mu.Unlock()
	v, err := m.irq.vector()
	if err != nil {
		return 0, fmt.Errorf("GSI %d: %w", gsi, err)
	}
	line := ioapic.Line{Vector: v, APICID: uint8(baremetal.APICID(0)), Low: low, Level: level}
	for _, io := range m.ACPI.MADT.IOAPICs {
		if gsi >= io.GSIBase && baremetal.RouteIRQ(uint64(io.Addr), gsi-io.GSIBase, line) {
			m.irq.next = v + 1
			return v, nil
		}
	}
	return 0, fmt.Errorf("GSI %d belongs to no I/O APIC", gsi)
}
