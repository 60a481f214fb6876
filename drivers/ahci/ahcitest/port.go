package ahcitest

import (
	"fmt"
	"runtime"
)

// port is one of a Device. Methods need the device's lock.
type port struct {
	d     *Device
	index int
	disk  *Disk

	clb, fb    uint64
	is, ie     uint32
	cmd        uint32
	task, sig  uint32
	ssts, sctl uint32
	serr       uint32
	sact, ci   uint32

	queue  []Command // queued ones that the disk has
	halted bool      // by an error, until the driver stops the port
	failed bool      // the disk does nothing until its log was read
	log    [4]uint8  // what that has
	turn   int       // counts resets and stops
}

const (
	isRegister = 1 << 0
	isBits     = 1 << 3 // of queued commands
	isTask     = 1 << 30
	busy       = 0x80
	ready      = 0x50
	cmdStart   = 1 << 0
	cmdReceive = 1 << 4
	cmdReceives,
	cmdRuns = 1 << 14, 1 << 15
)

// reset is the controller's.
func (p *port) reset() {
	*p = port{d: p.d, index: p.index, disk: p.disk, turn: p.turn + 1}
	p.connect()
}

// connect is what happens when the line comes up.
func (p *port) connect() {
	p.ssts, p.task, p.sig = 0, 0x7f, dead
	p.failed = false
	if k := p.disk; k != nil {
		p.ssts, p.task, p.sig = 0x113, ready, k.Signature
		if p.sig == 0 {
			p.sig = 0x101
		}
		if k.Stopped {
			p.task = busy
		}
	}
}

const dead = 0xffffffff

// forget ends what the port has.
func (p *port) forget() {
	p.ci, p.sact, p.queue, p.halted = 0, 0, nil, false
	p.turn++
}

// status is PxIS: two bits come from the errors of the line.
func (p *port) status() uint32 { return p.is | p.serr>>26&1<<6 | p.serr>>16&1<<22 }

func (p *port) raise(bits uint32) {
	p.is |= bits
	p.d.check(false)
}

func (p *port) load(reg uint64) uint32 {
	switch reg {
	case 0x10:
		return p.status()
	case 0x14:
		return p.ie
	case 0x18:
		return p.cmd
	case 0x20:
		return p.task
	case 0x24:
		return p.sig
	case 0x28:
		return p.ssts
	case 0x2c:
		return p.sctl
	case 0x30:
		return p.serr
	case 0x34:
		return p.sact
	case 0x38:
		return p.ci
	}
	panic(fmt.Sprintf("ahcitest: the port's register %#x is read", reg))
}

func (p *port) store(reg uint64, v uint32) {
	idle := func(what string) {
		if p.cmd&(cmdRuns|cmdReceives) != 0 {
			panic("ahcitest: " + what + " is changed while the port works")
		}
	}
	word := func(a *uint64) {
		idle("its memory")
		if reg&4 == 0 {
			*a = *a&^0xffffffff | uint64(v)
		} else {
			*a = *a&0xffffffff | uint64(v)<<32
		}
	}
	switch reg {
	case 0x00, 0x04:
		word(&p.clb)
	case 0x08, 0x0c:
		word(&p.fb)
	case 0x10:
		p.is &^= v
	case 0x14:
		p.ie = v
		p.d.check(false)
	case 0x18:
		p.command(v)
	case 0x2c:
		was := p.sctl
		p.sctl = v
		if v&0xf == 1 {
			if p.cmd&cmdStart != 0 {
				panic("ahcitest: the line is reset while the port works")
			}
			p.ssts, p.task = 0, 0x7f
		} else if was&0xf == 1 {
			p.forget()
			p.connect()
			if p.disk != nil {
				p.disk.Resets++
				p.serr |= 1 << 26
				p.raise(0)
			}
		}
	case 0x30:
		p.serr &^= v
		p.d.bells <- p // commands wait while it has that a disk was connected
	case 0x34:
		if p.cmd&cmdRuns == 0 {
			panic("ahcitest: PxSACT is written while the port is stopped")
		}
		p.sact |= v
	case 0x38:
		if p.cmd&cmdRuns == 0 {
			panic("ahcitest: PxCI is written while the port is stopped")
		}
		if p.ci&v != 0 || v>>(p.d.Slots-1)>>1 != 0 {
			panic(fmt.Sprintf("ahcitest: commands %#x while there are %#x", v, p.ci))
		}
		p.ci |= v
		p.d.bells <- p
	default:
		panic(fmt.Sprintf("ahcitest: the port's register %#x is written", reg))
	}
}

