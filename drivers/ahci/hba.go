// Package ahci drives SATA disks at AHCI controllers on PCI. Data goes between the disk and
// the frames of a request: nothing is copied.
//
// A disk is believed as little as a guest is: what it says is checked where it would
// become an index, a length or a loop's bound.
//
// References: Serial ATA AHCI 1.3.1, whose section numbers are given; ATA/ATAPI Command
// Set 3 (ACS-3).
package ahci

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/pci"
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "ahci"

// class is mass storage, SATA, AHCI (section 2.1.5).
const class = 0x010601

// Is tells whether a function is an AHCI controller.
func Is(f *pci.Function) bool { return f.Class() == class }

// limits are how long things may take.
type limits struct {
	tick    time.Duration // between two looks at a disk
	command uint64        // ticks until a command is given up
	exec    time.Duration // of a command that is waited for
	line    time.Duration // until something answers at a line
	back    time.Duration // until a disk answers again after a reset
	ready   time.Duration // until a disk that answers can work: it may have to start turning
	stop    time.Duration // until a port is idle (section 10.3.2)
	reset   time.Duration // of the controller (section 10.4.3)
}

var usual = limits{tick: time.Second, command: 30, exec: 10 * time.Second, line: 20 * time.Millisecond, back: time.Second, ready: 30 * time.Second,
	stop: 500 * time.Millisecond, reset: time.Second}

// HBA is one controller.
type HBA struct {
	host   device.Host
	f      *pci.Function
	log    func(format string, args ...any)
	name   string
	limits limits
	regs   device.Registers
	cap    uint32
	ports  []*port      // that have a disk
	open   atomic.Int32 // ports that aren't closed
}

// Open sets a controller up and returns its disks and CD drives; there may be none, and the
// controller is left alone then. log takes a line about what happens later, and about what is connected
// and can't be used. The error may wrap ErrUnusable, ErrTimeout, or those of package pci.
func Open(h device.Host, f *pci.Function, log func(format string, args ...any)) ([]*Disk, []*Drive, error) {
	return open(h, f, log, usual)
}

func open(h device.Host, f *pci.Function, log func(format string, args ...any), l limits) (disks []*Disk, drives []*Drive, err error) {
	c := &HBA{host: h, f: f, log: log, limits: l, name: fmt.Sprintf("AHCI at %v", f.Address)}
	if err = c.setup(); err != nil || len(c.ports) == 0 {
		if e := c.end(); err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", c.name, err), e)
		}
		return nil, nil, err
	}
	c.open.Store(int32(len(c.ports)))
	c.regs.Store32(regGHC, ghcAHCI|ghcInterrupts)
	for _, p := range c.ports {
		p.work()
		go p.keep()
		if p.drive != nil {
			drives = append(drives, p.drive)
		} else {
			disks = append(disks, p.disk)
		}
	}
	return disks, drives, nil
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnusable)
}

func (c *HBA) setup() error {
	bar, err := c.f.Memory(5)
	if err != nil {
		return err
	}
	if bar.Size < portBase+portSize {
		return unusable("it has %d bytes of registers", bar.Size)
	}
	if c.regs, err = c.host.Map(bar.Addr, min(bar.Size, portBase+32*portSize)); err != nil {
		return err
	}
	if c.cap = c.regs.Load32(regCap); c.cap == dead {
		return unusable("it does not answer")
	}
	if err := c.handoff(); err != nil {
		return err
	}
	up := c.linked()
	if err := c.reset(); err != nil {
		return err
	}
	c.cap = c.regs.Load32(regCap) // the reset may change what the firmware wrote there
	if c.cap&cap64 == 0 {
		return unusable("it reaches no memory above 4 GiB")
	}
	c.f.SetMaster(true)
	if c.findDisks(up); len(c.ports) == 0 {
		return nil
	}
	m, err := c.host.Interrupt(0, c.interrupt)
	if err == nil {
		err = c.f.SetMSI(m)
	}
	if err != nil {
		for _, p := range c.ports {
			err = errors.Join(err, p.end())
		}
		return err
	}
	return nil
}

// errGone is why nothing of a controller is used any more.
var errGone = errors.New("the controller is not there any more")

// gone tells whether the controller is not there any more: its capabilities never change.
func (c *HBA) gone() bool { return c.regs.Load32(regCap) != c.cap }

