package e1000

import (
	"encoding/binary"
	"fmt"
	"sync"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

// card is a model of the device's side, written from the manuals. It panics where the
// driver breaks a rule.
type card struct {
	host *devicetest.Host
	pci  pcitest.Function
	id   uint16
	// sent takes a frame that is on the wire.
	sent func(b []byte)
	// corrupt may change what is written into a descriptor of what came in.
	corrupt func(v *uint64)
	// hold keeps it from sending; stuck from resetting; gone has all registers read as ones.
	hold, stuck, gone bool
	noMAC             bool

	mu      sync.Mutex
	regs    [regsSize / 4]uint32
	kicks   chan struct{}
	ended   sync.WaitGroup
	context [2]uint64
	frame   []byte // of which the end is still to come
	segment struct{ context, options uint64 }
	links   int // how often other's causes were taken away
}

func (c *card) function() *pci.Function {
	c.kicks = make(chan struct{}, 1<<16)
	c.pci.Host, c.pci.ID, c.pci.Window, c.pci.Load, c.pci.Store = c.host, uint32(c.id)<<16|vendor, 1<<17, c.load, c.store
	c.reset()
	c.ended.Add(1)
	go func() {
		defer c.ended.Done()
		for range c.kicks {
			c.work()
		}
	}()
	return c.pci.Start()
}

func (c *card) close() {
	close(c.kicks)
	c.ended.Wait()
	c.host.Close()
}

func (c *card) reset() {
	c.regs = [regsSize / 4]uint32{}
	c.regs[regEECD/4] = eecdAutoRead
	c.regs[regSTATUS/4] = 1
	if !c.noMAC {
		c.regs[regRAL0/4], c.regs[regRAH0/4] = 0x12005452, 0x5634|rahValid
	}
	c.frame = nil
}

func (c *card) load(off uint64) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ^uint32(0)
	}
	v := c.regs[off/4]
	if off == regICR {
		c.regs[off/4] = 0
	}
	return v
}

func (c *card) store(off uint64, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.regs[off/4]
	switch off {
	case regCTRL:
		switch {
		case v&ctrlRST == 0:
			*r = v
			if v&ctrlSLU != 0 {
				c.regs[regSTATUS/4] |= statusLU
			}
		case c.stuck:
			*r = v
		default:
			c.reset()
		}
	case regSTATUS:
	case regICR:
		*r &^= v
		c.links++
	case regIMS:
		c.regs[regIMS/4] |= v
		c.interrupt(0)
	case regIMC:
		c.regs[regIMS/4] &^= v
	case regTDT:
		*r = v
		c.kicks <- struct{}{}
	default:
		*r = v
	}
}

// interrupt sets causes and sends the messages of those that are not masked. Preconditions:
// mu.
func (c *card) interrupt(causes uint32) {
	icr, ims := &c.regs[regICR/4], &c.regs[regIMS/4]
	*icr |= causes
	now := *icr & *ims
	if c.pci.Vectors == 0 {
		if now != 0 {
			c.pci.Interrupt(0)
		}
		return
	}
	for i, bit := range []uint32{causeRXQ0, 1 << 21, causeTXQ0, 1 << 23, causeOther} {
		if now&bit == 0 {
			continue
		}
		if e := c.regs[regIVAR/4] >> (4 * i); e&ivarValid != 0 {
			c.pci.Interrupt(int(e & 7))
		}
		auto := c.regs[regEIAC/4] & bit
		*icr &^= auto
		*ims &^= auto
	}
}

func (c *card) memory(addr uint64, n int, do func(b []byte)) {
	for n > 0 {
		p, off := c.host.At(addr)
		k := min(n, 4096-off)
		do(p.Bytes(off, k))
		addr, n = addr+uint64(k), n-k
	}
}

func (c *card) address(low int) uint64 {
	return uint64(c.regs[low/4]) | uint64(c.regs[low/4+1])<<32
}

// next moves a head on by one, and returns the address of the descriptor that it was at.
func (c *card) next(base, length, head int) uint64 {
	r := &c.regs[head/4]
	at := c.address(base) + uint64(*r)*descSize
	*r = (*r + 1) % (c.regs[length/4] / descSize)
	return at
}

