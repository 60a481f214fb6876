package r8169

import (
	"encoding/binary"
	"fmt"
	"sync"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

// card is a model of the device's side, written from the datasheet. It panics where the
// driver breaks a rule.
type card struct {
	host *devicetest.Host
	pci  pcitest.Function
	id   uint16
	mac  [6]byte
	// sent takes a frame that is on the wire.
	sent func(b []byte)
	// hold keeps it from sending; stuck from resetting; gone has all registers read as ones.
	hold, stuck, gone bool
	// late is a cause that comes right after ISR was read.
	late uint32

	mu     sync.Mutex
	regs   [256]byte
	kicks  chan struct{}
	ended  sync.WaitGroup
	tx, rx int // descriptors that are next
}

func (c *card) function() *pci.Function {
	c.kicks = make(chan struct{}, 1<<16)
	c.pci.Host, c.pci.ID, c.pci.Window, c.pci.LoadSized, c.pci.StoreSized = c.host, uint32(c.id)<<16|vendor, 1<<12, c.load, c.store
	c.pci.BAR = models[c.id].bar
	c.reset()
	c.regs[regPHY] = phyLink
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

// reset leaves the link as it is.
func (c *card) reset() {
	phy := c.regs[regPHY]
	c.regs = [256]byte{}
	c.regs[regPHY] = phy
	copy(c.regs[:], c.mac[:])
	c.tx, c.rx = 0, 0
}

func (c *card) get(off uint64, n int) (v uint32) {
	for i := range n {
		v |= uint32(c.regs[int(off)+i]) << (8 * i)
	}
	return v
}

func (c *card) put(off uint64, n int, v uint32) {
	for i := range n {
		c.regs[int(off)+i] = byte(v >> (8 * i))
	}
}

func (c *card) load(off uint64, n int) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0xffffffff
	}
	v := c.get(off, n)
	if off == regISR && c.late != 0 {
		c.cause(c.late)
		c.late = 0
	}
	return v
}

func (c *card) store(off uint64, n int, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	on := c.get(regCR, 1)&(crRE|crTE) != 0
	switch off {
	case regCR:
		if v&crRST == 0 {
			c.put(off, n, v)
		} else if c.stuck {
			c.put(off, n, v)
		} else {
			c.reset()
		}
	case regISR:
		c.put(off, n, c.get(off, n)&^v)
	case regIMR:
		was := c.pending()
		c.put(off, n, v)
		c.edge(was)
	case regTPPoll:
		if v != pollNPQ {
			panic(fmt.Sprintf("TPPoll %#x", v))
		}
		c.kicks <- struct{}{}
	case regTCR, regRCR:
		if !on {
			panic("TCR and RCR are written before the card is on")
		}
		c.put(off, n, v)
	case regCPCR, regRMS, regMTPS, regTNPDS, regTNPDS + 4, regRDSAR, regRDSAR + 4:
		if on || c.get(reg9346CR, 1) != unlock {
			panic(fmt.Sprintf("register %#x is written while the card is on, or locked", off))
		}
		c.put(off, n, v)
	default:
		c.put(off, n, v)
	}
}

func (c *card) pending() bool { return c.get(regISR, 2)&c.get(regIMR, 2) != 0 }

// edge sends a message if there is a cause, after there was none.
func (c *card) edge(was bool) {
	if !was && c.pending() {
		c.pci.Interrupt(0)
	}
}

// cause sets one. Preconditions: mu.
func (c *card) cause(bits uint32) {
	was := c.pending()
	c.put(regISR, 2, c.get(regISR, 2)|bits)
	c.edge(was)
}

func (c *card) memory(addr uint64, n int, do func(b []byte)) {
	for n > 0 {
		p, off := c.host.At(addr)
		k := min(n, 4096-off)
		do(p.Bytes(off, k))
		addr, n = addr+uint64(k), n-k
	}
}

func (c *card) ring(low uint64) uint64 {
	return uint64(c.get(low, 4)) | uint64(c.get(low+4, 4))<<32
}

// on tells whether the card does what a bit of CR says.
func (c *card) on(bit uint32) bool { return !c.gone && c.pci.Master() && c.get(regCR, 1)&bit != 0 }

// work sends what there is.
func (c *card) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var frame []byte
	for !c.hold && c.on(crTE) {
		p, off := c.host.At(c.ring(regTNPDS) + uint64(c.tx)*16)
		v := p.Load64(off)
		if v&descOwn == 0 {
			if frame != nil {
				panic("a frame has no end")
			}
			return
		}
		if (v&descFirst != 0) != (frame == nil) || v>>16&0xfff != 0 {
			panic(fmt.Sprintf("descriptor %#x", v))
		}
		c.memory(p.Load64(off+8), int(v&0xffff), func(b []byte) { frame = append(frame, b...) })
		p.Store64(off, v&^descOwn)
		if c.tx++; v&descEnd != 0 {
			c.tx = 0
		}
		if v&descLast != 0 {
			if len(frame) < 60 || len(frame) > 1518 {
				panic(fmt.Sprintf("a frame of %d bytes", len(frame)))
			}
			c.sent(frame)
			frame = nil
			c.cause(isrTOK)
		}
	}
}

// input has a frame come in, which gets an FCS. It is false if there is no buffer for it.
func (c *card) input(b []byte, status uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on(crRE) || c.get(regRCR, 4)&rcrAll != rcrAll {
		return false
	}
	p, off := c.host.At(c.ring(regRDSAR) + uint64(c.rx)*16)
	v := p.Load64(off)
	if v&descOwn == 0 {
		c.cause(isrRDU)
		return false
	}
	if c.rx++; v&descEnd != 0 {
		c.rx = 0
	}
	all := binary.LittleEndian.AppendUint32(append([]byte{}, b...), 0xdeadbeef)
	if len(all) > int(v&rxLen) {
		panic("a frame is longer than its buffer")
	}
	n, at := len(all), all
	c.memory(p.Load64(off+8), n, func(m []byte) { at = at[copy(m, at):] })
	p.Store64(off, uint64(n)^status|v&descEnd)
	c.cause(isrROK)
	return true
}

// link turns the link on or off.
func (c *card) link(up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.regs[regPHY] &^= phyLink
	if up {
		c.regs[regPHY] |= phyLink
	}
	c.cause(isrLink)
}

// set changes the model.
func (c *card) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
