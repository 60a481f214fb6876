// Package ahcitest is a model of an AHCI controller with disks, for tests of the driver. It
// is written from the specifications (AHCI 1.3.1, ACS-3), beside the driver; it does queued
// commands in any order, panics where the driver breaks a rule, and can fail and lie.
package ahcitest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

// Device is the model. Set what it is before Function.
type Device struct {
	Host   *devicetest.Host
	Disks  map[int]*Disk // by port
	Ports  int           // how many there are
	Slots  uint32
	NCQ    bool
	Narrow bool // it does not reach what is above 4 GiB
	BIOS   bool // the firmware has it, and gives it up
	NoMSI  bool
	// Dead is what all registers read as; nil: it is there.
	Dead *uint32
	// Stuck keeps the controller from ending its reset; StuckPort its ports from stopping.
	Stuck, StuckPort bool
	// Storm has the interrupt status never become zero.
	Storm bool

	mu      sync.Mutex
	pci     pcitest.Function
	rnd     *rand.Rand
	ghc     uint32
	is      uint32
	handoff uint32
	ports   []*port
	bells   chan *port
	ended   sync.WaitGroup
}

// Set changes the model, or looks at it, while it works.
func (d *Device) Set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// Function starts the model and returns its PCI function.
func (d *Device) Function() *pci.Function {
	d.rnd = rand.New(rand.NewPCG(1, 2))
	d.bells = make(chan *port, 4096)
	d.ghc = 1 << 31
	if d.BIOS {
		d.handoff = 1
	}
	for i := range d.Ports {
		p := &port{d: d, index: i}
		d.ports = append(d.ports, p)
		p.disk = d.Disks[i]
		p.reset()
	}
	d.pci = pcitest.Function{Host: d.Host, ID: 0x29228086, Class: 0x010601, BAR: 5, Window: 0x1000, MSI: !d.NoMSI, Load: d.load, Store: d.store}
	d.ended.Add(1)
	go func() {
		defer d.ended.Done()
		for p := range d.bells {
			d.mu.Lock()
			p.work()
			d.mu.Unlock()
		}
	}()
	return d.pci.Start()
}

// Close ends the model.
func (d *Device) Close() {
	close(d.bells)
	d.ended.Wait()
	d.Host.Close()
}

// Plug puts another disk, or none, to a port while it works.
func (d *Device) Plug(i int, disk *Disk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.ports[i]
	p.disk = disk
	p.queue = nil // PxCI and PxSACT stay
	p.turn++
	p.connect()
	p.serr |= 1 << 16 // the line's state changed
	if disk != nil {
		p.serr |= 1 << 26
	}
	p.raise(0)
}

func (d *Device) load(off uint64) uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead != nil {
		return *d.Dead
	}
	switch off {
	case 0x00:
		v := uint32(31) | (d.Slots-1)<<8
		if d.NCQ {
			v |= 1 << 30
		}
		if !d.Narrow {
			v |= 1 << 31
		}
		return v
	case 0x04:
		return d.ghc
	case 0x08:
		if d.Storm && d.ghc&2 != 0 {
			return 1
		}
		return d.is
	case 0x0c:
		return 1<<d.Ports - 1
	case 0x24:
		if d.BIOS {
			return 1
		}
		return 0
	case 0x28:
		return d.handoff
	}
	if p, reg := d.port(off); p != nil {
		return p.load(reg)
	}
	panic(fmt.Sprintf("ahcitest: the register at %#x is read", off))
}

func (d *Device) store(off uint64, v uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead != nil {
		return
	}
	switch off {
	case 0x04:
		if v>>31 != 1 {
			panic("ahcitest: AHCI is turned off")
		}
		if d.ghc = v; v&1 != 0 && !d.Stuck {
			d.ghc, d.is = 1<<31, 0
			for _, p := range d.ports {
				p.reset()
			}
		}
		d.check(true)
	case 0x08:
		d.is &^= v
		d.check(false)
	case 0x28:
		if d.handoff = v; v&2 != 0 {
			d.handoff = 2
		}
	default:
		p, reg := d.port(off)
		if p == nil {
			panic(fmt.Sprintf("ahcitest: the register at %#x is written", off))
		}
		p.store(reg, v)
	}
}

func (d *Device) port(off uint64) (*port, uint64) {
	if off < 0x100 || off >= 0x100+0x80*uint64(len(d.ports)) {
		return nil, 0
	}
	return d.ports[(off-0x100)/0x80], off & 0x7f
}

// check sends an interrupt if there is one more reason, or some are left.
func (d *Device) check(left bool) {
	was := d.is
	for _, p := range d.ports {
		if p.status()&p.ie != 0 {
			d.is |= 1 << p.index
		}
	}
	if d.ghc&2 != 0 && (d.is != was || left && d.is != 0 || d.Storm) {
		d.pci.Interrupt(0)
	}
}