// handoff has the firmware leave the controller to us (section 10.6.3).
func (c *HBA) handoff() error {
	if c.regs.Load32(regCap2)&cap2Handoff == 0 {
		return nil
	}
	c.regs.Store32(regHandoff, c.regs.Load32(regHandoff)|handoffOS)
	const most = 2 * time.Second // what it may take to end its commands
	if !until(most, func() bool { return c.regs.Load32(regHandoff)&handoffBIOS == 0 }) {
		return fmt.Errorf("the firmware does not leave it: %w", ErrTimeout)
	}
	return nil
}

// reset ends whatever the controller does; it has no memory to reach then (section 10.4.3).
func (c *HBA) reset() error {
	c.regs.Store32(regGHC, ghcAHCI)
	c.regs.Store32(regGHC, ghcAHCI|ghcReset)
	if !until(c.limits.reset, func() bool { return c.regs.Load32(regGHC)&ghcReset == 0 }) {
		return fmt.Errorf("it does not end its reset: %w", ErrTimeout)
	}
	c.regs.Store32(regGHC, ghcAHCI)
	return nil
}

// until waits for something that no interrupt tells of.
func until(most time.Duration, ok func() bool) bool {
	for end := time.Now().Add(most); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return ok()
		}
	}
	return true
}

// each calls f for the ports that there are, whose registers are in the window.
func (c *HBA) each(f func(i int)) {
	most := int(c.regs.Size()-portBase) / portSize
	for m := c.regs.Load32(regPI); m != 0; m &= m - 1 {
		if i := bits.TrailingZeros32(m); i < most {
			f(i)
		}
	}
}

// linked returns the ports at which something is connected, a bit each.
func (c *HBA) linked() (all uint32) {
	c.each(func(i int) {
		if (&port{hba: c, index: i}).load(pxSSTS)&sstsDET != 0 {
			all |= 1 << i
		}
	})
	return all
}

// findDisks starts the ports that have disks. Those of up had something
// before the reset, and get longer to show it again.
func (c *HBA) findDisks(up uint32) {
	var ports []*port
	c.each(func(i int) {
		p := newPort(c, i)
		if c.cap&capStagger != 0 {
			p.store(pxCMD, p.load(pxCMD)|cmdSpinUp)
		}
		p.store(pxSCTL, sctlNoSleep)
		ports = append(ports, p)
	})
	begin := time.Now()
	for _, p := range ports {
		most := c.limits.line
		if up>>p.index&1 != 0 {
			most = c.limits.back
		}
		if !until(most-time.Since(begin), func() bool { return p.load(pxSSTS)&sstsDET != 0 }) {
			continue
		}
		if err := p.open(); err != nil {
			// Of this port only: the others may have disks.
			c.log("%s: %v", p.name, errors.Join(err, p.end()))
			continue
		}
		c.ports = append(c.ports, p)
	}
}

// interrupt takes what the disks have done. A controller that keeps interrupting for
// nothing is broken.
func (c *HBA) interrupt() {
	for idle := 0; idle < 1000; {
		is := c.regs.Load32(regIS)
		if is == 0 {
			return
		}
		if c.gone() {
			c.broken(errGone)
			return
		}
		took := false
		for _, p := range c.ports {
			if is>>p.index&1 != 0 && p.interrupt() {
				took = true
			}
		}
		// After the ports' own, from which the bits come.
		c.regs.Store32(regIS, is)
		if idle++; took {
			idle = 0
		}
	}
	c.regs.Store32(regGHC, ghcAHCI)
	c.broken(errors.New("the controller does not stop interrupting"))
}

// broken has all ports given up.
func (c *HBA) broken(err error) {
	for _, p := range c.ports {
		p.mu.Lock()
		p.pause(trouble{broken: err})
		p.mu.Unlock()
	}
}

// closed ends the controller with its last port.
func (c *HBA) closed() error {
	if c.open.Add(-1) > 0 {
		return nil
	}
	return c.end()
}

// end takes everything from the controller. Preconditions: no port works.
func (c *HBA) end() error {
	if c.regs != nil && !c.gone() {
		c.regs.Store32(regGHC, ghcAHCI)
	}
	// What is no master of the bus reaches nothing, and sends no interrupts.
	c.f.SetMaster(false)
	return nil
}
