//go:build tamago

package machine

import (
	"fmt"
	"sync"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot/acpi"
)

// irqRouter hands out vectors and programs the IO-APICs (82093AA data sheet).
type irqRouter struct {
	mu   sync.Mutex
	next uint8
}

// RouteISA wires an ISA interrupt to a vector of CPU 0 and returns the vector,
// for baremetal.WaitIRQ.
func (m *Machine) RouteISA(irq uint8) (vector uint8, err error) {
	if m.ACPI.MADT == nil {
		return 0, fmt.Errorf("interrupt %d: no ACPI table says where it is wired to", irq)
	}
	o := m.ACPI.MADT.GSI(irq)
	return m.routeGSI(o.GSI, o.Polarity == acpi.PolarityLow, o.Trigger == acpi.TriggerLevel)
}

func (m *Machine) routeGSI(gsi uint32, low, level bool) (uint8, error) {
	const selectReg, window, version, redirection = 0x00, 0x10, 0x01, 0x10
	for _, io := range m.ACPI.MADT.IOAPICs {
		base := baremetal.MapMMIO(uint64(io.Addr), 0x20)
		if base == 0 || gsi < io.GSIBase {
			continue
		}
		m.irq.mu.Lock()
		defer m.irq.mu.Unlock()
		baremetal.Store32(base+selectReg, version)
		entries := baremetal.Load32(base+window)>>16&0xff + 1
		pin := gsi - io.GSIBase
		if pin >= entries {
			continue
		}
		if m.irq.next == 0 {
			m.irq.next = baremetal.FirstDeviceVector
		}
		if m.irq.next > baremetal.LastDeviceVector {
			return 0, fmt.Errorf("GSI %d: all vectors are taken", gsi)
		}
		v := m.irq.next
		m.irq.next++
		entry := uint32(v)
		if low {
			entry |= 1 << 13
		}
		if level {
			entry |= 1 << 15
		}
		baremetal.Store32(base+selectReg, redirection+2*pin+1)
		baremetal.Store32(base+window, baremetal.APICID(0)<<24)
		baremetal.Store32(base+selectReg, redirection+2*pin)
		baremetal.Store32(base+window, entry)
		return v, nil
	}
	return 0, fmt.Errorf("GSI %d belongs to no IO-APIC", gsi)
}