// work sends what there is.
func (c *card) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.hold && !c.gone && c.pci.Master() && c.regs[regTCTL/4]&tctlEN != 0 && c.regs[regTDH/4] != c.regs[regTDT/4] {
		p, off := c.host.At(c.next(regTDBAL, regTDLEN, regTDH))
		addr, v := p.Load64(off), p.Load64(off+8)
		if v&(1<<29) == 0 {
			panic("a legacy descriptor")
		}
		switch v >> 20 & 15 {
		case 0:
			c.context = [2]uint64{addr, v}
			continue
		case 1:
		default:
			panic(fmt.Sprintf("a descriptor %#x", v))
		}
		if c.frame == nil {
			c.frame = []byte{}
			c.segment.options = v >> 40 & 3
			if (v&txTSE != 0) != (c.context[1]&txTSE != 0) && v&txTSE != 0 {
				panic("a frame is to be cut, and its context says that it isn't")
			}
		}
		c.memory(addr, int(v&0xfffff), func(b []byte) { c.frame = append(c.frame, b...) })
		if v&(1<<25) == 0 {
			panic("no FCS")
		}
		if v&(1<<24) == 0 {
			continue
		}
		c.leave(c.frame, v&txTSE != 0)
		c.frame = nil
		if v&(1<<27) != 0 {
			p.Store64(off+8, v|1<<32)
			c.interrupt(causeTXDW | causeTXQ0)
		}
	}
}

// leave puts a frame on the wire, cut if it has to be.
func (c *card) leave(b []byte, cut bool) {
	be := binary.BigEndian
	where, what := c.context[0], c.context[1]
	tucss, tucso := int(where>>32&0xff), int(where>>40&0xff)
	sum := func(b []byte) {
		if c.segment.options&2 != 0 {
			be.PutUint16(b[tucso:], ^nictest.Sum(b[tucss:]))
		}
	}
	if !cut {
		sum(b)
		c.sent(b)
		return
	}
	ipcss, ipcso, ipcse := int(where&0xff), int(where>>8&0xff), int(where>>16&0xffff)
	payload, headers, mss := int(what&0xfffff), int(what>>40&0xff), int(what>>48)
	if payload != len(b)-headers {
		panic(fmt.Sprintf("%d bytes of %d are headers, %d are not", headers, len(b), payload))
	}
	seq := be.Uint32(b[tucss+4:])
	for at, i := headers, 0; at < len(b); at, i = at+mss, i+1 {
		data := b[at:min(at+mss, len(b))]
		p := append(append([]byte{}, b[:headers]...), data...)
		if what&txIPv4 != 0 {
			be.PutUint16(p[ipcss+2:], uint16(len(p)-ipcss))
			be.PutUint16(p[ipcss+4:], be.Uint16(p[ipcss+4:])+uint16(i))
			if c.segment.options&1 != 0 {
				be.PutUint16(p[ipcso:], ^nictest.Sum(p[ipcss:ipcse+1]))
			}
		} else {
			be.PutUint16(p[ipcss+4:], uint16(len(p)-ipcss-40))
		}
		be.PutUint32(p[tucss+4:], seq+uint32(i*mss))
		if at+mss < len(b) {
			p[tucss+13] &^= 0x09 // FIN, PSH
		}
		// The length goes into the sum of the pseudo header.
		be.PutUint16(p[tucso:], nictest.Sum(be.AppendUint16(p[tucso:tucso+2:tucso+2], uint16(len(p)-tucss))))
		sum(p)
		c.sent(p)
	}
}

// input has a frame come in. It is false if there is no buffer for it.
func (c *card) input(b []byte, status uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.regs[regRCTL/4]&rctlEN == 0 || c.gone || !c.pci.Master() || c.regs[regRDH/4] == c.regs[regRDT/4] {
		return false
	}
	p, off := c.host.At(c.next(regRDBAL, regRDLEN, regRDH))
	v := uint64(len(b)) | status
	if c.corrupt != nil {
		c.corrupt(&v)
	}
	at := b
	c.memory(p.Load64(off), len(b), func(m []byte) { at = at[copy(m, at):] })
	p.Store64(off+8, v)
	c.interrupt(causeRXT | causeRXQ0)
	return true
}

// link turns the link on or off.
func (c *card) link(up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.regs[regSTATUS/4] &^= statusLU
	if up {
		c.regs[regSTATUS/4] |= statusLU
	}
	c.interrupt(causeLSC | causeOther)
}

// set changes the model.
func (c *card) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
