package igb

import (
	"fmt"

	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/intel/inteltest"
)

// family is a model of what the cards have that those before don't.
type family struct {
	phy      uint32 // the PHY's control register; firmware leaves it as it is
	restarts int    // of the PHY's search for a link
	busy     bool   // firmware has the PHY
	keeps    bool   // firmware has the semaphore for the other
	faulty   bool   // the PHY does not answer
	slow     bool   // queues are never turned on or off
	older    bool   // 82575: there is nothing of IVAR and GPIE

	first, second uint64 // the context
}

func (m *family) Reset(c *inteltest.Card) {
	*c.Reg(regRXDCTL), *c.Reg(intel.TXDCTL) = dctlEnable, dctlEnable // the first queues are on
	*c.Reg(regSync) = 0
	if m.busy {
		*c.Reg(regSync) = phySync[0] << firmware
	}
}

// On implements inteltest.Family.
func (*family) On(c *inteltest.Card) bool {
	rx, tx := *c.Reg(regRXDCTL)&dctlEnable != 0, *c.Reg(intel.TXDCTL)&dctlEnable != 0
	return rx && tx && *c.Reg(regSRRCTL) == srrctl
}

func (*family) Load(c *inteltest.Card, off uint64) {
	if off == regSWSM {
		*c.Reg(off) |= swsmSMBI
	}
}

// Store implements inteltest.Family.
func (m *family) Store(c *inteltest.Card, off uint64, v uint32) bool {
	if m.older && off >= regGPIE && off < regEITR0 && off != regEIMC {
		panic("a register that there isn't")
	}
	r := c.Reg(off)
	on := (*c.Reg(regRXDCTL)|*c.Reg(intel.TXDCTL))&dctlEnable != 0
	switch off {
	case intel.RDBAL, intel.RDBAH, intel.RDLEN, intel.RDH, intel.TDBAL, intel.TDBAH, intel.TDLEN, intel.TDH, regSRRCTL:
		if on && !m.slow {
			panic("a queue is on, and is told where its ring is")
		}
	case intel.RDT:
		if *c.Reg(regRXDCTL)&dctlEnable == 0 {
			panic("buffers for a queue that is off")
		}
	case regRXDCTL, intel.TXDCTL:
		return m.slow
	case regEIMS:
		*r |= v
		m.fire(c)
		return true
	case regEIMC:
		*c.Reg(regEIMS) &^= v
		return true
	case regSWSM:
		if m.keeps {
			v &^= swsmSWESMBI
		}
		*r = v
		return true
	case regMDIC:
		*r = m.mdic(c, v)
		return true
	}
	return false
}

// mdic does what the PHY is told.
func (m *family) mdic(c *inteltest.Card, v uint32) uint32 {
	switch {
	case *c.Reg(regSync)&phySync[0] == 0:
		panic("the PHY is somebody else's")
	case m.faulty:
		return v | mdicReady | mdicError
	case v&(mdicRead|mdicWrite) == mdicRead:
		v = v&^0xffff | m.phy
	default:
		m.restarts += int(v >> 9 & 1)
		m.phy = v & 0xffff &^ phyRestart
	}
	return v | mdicReady
}

// Interrupt implements inteltest.Family.
func (m *family) Interrupt(c *inteltest.Card, causes uint32) {
	icr, ims := c.Reg(intel.ICR), c.Reg(intel.IMS)
	fresh := causes &^ *icr
	*icr |= causes
	if *c.Reg(regGPIE)&gpieMulti == 0 {
		if *icr&*ims != 0 {
			c.PCI.Interrupt(0)
		}
		return
	}
	for i, on := range []bool{causes&intel.CauseRXT != 0, causes&intel.CauseTXDW != 0} {
		m.cause(c, on, *c.Reg(regIVAR0)>>(8*i))
	}
	m.cause(c, fresh&*ims&intel.CauseLSC != 0, *c.Reg(regIVARMisc)>>8)
	m.fire(c)
}

const regEICR = 0x1580

func (*family) cause(c *inteltest.Card, on bool, entry uint32) {
	if on && entry&ivarValid != 0 {
		*c.Reg(regEICR) |= 1 << (entry & 31)
	}
}

// fire sends the messages that are due.
func (*family) fire(c *inteltest.Card) {
	eicr, eims := c.Reg(regEICR), c.Reg(regEIMS)
	for i := range c.PCI.Vectors {
		bit := uint32(1) << i
		if *eicr&*eims&bit == 0 {
			continue
		}
		c.PCI.Interrupt(i)
		*eicr &^= *c.Reg(regEIAC) & bit
		if *c.Reg(regGPIE)&gpieEIAME != 0 {
			*eims &^= *c.Reg(regEIAM) & bit
		}
	}
}

// Came implements inteltest.Family: status is of the low word.
func (*family) Came(n int, status uint64) uint64 { return uint64(n)<<rxLength | status }

// Descriptor implements inteltest.Family.
func (m *family) Descriptor(_ *inteltest.Card, first, second uint64) (d inteltest.Descriptor) {
	switch second >> 20 & 15 {
	case 2:
		m.first, m.second = first, second
		if second>>36&7 != 0 || first>>16 != 0 {
			panic(fmt.Sprintf("a context %#x, %#x", first, second))
		}
		return d
	case 3:
	default:
		panic(fmt.Sprintf("a descriptor %#x", second))
	}
	if second&(1<<25) == 0 {
		panic("no FCS")
	}
	ip, mac := int(m.first&0x1ff), int(m.first>>9&0x7f)
	w := inteltest.Wrapper{Cut: second&txTSE != 0, SumIP: second&(1<<40) != 0, Sum: second&(1<<41) != 0, V4: m.second&txIPv4 != 0,
		IP: mac, IPEnd: mac + ip - 1, IPSum: mac + 10, Start: mac + ip, SumAt: mac + ip + 6, MSS: int(m.second >> 48),
		LenOfWhole: true, LenOfCut: true}
	if m.second&(3<<11) == txTCP {
		w.SumAt = mac + ip + 16
	}
	w.Headers = w.Start + int(m.second>>40&0xff)
	return inteltest.Descriptor{Data: true, Len: int(second & 0xffff), End: second&(1<<24) != 0, Report: second&(1<<27) != 0,
		Wrapper: w, Whole: int(second >> 46)}
}
