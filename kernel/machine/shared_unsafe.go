//go:build tamago

package machine

import (
	"fmt"
	"unsafe"

	"nidus/drivers/ivshmem"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
)

type pciPorts struct{}

func (pciPorts) In32(port uint16) uint32     { return baremetal.In32(port) }
func (pciPorts) Out32(port uint16, v uint32) { baremetal.Out32(port, v) }

// Shared maps up to most bytes of the memory that QEMU shares with programs beside it;
// nil if it shares none. Call it once: what it maps stays mapped.
func (m *Machine) Shared(most uint64) ([]byte, error) {
	r, ok, err := ivshmem.Find(PCI)
	if err != nil || !ok {
		return nil, err
	}
	for _, known := range m.Info.Memory {
		// What is reserved may be a device's, such as this one's.
		if known.Type != boot.MemReserved && known.Start < r.Addr+r.Size && r.Addr < known.End {
			return nil, fmt.Errorf("shared memory: PCI function %v is at %#x, in what the firmware calls %v memory", r.At, r.Addr, known.Type)
		}
	}
	n := min(r.Size, most)
	va := baremetal.MapShared(r.Addr, n)
	if va == 0 {
		return nil, fmt.Errorf("shared memory: no room to map %d bytes at %#x", n, r.Addr)
	}
	m.Log("Shared memory: %d KiB at %#x, of PCI function %v", r.Size>>10, r.Addr, r.At)
	return unsafe.Slice((*byte)(baremetal.Pointer(va)), n), nil
}
