package igb

import "nidus/drivers/nic/intel"

// The PHY is in the card, and tries to find a link by itself, unless somebody has turned it
// off. Who talks to it takes two semaphores before: software's against firmware for the
// second, which names what is used (82576 and I210, chapter 4).

// SWSM, and SW_FW_SYNC, whose bits for firmware are 16 above those for software.
const (
	swsmSMBI    = 1 << 0 // reading it as 0 takes it
	swsmSWESMBI = 1 << 1 // stays 0 if firmware has it
	firmware    = 16

	statusPort = 2 // STATUS: two bits from there on
)

// phySync are the bits of the ports' PHYs.
var phySync = [4]uint32{1 << 1, 1 << 2, 1 << 5, 1 << 6}

// MDIC. The address of the PHY is looked at by the 82575 and 82576 only.
const (
	mdicRegister = 16
	mdicPHY      = 1 << 21
	mdicWrite    = 1 << 26
	mdicRead     = 2 << 26
	mdicReady    = 1 << 28
	mdicError    = 1 << 30
)

// The PHY's control register (IEEE 802.3, section 22.2.4.1).
const (
	phyControl   = 0
	phyRestart   = 1 << 9
	phyIsolate   = 1 << 10
	phyPowerDown = 1 << 11
	phyAuto      = 1 << 12
)

// wake turns the PHY on, if it isn't, and has it agree on a link's speed. If firmware does not
// let go of it, it is in use.
func (c *chip) wake() {
	if c.later {
		c.Regs.Store32(regPHPM, c.Regs.Load32(regPHPM)&^phpmNoLink)
	}
	bit := phySync[c.Regs.Load32(intel.STATUS)>>statusPort&3]
	if !c.Within(func() bool { return c.sync(bit, bit) }) {
		return
	}
	defer c.Within(func() bool { return c.sync(bit, 0) })
	v, ok := c.phy(mdicRead | phyControl<<mdicRegister)
	if ok && v&(phyIsolate|phyPowerDown|phyAuto) != phyAuto {
		v = v&^(phyIsolate|phyPowerDown) | phyAuto | phyRestart
		c.phy(mdicWrite | phyControl<<mdicRegister | v)
	}
}

// sync takes what bit stands for, or gives it back; false: not now.
func (c *chip) sync(bit, to uint32) bool {
	r := c.Regs
	if r.Load32(regSWSM)&swsmSMBI != 0 {
		return false
	}
	defer func() { r.Store32(regSWSM, r.Load32(regSWSM)&^(swsmSMBI|swsmSWESMBI)) }()
	r.Store32(regSWSM, r.Load32(regSWSM)|swsmSWESMBI)
	if r.Load32(regSWSM)&swsmSWESMBI == 0 {
		return false
	}
	v := r.Load32(regSync)
	if to != 0 && v&(bit|bit<<firmware) != 0 {
		return false
	}
	r.Store32(regSync, v&^bit|to)
	return true
}

// phy does what is in MDIC, and returns the register's value.
func (c *chip) phy(op uint32) (v uint32, ok bool) {
	c.Regs.Store32(regMDIC, op|mdicPHY)
	done := c.Within(func() bool {
		v = c.Regs.Load32(regMDIC)
		return v&mdicReady != 0
	})
	return v & 0xffff, done && v&mdicError == 0
}
