package e1000

import (
	"fmt"

	"nidus/drivers/nic/intel"
	"nidus/drivers/nic/intel/inteltest"
)

// family is a model of what the families have of their own.
type family struct {
	first, second uint64 // the context
	begun         bool   // of a frame: what its first descriptor says holds
	options       uint64
}

func (*family) Reset(*inteltest.Card)                            {}
func (*family) Load(*inteltest.Card, uint64)                     {}
func (*family) Store(_ *inteltest.Card, _ uint64, _ uint32) bool { return false }
func (*family) On(*inteltest.Card) bool                          { return true }
func (*family) Came(n int, status uint64) uint64                 { return uint64(n) | status }

func (*family) Interrupt(c *inteltest.Card, causes uint32) {
	for own, bit := range map[uint32]uint32{intel.CauseRXT: causeRXQ0, intel.CauseTXDW: causeTXQ0, intel.CauseLSC: causeOther} {
		if causes&own != 0 {
			causes |= bit
		}
	}
	icr, ims := c.Reg(intel.ICR), c.Reg(intel.IMS)
	*icr |= causes
	now := *icr & *ims
	if c.PCI.Vectors == 0 {
		if now != 0 {
			c.PCI.Interrupt(0)
		}
		return
	}
	for i, bit := range []uint32{causeRXQ0, 1 << 21, causeTXQ0, 1 << 23, causeOther} {
		if now&bit == 0 {
			continue
		}
		if e := *c.Reg(regIVAR) >> (4 * i); e&ivarValid != 0 {
			c.PCI.Interrupt(int(e & 7))
		}
		auto := *c.Reg(regEIAC) & bit
		*icr &^= auto
		*ims &^= auto
	}
}

func (m *family) Descriptor(_ *inteltest.Card, first, second uint64) (d inteltest.Descriptor) {
	switch second >> 20 & 15 {
	case 0:
		m.first, m.second = first, second
		return d
	case 1:
	default:
		panic(fmt.Sprintf("a descriptor %#x", second))
	}
	cut := second&txTSE != 0
	if !m.begun {
		m.options = second >> 40 & 3
		if cut && m.second&txTSE == 0 {
			panic("a frame is to be cut, and its context says that it isn't")
		}
	}
	if second&(1<<25) == 0 {
		panic("no FCS")
	}
	w, x := m.first, m.second
	d = inteltest.Descriptor{Data: true, Len: int(second & 0xfffff), End: second&(1<<24) != 0, Report: second&(1<<27) != 0, Whole: int(x & 0xfffff)}
	d.Wrapper = inteltest.Wrapper{Cut: cut, Sum: m.options&2 != 0, SumIP: m.options&1 != 0, V4: x&txIPv4 != 0, LenOfCut: true,
		IP: int(w & 0xff), IPSum: int(w >> 8 & 0xff), IPEnd: int(w >> 16 & 0xffff), Start: int(w >> 32 & 0xff), SumAt: int(w >> 40 & 0xff),
		Headers: int(x >> 40 & 0xff), MSS: int(x >> 48)}
	m.begun = !d.End
	return d
}