// command is a write of PxCMD.
func (p *port) command(v uint32) {
	was := p.cmd
	p.cmd = v &^ (cmdRuns | cmdReceives)
	if v&cmdReceive != 0 || p.d.StuckPort {
		if p.clb&1023 != 0 || p.fb&255 != 0 || p.clb == 0 || p.fb == 0 {
			panic("ahcitest: the port's memory is not aligned")
		}
		p.cmd |= cmdReceives
	}
	switch {
	case v&cmdStart != 0 && was&cmdStart == 0:
		if p.cmd&cmdReceives == 0 || p.task&0x88 != 0 || p.ssts&0xf != 3 {
			panic(fmt.Sprintf("ahcitest: the port is started with status %#x, task file %#x", p.ssts, p.task))
		}
		p.cmd |= cmdRuns
	case v&cmdStart == 0 && was&cmdRuns != 0 && p.d.StuckPort:
		p.cmd |= cmdRuns
	case v&cmdStart == 0 && was&cmdStart != 0:
		p.forget()
	case v&cmdStart != 0:
		p.cmd |= cmdRuns
	}
}

// work does what there is.
func (p *port) work() {
	for p.cmd&cmdRuns != 0 && !p.halted && p.d.Dead == nil && p.d.pci.Master() && p.disk != nil && p.serr>>26&1 == 0 {
		if p.ci != 0 && (len(p.queue) == 0 || p.d.rnd.IntN(2) == 0) {
			p.take()
			continue
		}
		if len(p.queue) == 0 {
			return
		}
		i := p.d.rnd.IntN(len(p.queue))
		c := p.queue[i]
		if p.disk.Hold != nil && p.disk.Hold(c) {
			return // as long as there is one, nothing is done
		}
		p.queue = append(p.queue[:i:i], p.queue[i+1:]...)
		p.run(c)
		if p.d.rnd.IntN(4) == 0 {
			turn := p.turn
			p.d.mu.Unlock()
			runtime.Gosched()
			p.d.mu.Lock()
			if p.turn != turn {
				return
			}
		}
	}
}

// take has the disk get a command.
func (p *port) take() {
	slot := uint8(p.d.rnd.IntN(32))
	for p.ci>>slot&1 == 0 {
		slot = (slot + 1) % 32
	}
	c := p.read(slot)
	queued := p.sact>>slot&1 != 0
	if queued != (c.Op == 0x60 || c.Op == 0x61) {
		panic(fmt.Sprintf("ahcitest: command %#x in slot %d, PxSACT %#x", c.Op, slot, p.sact))
	}
	if p.failed && !(c.Op == 0x2f && c.LBA == 0x10) {
		panic(fmt.Sprintf("ahcitest: command %#x while a queued one has failed", c.Op))
	}
	if queued {
		if c.Tag != slot || !p.d.NCQ || int(slot) >= p.disk.Depth {
			panic(fmt.Sprintf("ahcitest: the queued command %d is in slot %d", c.Tag, slot))
		}
		p.ci &^= 1 << slot
		p.queue = append(p.queue, c)
		return
	}
	if p.sact != 0 || p.ci != 1<<slot {
		panic(fmt.Sprintf("ahcitest: command %#x while there are others: PxSACT %#x, PxCI %#x", c.Op, p.sact, p.ci))
	}
	if p.disk.Hold != nil && p.disk.Hold(c) {
		p.task, p.halted = busy, true
		return
	}
	p.run(c)
}

// run does a command and reports how it ended.
func (p *port) run(c Command) {
	queued := c.Op == 0x60 || c.Op == 0x61
	status := p.disk.do(p, c)
	switch {
	case status != 0:
		p.task, p.halted = uint32(status)<<8|ready|1, true
		if queued {
			p.failed = true
			p.log = [4]uint8{c.Tag, 0, uint8(p.task), status}
			p.queue = nil
		}
		p.raise(isTask)
	case queued:
		p.sact &^= 1 << c.Tag
		p.raise(isBits)
	default:
		p.ci, p.task = 0, ready
		p.raise(isRegister)
	}
}
