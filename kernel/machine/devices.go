//go:build tamago

package machine

import (
	"fmt"

	"nidus/drivers/device"
	"nidus/drivers/pci"
	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
	"nidus/mm"
)

// PCI is the machine's PCI configuration space.
var PCI pci.Config = &pci.Mechanism1{Ports: pciPorts{}}

// MeasurePCI finds out how much memory PCI devices have, which changes the memory map. Call
// it before StartCPUs.
func (m *Machine) MeasurePCI() { PCI = pci.Measure(PCI) }

// Devices implements device.Host for all devices, which are in one address space as long
// as no IOMMU is used.
type Devices struct {
	*mm.Pool
	m *Machine
}

// Devices returns what drivers have of the machine, with memory from the pool.
func (m *Machine) Devices(p *mm.Pool) Devices { return Devices{p, m} }

// Alloc implements device.Memory.
func (d Devices) Alloc(order uint, zone mm.Zone) (mm.MFN, error) {
	f, ok := d.AllocFrames(order, mm.FrameKernel, mm.DomIDXen, zone)
	if !ok {
		return 0, fmt.Errorf("%d pages for a device: %w", 1<<order, mm.ErrNoMemory)
	}
	for i := range mm.MFN(1) << order {
		d.Page(f + i).Clear()
	}
	return f, nil
}

// Free implements device.Memory.
func (d Devices) Free(m mm.MFN, order uint) { d.FreeFrames(m, order) }

// DMA implements device.Memory.
func (d Devices) DMA(m mm.MFN) uint64 { return uint64(m) << mm.PageShift }

// CPUs implements device.Host.
func (d Devices) CPUs() int { return baremetal.NumCPU() }

// CPU implements device.Host.
func (d Devices) CPU() int { return baremetal.CPU() }

// Map implements device.Host.
func (d Devices) Map(addr, n uint64) (device.Registers, error) {
	va := baremetal.MapMMIO(addr, n)
	if va == 0 {
		return nil, fmt.Errorf("no room to map %d bytes of registers at %#x", n, addr)
	}
	return registers{va, n}, nil
}

// Ports implements device.Host.
func (d Devices) Ports(first, n uint16) (device.Registers, error) {
	if uint32(first)+uint32(n) > 1<<16 {
		return nil, fmt.Errorf("there are no %d I/O ports from %#x on", n, first)
	}
	return ports{first, n}, nil
}

// Interrupt implements device.Host. Vectors are not given back.
//
// Nothing is lost by it: the local APIC keeps a message until its CPU takes it, and a
// handler that finds several done takes all. Under QEMU's TCG a CPU that runs guests can
// take it late (docs/exit.md), so messages go to CPU 0 there, which runs none if there
// is another.
func (d Devices) Interrupt(hint int, handle func()) (device.Message, error) {
	m := d.m
	m.irq.mu.Lock()
	defer m.irq.mu.Unlock()
	v, err := m.irq.vector()
	if err != nil {
		return device.Message{}, fmt.Errorf("a device's interrupt: %w", err)
	}
	to := 0
	if !cpu.UnderTCG() {
		to = hint % baremetal.NumCPU()
	}
	id := baremetal.APICID(to)
	const most = 0xfe // of 8 bits, without interrupt remapping; 0xff is all
	if id > most {
		if id = baremetal.APICID(0); id > most {
			return device.Message{}, fmt.Errorf("a device's interrupt does not reach APIC id %d", id)
		}
	}
	m.irq.next = v + 1
	go func() {
		for n := uint32(0); ; {
			n = baremetal.WaitIRQ(v, n)
			handle()
		}
	}()
	// Intel SDM volume 3, 11.11: fixed, edge-triggered, to one APIC.
	return device.Message{Addr: 0xfee00000 | uint64(id)<<12, Data: uint32(v)}, nil
}

// registers is a device's memory, mapped.
type registers struct{ va, n uint64 }

func (r registers) at(off, size uint64) uint64 {
	if off > r.n-size || off&(size-1) != 0 {
		panic(fmt.Sprintf("machine: a driver reaches for %d bytes at %#x of a device's %d", size, off, r.n))
	}
	return r.va + off
}

func (r registers) Size() uint64                 { return r.n }
func (r registers) Load8(off uint64) uint8       { return baremetal.Load8(r.at(off, 1)) }
func (r registers) Load16(off uint64) uint16     { return baremetal.Load16(r.at(off, 2)) }
func (r registers) Load32(off uint64) uint32     { return baremetal.Load32(r.at(off, 4)) }
func (r registers) Store8(off uint64, v uint8)   { baremetal.Store8(r.at(off, 1), v) }
func (r registers) Store16(off uint64, v uint16) { baremetal.Store16(r.at(off, 2), v) }
func (r registers) Store32(off uint64, v uint32) { baremetal.Store32(r.at(off, 4), v) }

// ports are a device's I/O ports.
type ports struct{ first, n uint16 }

func (p ports) at(off, size uint64) uint16 {
	if off > uint64(p.n)-size || off&(size-1) != 0 {
		panic(fmt.Sprintf("machine: a driver reaches for %d ports at %#x of a device's %d", size, off, p.n))
	}
	return p.first + uint16(off)
}

func (p ports) Size() uint64                 { return uint64(p.n) }
func (p ports) Load8(off uint64) uint8       { return baremetal.In8(p.at(off, 1)) }
func (p ports) Load16(off uint64) uint16     { return baremetal.In16(p.at(off, 2)) }
func (p ports) Load32(off uint64) uint32     { return baremetal.In32(p.at(off, 4)) }
func (p ports) Store8(off uint64, v uint8)   { baremetal.Out8(p.at(off, 1), v) }
func (p ports) Store16(off uint64, v uint16) { baremetal.Out16(p.at(off, 2), v) }
func (p ports) Store32(off uint64, v uint32) { baremetal.Out32(p.at(off, 4), v) }
